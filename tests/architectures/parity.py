"""A network taken through import, fusion and the back ends, in float: how far it is from its own framework then."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.backends.base import CompileRequest, load_backend
from edgekit.core.types import Artifact, Precision, QuantPlan, permutation
from edgekit.devices.bench import measure
from edgekit.formats.importer import import_model
from edgekit.ir.model import Model
from edgekit.ir.run import Arrays, max_relative
from edgekit.passes.fuse.stage import fuse_model

__all__ = ["TOLERANCE", "Built", "build"]

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Built:
    """A network on all back ends.

    Attributes:
        off: back end → the largest relative difference of an output from the answers of the network's own framework.
        operators: how often the TFLite file has each operator.
        nodes: how often the fused Model has each operator.
    """

    off: dict[str, float]
    operators: Counter[str]
    nodes: Counter[str]


def build(source: Path, folder: Path) -> Built:
    """Build the network in the file `source`, whose inputs and answers lie beside it as .npz."""
    (folder / "fused").mkdir(parents=True)
    import_model(str(source), str(folder))
    fuse_model(str(folder / "model.onnx"), str(folder / "fused"), seed=0)
    path = folder / "fused" / "model.onnx"
    model = Model.load(path)
    with np.load(source.with_suffix(".npz")) as stored:
        feeds = {spec.name: stored[f"input:{place}"] for place, spec in enumerate(model.inputs)}
        wanted = {spec.name: stored[f"output:{place}"] for place, spec in enumerate(model.outputs)}
    artifacts = {name: _compile(name, path, folder / name) for name in ("tflite", "openvino", "onnxruntime")}
    return Built(
        off={name: max_relative(_run(name, artifact, model, feeds), wanted) for name, artifact in artifacts.items()},
        operators=_operators(artifacts["tflite"]),
        nodes=Counter(node.op_type for node in model.graph),
    )


def _compile(backend: str, model: Path, workdir: Path) -> Artifact:
    workdir.mkdir()
    request = CompileRequest(model, QuantPlan(Precision.FP32), baseline=None, calibration=None, workdir=workdir)
    return load_backend(backend).compile(request)


def _run(backend: str, artifact: Artifact, model: Model, feeds: Arrays) -> Arrays:
    """The artifact's answers on its own runtime, under the Model's names and in its layouts."""
    folder = artifact.path.parent
    arranged = {
        own.name: feeds[spec.name].transpose(permutation(spec.layout, own.layout, len(own.shape)))
        for spec, own in zip(model.inputs, artifact.inputs, strict=True)
    }
    np.savez(folder / "inputs.npz", **arranged)  # type: ignore[arg-type]
    measure(
        artifact.path,
        options=artifact.runtime_options,
        inputs=folder / "inputs.npz",
        outputs=folder / "outputs.npz",
        runtime=load_backend(backend).runtime,
        timing=False,
    )
    with np.load(folder / "outputs.npz") as given:
        return {
            spec.name: given[name].transpose(permutation(own.layout, spec.layout, given[name].ndim))
            for name, own, spec in zip(given.files, artifact.outputs, model.outputs, strict=True)
        }


def _operators(artifact: Artifact) -> Counter[str]:
    from edgekit.formats.tflite import flatbuffer

    return Counter(flatbuffer.op_names(flatbuffer.read(artifact.path.read_bytes())))
