"""A model in the store: what a stage takes, and what those that change it give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.core.plain import from_json
from edgekit.core.types import States, TensorSpec
from edgekit.pipeline.store import Entry, Store

__all__ = ["ONNX_TOOLS", "SourceModel", "source_model", "stored_model", "tool_versions"]

ONNX_TOOLS = ("onnx", "onnx-ir", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class SourceModel:
    """A model in the store, with what its import or its last stage found out.

    Attributes:
        path: the ONNX file; its digest is `digest`.
        inputs, outputs: the model's specs.
        activations: for each output "softmax", "sigmoid" or None: what ends it.
        report: everything the stage answered.
        quantized: "int8" where the source was quantized already; then the model is the float network that it stands
            for, and `reference` the one that rounds as it does.
        reference: that network's ONNX file and its digest.
        steps: for each output that the source rounds, the distance of two neighbours.
        states: its recurrent state; then samples are sequences.
    """

    path: Path
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    activations: Mapping[str, str | None]
    report: Mapping[str, Any]
    quantized: str | None = None
    reference: tuple[Path, str] | None = None
    steps: Mapping[str, float] = field(default_factory=dict)
    states: States = ()

    @property
    def place(self) -> str:
        """Where it is in the store, for `stored_model`."""
        return f"{self.path.parent.parent.name}/{self.path.parent.name}"

    @property
    def answering(self) -> tuple[Path, str]:
        """The ONNX file whose answers count as the model's, and its digest."""
        return self.reference or (self.path, self.digest)

    @property
    def judged_outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs that quality is about: no states, unless there is nothing else."""
        fed_back = {target for _, target in self.states}
        return tuple(spec for spec in self.outputs if spec.name not in fed_back) or self.outputs


def stored_model(store: Store, place: str) -> SourceModel | None:
    """What a build imported or made of that, by its place; None where the store has it no more."""
    entry = store.find(place)
    return source_model(entry) if entry else None


def source_model(entry: Entry) -> SourceModel:
    """What a stage put into the store, as a model."""
    answer = entry.value
    return SourceModel(
        path=entry.file("model.onnx"),
        digest=answer["digest"],
        inputs=from_json(tuple[TensorSpec, ...], answer["inputs"]),
        outputs=from_json(tuple[TensorSpec, ...], answer["outputs"]),
        activations=answer["activations"],
        report=answer,
        quantized=answer.get("quantized"),
        reference=(entry.file("reference.onnx"), answer["reference"]) if answer.get("reference") else None,
        steps=answer.get("steps", {}),
        states=from_json(States, answer.get("states", [])),
    )


def tool_versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Of packages, for the key of a stage that they do the work of; None of one that is not there."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {name: version(name) for name in packages}
