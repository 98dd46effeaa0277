"""What each layer's int8 alone costs, measured once on the Model, layer by layer: who is to blame, and what to lift."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import events
from edgekit.core.digest import digest_file
from edgekit.core.plain import from_json, to_json
from edgekit.core.sensitivity import Cost, LayerCost, Sensitivity
from edgekit.core.types import TensorSpec
from edgekit.pipeline import child
from edgekit.pipeline.stages import SourceModel, tool_versions
from edgekit.pipeline.store import Store

__all__ = ["measure_sensitivity", "sensitivity", "sensitivity_of"]

_MOST_SAMPLES, _FEWEST_SAMPLES = 512, 32
# What all runs of all layers may come to, and what they may hold in memory.
_MACS = 6e12
_BYTES = 1 << 30
# Whether a channel stands out is seen on few.
_PEAK_SAMPLES = 64
_TOOLS = ("numpy", "onnx", "onnx-ir", "onnxruntime")


def sensitivity(
    store: Store, model: SourceModel, *, calibration: Path, samples: Path, targets: Path | None
) -> tuple[LayerCost, ...]:
    """What each layer's int8 alone costs, the worst first: by SQNR of the layer with what it reads and makes.

    Args:
        store, model, calibration, samples, targets: as in `sensitivity_of`.
    """
    found = sensitivity_of(store, model, calibration=calibration, samples=samples, targets=targets)
    return tuple(sorted(found.layers, key=lambda cost: cost.sqnr_db))


def sensitivity_of(
    store: Store,
    model: SourceModel,
    *,
    calibration: Path,
    samples: Path,
    targets: Path | None,
    only: Sequence[str] | None = None,
) -> Sensitivity:
    """What int8 costs a network and each of its layers.

    Found out in a child process, and kept in the store; one that was killed goes on with the layer where it was.

    Args:
        store: keeps it.
        model: a fused one. Where it says how values are stored, that is how they are rounded.
        calibration: an .npz of single samples by input name that show the ranges.
        samples: one of samples to judge on; 32 to 512 of them are taken, the fewer the more the network has to do.
        targets: one of their labels, if there are any.
        only: the layers that are asked for; all if None.
    """
    inputs = {
        "model": model.digest,
        "calibration": digest_file(calibration),
        "samples": digest_file(samples),
        "targets": digest_file(targets) if targets else None,
        "most": [_MOST_SAMPLES, _FEWEST_SAMPLES, _MACS, _BYTES],
        "only": only,
        "tools": tool_versions(_TOOLS),
    }

    def work(_: Path, workdir: Path) -> Any:
        return child.call(
            "edgekit.pipeline.sensitivity:measure_sensitivity",
            {
                "source": str(model.path),
                "calibration": str(calibration),
                "samples": str(samples),
                "targets": str(targets) if targets else None,
                "only": only,
                "outputs": model.judged_outputs,
                "activations": dict(model.activations),
                "workdir": str(workdir),
            },
            what="measuring what int8 costs each layer",
            blame="your model",
        )

    entry = store.make_resumable("sensitivity", "measure what int8 costs each layer", inputs, work)
    found: Sensitivity = from_json(Sensitivity, entry.value)
    return found


def measure_sensitivity(  # noqa: PLR0917 - a stage's arguments
    source: str,
    calibration: str,
    samples: str,
    targets: str | None,
    only: Sequence[str] | None,
    outputs: Sequence[Any],
    activations: dict[str, str | None],
    workdir: str,
) -> Sensitivity:
    """`sensitivity_of` in its child: each layer's cost is kept in `workdir` as soon as it is known."""
    from edgekit.data.metrics.change import change_figures
    from edgekit.ir.cost import model_cost
    from edgekit.ir.model import Model
    from edgekit.ir.run import Arrays
    from edgekit.passes.quantize.numbers import layer_ranges
    from edgekit.passes.quantize.ranges import measure_ranges
    from edgekit.passes.quantize.sensitivity import float_answers, layer_costs, naive_answers
    from edgekit.passes.quantize.storing import naive_storing

    model = Model.load(Path(source))
    specs = from_json(tuple[TensorSpec, ...], outputs)
    shown = _load(calibration, None)
    ranges = measure_ranges(model, shown)
    storing = naive_storing(model, ranges)
    cost = model_cost(model)
    most = _sample_count(cost.macs, len(cost.layers), cost.peak_bytes)
    arrays, truth = _load(samples, most), _load(targets, most) if targets else {}
    reference = float_answers(model, arrays)

    def judge(answers: Arrays, rounded: Collection[str]) -> Cost:
        return Cost(*change_figures(reference, answers, truth, specs, activations=activations, rounded=rounded))

    folder = Path(workdir)
    known = {(each.layer, each.op): each for each in map(_read, folder.glob("*.json"))}
    found, total = [], sum(layer.macs for layer in cost.layers) or 1
    weight = {layer.name: layer.macs / total for layer in cost.layers}
    done = 0.0
    for number, each in enumerate(layer_costs(model, arrays, storing, judge, known=known, only=only)):
        found.append(each)
        _keep(each, folder / f"{number}.json")
        done += weight.get(each.layer, 0.0)
        # What lies behind a layer is computed again for it: the first ones take longest.
        events.progress(each.layer, 1 - (1 - min(done, 1.0)) ** 2)
    few = {name: array[:_PEAK_SAMPLES] for name, array in shown.items()}
    numbers = {each.layer: each for each in layer_ranges(model, ranges, few, storing)}
    return Sensitivity(
        layers=tuple(found),
        ranges=tuple(numbers[each.layer] for each in found),
        naive=judge(naive_answers(model, arrays, storing), [spec.name for spec in specs]),
        samples=len(next(iter(arrays.values()))),
    )


def _sample_count(macs: int, layers: int, live_bytes: int) -> int:
    """How many samples to judge on: each layer needs three runs of half the network, on average."""
    affordable = _MACS / max(1.5 * layers * macs, 1.0)
    holdable = _BYTES / max(live_bytes, 1)
    return max(_FEWEST_SAMPLES, min(_MOST_SAMPLES, int(affordable), int(holdable)))


def _load(path: str, most: int | None) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name][:most] for name in archive.files}


def _keep(cost: LayerCost, file: Path) -> None:
    """Written beside and renamed: what is there is whole."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(to_json(cost)))
    partial.rename(file)


def _read(file: Path) -> LayerCost:
    found: LayerCost = from_json(LayerCost, json.loads(file.read_text()))
    return found
