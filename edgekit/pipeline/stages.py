"""The stages of a build, each a content-addressed step: what it needs, what it is keyed by, which child does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.backends.base import Backend
from edgekit.core import events
from edgekit.core.digest import digest_file, digest_path
from edgekit.core.machine import cpu_features
from edgekit.core.process import Limits
from edgekit.core.recipe import DataSection, ModelSection
from edgekit.core.repair import Repair
from edgekit.core.types import Artifact, Integers, Preprocess, QuantPlan, States, TensorSpec, from_json, to_json
from edgekit.passes.prune.request import Pruning
from edgekit.passes.recover.settings import RecoverSettings
from edgekit.passes.thin import Thinning
from edgekit.pipeline import child
from edgekit.pipeline.store import Entry, Store

__all__ = [
    "Data", "Lesson", "SourceModel", "compile_plan", "equalise", "fuse", "import_source", "prepare_data", "prune",
    "recover", "stored_data", "stored_model", "thin", "tool_versions",
]  # fmt: skip

_ONNX_TOOLS = ("onnx", "onnx-ir", "onnxscript", "onnxruntime")
_TF_TOOLS = ("tensorflow", "tf2onnx", *_ONNX_TOOLS)
_KERAS_TOOLS = ("keras", "tf_keras", *_TF_TOOLS)
_TRAINING_TOOLS = ("tensorflow", "keras", *_ONNX_TOOLS)
_LONGEST_TRAINING = 7 * 24 * 3600.0  # seconds
_IMPORT_TOOLS = {
    "onnx": _ONNX_TOOLS,
    "keras": _KERAS_TOOLS,
    "h5": _KERAS_TOOLS,
    "savedmodel": _TF_TOOLS,
    "tflite": ("ai-edge-litert", *_TF_TOOLS),
}


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


@dataclass(frozen=True)
class Data:
    """Prepared samples in the store. Those of a model with state are sequences: see `edgekit.data.unroll`.

    Attributes:
        splits: split name → number of samples; "calibration" always, "selection" and "report" where there is data,
            "training" where something is to be trained.
        labelled: whether the splits have targets.
        class_names: in label order, or empty.
        synthetic: made up, because there is no data.
        entry: holds `<split>.npz` and `<split>.labels.npz`.
    """

    splits: Mapping[str, int]
    labelled: bool
    class_names: tuple[str, ...]
    synthetic: bool
    entry: Entry

    def samples(self, split: str) -> Path:
        """The inputs of a split: arrays of samples under the model's input names."""
        return self.entry.file(f"{split}.npz")

    def targets(self, split: str) -> Path | None:
        """The targets of a split, by output name, or None without labels."""
        path = self.entry.file(f"{split}.labels.npz")
        return path if self.labelled and path.exists() else None


@dataclass(frozen=True)
class Lesson:
    """What a training learns from, and what its epochs are compared on.

    Attributes:
        training: a folder that `edgekit.passes.recover.samples` reads, or an .npz of samples without labels.
        selection: an .npz of samples, and `targets` one of their labels, if there are any.
        digests: of all of it.
    """

    training: Path
    selection: Path
    targets: Path | None
    digests: tuple[str, ...]


def import_source(
    store: Store, source: Path, options: ModelSection, seed: int, *, needed_by: Mapping[str, str] | None = None
) -> SourceModel:
    """Import the model, a file or a folder, checked against its own framework.

    Args:
        needed_by: target name → back end name: a model that none of these takes is refused before it is run.
    """
    from edgekit.data.fingerprint import fingerprint
    from edgekit.formats import detect

    detected = detect(source)
    inputs = {
        "source": digest_path(source),
        "format": detected,
        "options": options.model_dump(mode="json", exclude={"path"}),
        "custom_objects": fingerprint(options.custom_objects) if options.custom_objects else None,
        "seed": seed,
        "tools": tool_versions(_IMPORT_TOOLS[detected]),
    }

    def work(folder: Path) -> Any:
        return child.call(
            "edgekit.pipeline.native:import_model",
            {
                "source": str(source.resolve()),
                "out": str(folder),
                "input_shapes": {name: list(shape) for name, shape in options.input_shapes.items()} or None,
                "trust_model": options.trust,
                "custom_objects": options.custom_objects,
                "seed": seed,
                "needed_by": needed_by or {},
                "states": options.states,
            },
            what=f"importing {source.name}",
            blame="your model",
        )

    entry = store.make("import", f"import {source.name}", inputs, work)
    # Weights in files beside the model may have changed under an unchanged model file: then they join the key.
    found = {name: _digest_if_there(source.parent / name) for name in entry.value["beside"]}
    if found != entry.value["beside"]:
        entry = store.make("import", f"import {source.name}", {**inputs, "beside": found}, work)
    for warning in entry.value["warnings"]:
        events.warn(warning)
    return _source_model(entry)


def fuse(store: Store, model: SourceModel, seed: int) -> SourceModel:
    """Fuse operators; the outputs stay the same, which the pass framework checks."""
    doing = ("fuse operators", "fusing operators")
    return _changed(store, model, "fuse", doing, {"seed": seed}, blame="edgekit", tools=_ONNX_TOOLS)


def equalise(store: Store, model: SourceModel, *, samples: Path, seed: int) -> SourceModel:
    """Move scales of channels that stand out; the outputs stay the same, which the pass framework checks.

    Args:
        model: a fused one.
        samples: calibration samples that show the ranges.
    """
    doing = ("even out the channels", "evening out the channels")
    request = {"samples": samples, "seed": seed}
    return _changed(store, model, "equalise", doing, request, blame="edgekit", tools=_ONNX_TOOLS)


def repair_for(
    store: Store, model: SourceModel, repair: Repair, integers: Integers, plan: QuantPlan, *, samples: Path, seed: int
) -> SourceModel:
    """Bring a fused model into the int8 form of a back end, repaired.

    Args:
        integers: what int8 is to the back end.
        plan: which layers are int8.
        samples: calibration samples.
    """
    request = {"repair": repair, "integers": integers, "plan": plan, "samples": samples, "seed": seed}
    doing = (f"repair for int8: {repair}", "repairing for int8")
    return _changed(store, model, "repair", doing, request, blame="your model", tools=("numpy", *_ONNX_TOOLS))


def prune(
    store: Store, model: SourceModel, pruning: Pruning, *, samples: Path, targets: Path | None, seed: int
) -> SourceModel:
    """Remove channels; the inputs and outputs stay.

    Args:
        model: the imported one, whose layers still have their BatchNormalizations.
        samples: calibration samples to rank and compensate with.
        targets: their labels, if there are any.
    """
    request = {"pruning": pruning, "samples": samples, "targets": targets, "seed": seed}
    doing, tools = ("prune channels", "pruning channels"), ("tensorflow", *_ONNX_TOOLS)
    return _changed(store, model, "prune", doing, request, blame="your model", tools=tools)


def thin(store: Store, model: SourceModel, thinning: Thinning, *, samples: Path | None, seed: int) -> SourceModel:
    """Make weights zero, or let them share values.

    Args:
        model: a fused one.
        samples: calibration samples on which layers are brought back to their outputs, if there are any.
    """
    request = {"thinning": thinning, "samples": samples, "seed": seed}
    doing, tools = ("thin out the weights", "thinning out the weights"), ("numpy", *_ONNX_TOOLS)
    return _changed(store, model, "thin", doing, request, blame="your model", tools=tools)


def recover(
    store: Store, model: SourceModel, teacher: SourceModel, lesson: Lesson, settings: RecoverSettings, *, threads: int
) -> SourceModel:
    """Train a smaller model, or one in int8, until it is as good as it was; a killed training goes on where it was.

    Args:
        model: what to train.
        teacher: the original.
        lesson: what is learnt from.
        settings: how.
        threads: that may work. Their count and the kind of CPU decide the last bits.
    """
    inputs = {
        "model": model.digest,
        "teacher": teacher.digest,
        "lesson": lesson.digests,
        "settings": settings,
        "machine": [threads, sorted(cpu_features())],
        "tools": tool_versions(_TRAINING_TOOLS),
    }

    title, doing = "recover the accuracy", "recovering the accuracy"
    if settings.integers is not None:
        title, doing = "train in int8", "training in int8"

    def work(folder: Path, workdir: Path) -> Any:
        return child.call(
            "edgekit.pipeline.native:recover_model",
            {
                "source": str(model.path),
                "out": str(folder),
                "teacher": str(teacher.path),
                "training": lesson.training,
                "selection": lesson.selection,
                "targets": lesson.targets,
                "settings": settings,
                "workdir": str(workdir),
            },
            what=doing,
            blame="your model and data",
            limits=Limits(seconds=_LONGEST_TRAINING),
            threads=threads,
        )

    entry = store.make_resumable("recover", title, inputs, work)
    fixed = replace(settings, epochs=entry.value["curve"]["planned"], max_seconds=None)
    if fixed != settings:
        # What the lock asks for from now on.
        store.make("recover", "", {**inputs, "settings": fixed}, entry.copy, quiet=True)
    return replace(_source_model(entry), states=model.states)


def prepare_data(
    store: Store, model: SourceModel, data: DataSection, *, batch: int, seed: int, training: bool = False
) -> Data:
    """Read, split and preprocess the data; without data, make up calibration samples.

    Args:
        training: whether samples are wanted to train on.
    """
    from edgekit.data.fingerprint import fingerprint

    named = {"data": data.data, "train_data": data.train, "eval_data": data.eval}
    sources = {key: value for key, value in named.items() if value}
    request: dict[str, Any] = {
        "inputs": to_json(model.inputs),
        "preprocess": to_json(data.preprocess),
        "seed": seed,
        "states": [source for source, _ in model.states],
    }
    if sources:
        request |= {"outputs": to_json(model.judged_outputs), "labelled": data.labels, "batch": batch}
        request |= {"training": True} if training else {}

    def work(folder: Path) -> Any:
        if not sources:
            function, what = "edgekit.data.materialise:synthesise", "making calibration samples"
        else:
            function, what = "edgekit.data.materialise:materialise", f"reading the data {', '.join(sources.values())}"
        return child.call(function, {**request, **sources, "out": str(folder)}, what=what, blame="your data")

    inputs = {
        **request,
        "sources": {key: fingerprint(value) for key, value in sources.items()},
        "tools": tool_versions(("pillow", "numpy")),
    }
    entry = store.make("data", "read the data" if sources else "make calibration samples", inputs, work)
    for note in entry.value["notes"]:
        events.warn(note)
    return _data(entry, synthetic=not sources)


def stored_data(store: Store, place: str, *, synthetic: bool) -> Data | None:
    """What a build prepared, by the place of its entry; None where the store has it no more."""
    entry = store.find(place)
    return _data(entry, synthetic=synthetic) if entry else None


def stored_model(store: Store, place: str) -> SourceModel | None:
    """What a build imported or made of that, by its place; None where the store has it no more."""
    entry = store.find(place)
    return _source_model(entry) if entry else None


def compile_plan(
    store: Store,
    backend: Backend,
    model: SourceModel,
    plan: QuantPlan,
    *,
    baseline: Artifact | None,
    calibration: Path | None,
    labels: Sequence[str],
    batch: int,
    io: str,
    preprocess: Preprocess,
    options: Mapping[str, str],
    saturates: bool,
    seed: int,
) -> Artifact:
    """Compile the model with `plan`; float first, then what is made from the float artifact."""
    request: dict[str, Any] = {
        "plan": plan,
        "batch": batch,
        "io": io,
        "labels": labels,
        "preprocess": preprocess,
        "options": tuple(sorted(options.items())),
        "saturates": saturates,
        "seed": seed,
    }
    inputs = {
        **request,
        "backend": [backend.name, backend.version],
        "model": model.digest,
        "baseline": baseline.digest if baseline else None,
        "calibration": digest_file(calibration) if calibration else None,
        "tools": dict(backend.tools()),
    }

    def work(folder: Path) -> Any:
        paths = {
            "model": model.path,
            "baseline": baseline,
            "calibration": calibration,
            "workdir": folder,
        }
        return child.call(
            "edgekit.pipeline.native:compile_artifact",
            {"backend": backend.name, "request": {**request, **paths}},
            what=f"compiling {plan.precision} with {backend.name}",
            blame=f"the back end {backend.name} on your model",
        )

    entry = store.make("compile", f"compile {plan.precision} · {backend.name}", inputs, work)
    files = tuple(entry.file(name) for name in entry.value["files"])
    artifact: Artifact = from_json(Artifact, {**entry.value, "files": files})
    return replace(artifact, states=_own_states(model, artifact))


def _changed(
    store: Store,
    model: SourceModel,
    kind: str,
    doing: tuple[str, str],
    request: Mapping[str, Any],
    *,
    blame: str,
    tools: Sequence[str],
) -> SourceModel:
    """The model after `<kind>_model` of `pipeline.native` in a child; files of the request count by their content.

    Args:
        kind: of the stage.
        doing: what it does, for its title and for the error of a child that died meanwhile.
        request: the child's arguments beside the model and the folder.
        blame: whose doing such a death is.
        tools: packages whose versions count.
    """

    def work(folder: Path) -> Any:
        return child.call(
            f"edgekit.pipeline.native:{kind}_model",
            {"source": str(model.path), "out": str(folder), **to_json(request)},
            what=doing[1],
            blame=blame,
        )

    digests = {key: digest_file(value) if isinstance(value, Path) else value for key, value in request.items()}
    inputs = {"model": model.digest, **digests, "tools": tool_versions(tools)}
    return replace(_source_model(store.make(kind, doing[0], inputs, work)), states=model.states)


def _data(entry: Entry, *, synthetic: bool) -> Data:
    answer = entry.value
    return Data(
        splits={name: split["n"] for name, split in answer["splits"].items()},
        labelled=answer["labelled"],
        class_names=tuple(answer["class_names"]),
        synthetic=synthetic,
        entry=entry,
    )


def _source_model(entry: Entry) -> SourceModel:
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


def _own_states(model: SourceModel, artifact: Artifact) -> States:
    """The model's states by the artifact's names; inputs and outputs go pair by pair."""
    inputs = dict(zip((spec.name for spec in model.inputs), artifact.inputs or model.inputs, strict=True))
    outputs = dict(zip((spec.name for spec in model.outputs), artifact.outputs or model.outputs, strict=True))
    return tuple((inputs[source].name, outputs[target].name) for source, target in model.states)


def _digest_if_there(path: Path) -> str | None:
    """None for a file that is gone: the importer then says what is missing, and for whom."""
    return digest_file(path) if path.is_file() else None


def tool_versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Of packages, for the key of a stage that they do the work of; None of one that is not there."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {name: version(name) for name in packages}
