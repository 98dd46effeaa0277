"""The Backend protocol: what edgekit asks of a compiler. `docs/writing-a-backend.md` walks through one.

`tools`, `unsupported`, `prove`, `example` and the class attributes are used in edgekit's own process: they import
nothing heavy.
`compile` is called in a fresh child process with a memory and a time limit, and answers in files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from edgekit.core.errors import MissingToolError
from edgekit.core.evidence import Account, PrecisionProof
from edgekit.core.types import Artifact, Integers, Precision, Preprocess, QuantPlan

__all__ = ["Backend", "CompileRequest", "IntegerBackend", "backend_names", "load_backend"]

_GROUP = "edgekit.backends"


@dataclass(frozen=True)
class CompileRequest:
    """What to compile.

    Attributes:
        model: path of the fused Model.
        plan: the precision of each layer.
        baseline: the fp32 artifact of the same model that this back end compiled before; None when the plan is fp32.
        calibration: an .npz of calibration samples, one array an input name, ready to feed; None but for int8.
            Without data they are synthetic. A sample has the input's `TensorSpec.sample_shape`; those of a model with
            state are single steps.
        batch: the batch size that the artifact is fixed to.
        io: element type of the artifact's inputs and outputs: "float32", "int8" or "uint8".
        labels: class names, or empty.
        preprocess: written into the artifact's own metadata where its format has a place for it.
        options: what the target file gives this back end.
        saturates: whether the target's CPU may cut off sums of int8 products: see `edgekit.backends.saturation`.
        seed: seed of everything random.
        workdir: an empty folder for the artifact's files.
    """

    model: Path
    plan: QuantPlan
    baseline: Artifact | None
    calibration: Path | None
    workdir: Path
    batch: int = 1
    io: str = "float32"
    labels: tuple[str, ...] = ()
    preprocess: Preprocess = field(default_factory=Preprocess)
    options: tuple[tuple[str, str], ...] = ()
    saturates: bool = True
    seed: int = 0


@runtime_checkable
class Backend(Protocol):
    """A compiler for a family of targets.

    Attributes:
        name: the name in target files and `--backend`.
        version: raised whenever the same request would give other bytes; part of the cache key.
        runtime: name of the runtime in the bench script that runs its artifacts.
        precisions: what it can make.
        extra: the optional extra of edgekit that brings its packages.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    runtime: ClassVar[str]
    precisions: ClassVar[tuple[Precision, ...]]
    extra: ClassVar[str]

    def tools(self) -> Mapping[str, str]:
        """Installed packages whose versions decide the bytes, with their versions.

        Raises:
            MissingToolError: one of them is not installed; the remedy is the install line.
        """
        ...

    def unsupported(self, model: Path) -> list[tuple[str, str, str]]:
        """What it can't take of the model at `model`: (layer, op type, remedy) each. Converts nothing."""
        ...

    def compile(self, request: CompileRequest) -> Artifact:
        """Make the artifact in `request.workdir`.

        Raises:
            UnsupportedOpError: an op that it can't take.
            InvalidInputError: the model or the calibration data is at fault.
        """
        ...

    def prove(self, plan: QuantPlan, account: Account) -> PrecisionProof:
        """Hold the runtime's account against the plan: storage and compute precision, each on its own."""
        ...

    def example(self, artifact: Artifact) -> str:
        """The shortest Python program that runs the artifact on its runtime, and feeds its `states` back."""
        ...


@runtime_checkable
class IntegerBackend(Backend, Protocol):
    """One that says what int8 is to it: a network can be trained for that, and comes with its scales recorded."""

    def integers(self, *, saturates: bool) -> Integers:
        """What int8 is to it, for a target whose CPU may cut off sums of int8 products, or can't."""
        ...


def backend_names() -> tuple[str, ...]:
    """The installed back ends, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=_GROUP)}))


def load_backend(name: str) -> Backend:
    """The back end called `name`.

    Raises:
        MissingToolError: there is none, or its plugin is broken; a broken plugin is never skipped.
    """
    points: list[EntryPoint] = list(entry_points(group=_GROUP, name=name))
    if not points:
        raise MissingToolError(
            f"there is no back end called {name!r}; installed are {', '.join(backend_names()) or 'none'}",
            blame="your target file or --backend",
            remedy="Run: edgekit targets",
        )
    point = points[0]
    try:
        backend = point.load()()
    except Exception as error:
        raise MissingToolError(
            f"the back end {name!r} ({point.value}) can't be loaded: {error}",
            blame=f"the package {point.dist.name if point.dist else '?'}",
            remedy="Reinstall or remove that package.",
        ) from error
    if not isinstance(backend, Backend):
        raise MissingToolError(
            f"{point.value} is not a Backend: it lacks part of the protocol in edgekit.backends.base",
            blame=f"the package {point.dist.name if point.dist else '?'}",
            remedy="See docs/writing-a-backend.md.",
        )
    if backend.name != name:
        raise MissingToolError(
            f"{point.value} is registered as {name!r} and calls itself {backend.name!r}",
            blame=f"the package {point.dist.name if point.dist else '?'}",
            remedy="Give the class and its entry point one name.",
        )
    return backend
