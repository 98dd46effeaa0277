"""Running artifacts in the bench script, with their answers brought back to the Model's names and layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import Backend
from edgekit.core.digest import digest_file
from edgekit.core.errors import BrokenPromiseError, InvalidInputError
from edgekit.core.evidence import Measurement
from edgekit.core.machine import architecture, board_name, cpu_model
from edgekit.core.plain import from_json, to_json
from edgekit.core.resources import resource
from edgekit.core.types import Artifact, Options, TensorSpec, permutation
from edgekit.data.metrics.fidelity import sqnr_figures
from edgekit.devices.answer import DeviceFacts, parse_facts
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL
from edgekit.pipeline.stages import SourceModel
from edgekit.pipeline.store import Entry, Store

__all__ = [
    "MIN_GOLDEN_SQNR", "Arrays", "Run", "Samples", "bench_script", "echoed", "identity", "load_arrays", "rearranged",
    "run_artifact", "run_reference", "worst_sqnr",
]  # fmt: skip

# An int8 network comes out at 23 dB and more in another runtime's kernels, which round otherwise; one that is wrong, at
# less than 10. What lies between is for the accuracy gate to judge.
MIN_GOLDEN_SQNR = 20.0

Arrays = dict[str, np.ndarray[Any, Any]]
_GOLDEN_DIR = "golden"


@dataclass(frozen=True)
class Samples:
    """A file of samples under the Model's input names, and the key that stands for its content."""

    path: Path
    key: str


@dataclass(frozen=True)
class Run:
    """What the bench script answered.

    Attributes:
        measurements: of the artifact, then of each one it was timed against.
        answers: outputs for the samples, by the Model's output names and in its layout; None without samples. Those
            to sequences are (sequences, steps, …).
        golden: outputs for the golden samples, one set an artifact, in the order of `measurements`.
    """

    measurements: tuple[Measurement, ...]
    answers: Arrays | None
    golden: tuple[Arrays, ...]


def run_reference(store: Store, model: SourceModel, samples: Samples, title: str) -> Path:
    """The file of the source's own answers, from ONNX Runtime."""
    path, digest = model.answering
    # Its integer kernels saturate sums on CPUs without VNNI: the network is to be run as it is written.
    options = (("session.disable_quant_qdq", "1"),) if model.quantized else ()

    def work(folder: Path) -> Any:
        from edgekit.devices.bench import measure

        try:
            measure(
                path,
                options=options,
                inputs=samples.path,
                outputs=folder / "answers.npz",
                states=model.states,
                runtime="onnxruntime",
                timing=False,
            )
        except BrokenPromiseError as error:
            told = error.cause.replace(str(samples.path), f"the {samples.path.stem} split")
            raise InvalidInputError(
                f"the float model itself answers no numbers: {told}",
                blame="your model or your data",
                remedy="Check the model's weights for infinity, and the data and its --normalize for huge values.",
            ) from error

    inputs = {
        "model": digest,
        "options": options,
        "states": model.states,
        "samples": samples.key,
        "bench": bench_script(),
        "host": identity(LOCAL),
    }
    entry = store.make("reference", title, inputs, work)
    return entry.file("answers.npz")


def run_artifact(
    store: Store,
    backend: Backend,
    artifact: Artifact,
    model: SourceModel,
    *,
    title: str,
    golden: Samples,
    samples: Samples | None = None,
    against: Sequence[tuple[Artifact, Options]] = (),
    threads: int = 1,
    timing: bool = True,
    device: Device = LOCAL,
    facts: DeviceFacts | None = None,
) -> Run:
    """Run an artifact on its own runtime: golden samples always, `samples` where given, timed against `against`.

    Args:
        against: artifacts with the runtime options that they run with.
        device: where. The artifact's digest is checked there.
        facts: what the device said of itself, where it was asked already: importing its runtimes to say so takes a
            small board long.
    """
    golden, samples = _arranged(store, golden, artifact, model), samples and _arranged(store, samples, artifact, model)
    others = [(other.path, options) for other, options in against]

    def work(folder: Path) -> Any:
        from edgekit.devices.bench import measure

        measurements, _ = measure(
            artifact.path,
            device=device,
            digest=artifact.digest,
            options=artifact.runtime_options,
            against=others,
            inputs=samples.path if samples else None,
            outputs=folder / "answers.npz" if samples else None,
            golden=golden.path,
            golden_outputs=folder / _GOLDEN_DIR,
            states=artifact.states,
            runtime=backend.runtime if device is LOCAL else artifact.device_runtime or None,
            threads=threads,
            timing=timing,
            blame="edgekit",
        )
        return {"measurements": to_json(measurements)}

    inputs = {
        "artifact": artifact.digest,
        "runtime": artifact.device_runtime,
        "options": artifact.runtime_options,
        "states": artifact.states,
        "against": [(other.digest, options) for other, options in against],
        "golden": golden.key,
        "samples": samples and samples.key,
        "threads": threads,
        "timing": timing,
        "tools": dict(backend.tools()),
        "bench": bench_script(),
        "host": identity(device, facts),
    }
    entry = store.make("run", title, inputs, work)
    return _read_run(entry, artifact, model, with_answers=samples is not None)


def load_arrays(path: Path) -> Arrays:
    """The arrays of an .npz, in its order."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def echoed(model: SourceModel, samples: Path) -> Arrays:
    """For each output in the shape of the model's one input that input: what an auto-encoder should give back."""
    if len(model.inputs) != 1:
        return {}
    given = model.inputs[0]
    names = [spec.name for spec in model.outputs if (spec.shape, spec.layout) == (given.shape, given.layout)]
    return dict.fromkeys(names, load_arrays(samples)[given.name]) if names else {}


def worst_sqnr(expected: Arrays, found: Arrays) -> float:
    """How near some answers are to the expected ones, in dB, of the worst output."""
    return min(float(sqnr_figures(values, found[name], None)[0].artifact) for name, values in expected.items())


def _read_run(entry: Entry, artifact: Artifact, model: SourceModel, *, with_answers: bool) -> Run:
    measurements = from_json(tuple[Measurement, ...], entry.value["measurements"])
    golden = tuple(
        _as_model(load_arrays(entry.file(f"{_GOLDEN_DIR}/{index}.npz")), artifact, model)
        for index in range(len(measurements))
    )
    answers = _as_model(load_arrays(entry.file("answers.npz")), artifact, model) if with_answers else None
    return Run(measurements, answers, golden)


def _as_model(arrays: Arrays, artifact: Artifact, model: SourceModel) -> Arrays:
    """An artifact's outputs under the Model's names and in its layouts; the order is the same in both."""
    own = artifact.outputs or model.outputs
    named = {spec.name: values for spec, values in zip(own, arrays.values(), strict=True)}
    return rearranged(named, own, model.outputs)


def _arranged(store: Store, samples: Samples, artifact: Artifact, model: SourceModel) -> Samples:
    """The samples as the artifact takes them; a copy in the store only where a layout differs."""
    own = artifact.inputs or model.inputs
    if [(s.name, s.layout) for s in own] == [(s.name, s.layout) for s in model.inputs]:
        return samples

    def work(folder: Path) -> Any:
        arrays = load_arrays(samples.path)
        np.savez(folder / "samples.npz", **rearranged(arrays, model.inputs, own))  # type: ignore[arg-type]

    entry = store.make("arrange", "", {"samples": samples.key, "from": model.inputs, "to": own}, work, quiet=True)
    return Samples(entry.file("samples.npz"), entry.key)


def rearranged(arrays: Arrays, source: Sequence[TensorSpec], target: Sequence[TensorSpec]) -> Arrays:
    """The arrays of `source` under the names and in the layouts of `target`; the two go pair by pair."""
    return {
        wanted.name: np.ascontiguousarray(
            arrays[given.name].transpose(permutation(given.layout, wanted.layout, arrays[given.name].ndim))
        )
        for given, wanted in zip(source, target, strict=True)
    }


def bench_script() -> str:
    """The digest of the bench script: another one may measure otherwise."""
    return digest_file(resource("scripts/bench_on_device.py"))


def identity(device: Device, facts: DeviceFacts | None = None) -> dict[str, Any]:
    """The machine that runs, as far as its figures depend on it."""
    if device is LOCAL:
        return {"architecture": architecture(), "cpu": cpu_model(), "board": board_name()}
    return {"uri": device.uri, **(facts or parse_facts(device.probe())).identity}
