"""What the child process that makes probes runs: all of them in one process, since importing TensorFlow costs seconds.

It is imported in that child alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import Backend, CompileRequest, load_backend
from edgekit.core import events
from edgekit.core.errors import UnsupportedOpError
from edgekit.core.plain import to_json
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.ir.model import Model
from edgekit.ir.run import probe
from edgekit.passes.prune.dependencies import analyse, plain
from edgekit.passes.prune.probes import COPIES, idle_network, probes

__all__ = ["compile_probes"]

_CALIBRATION_SAMPLES = 2


def compile_probes(
    source: str, out: str, *, backend: str, precision: str, multiple: int, batch: int, options: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Compile a network that idles, and the probes of the layers of the Model in the file `source`.

    Args:
        source: path of the imported Model.
        out: an existing folder.
        backend: its name.
        precision: of the probes; the network that idles is float.
        multiple: sizes are multiples of it where they can be.
        batch, options: as of `CompileRequest`.

    Returns:
        `artifacts`: the one that idles and those of the probes, their files relative to `out`; `grids`: by layer, the
        `sizes` and `probes` of `edgekit.passes.prune.probes.Grid`; `copies`: of a layer in its probe.
    """
    model = plain(Model.load(Path(source)))
    found, grids = probes(model, analyse(model), multiple)
    compiler = _Compiler(load_backend(backend), Path(out), batch, tuple((key, value) for key, value in options))
    artifacts = [compiler.compile(idle_network(), "idle", Precision.FP32)]
    for number, each in enumerate(found):
        events.progress(f"layer {number + 1} of {len(found)}", number / len(found))
        artifacts.append(compiler.compile(each.model(), str(number), Precision(precision)))
    answers = [to_json(artifact) for artifact in artifacts]
    for answer in answers:
        answer["files"] = [str(Path(file).relative_to(out)) for file in answer["files"]]
    return {"artifacts": answers, "grids": to_json(grids), "copies": COPIES}


class _Compiler:
    """Compiles Models into a folder each."""

    def __init__(self, backend: Backend, out: Path, batch: int, options: tuple[tuple[str, str], ...]) -> None:
        self._backend, self._out, self._batch, self._options = backend, out, batch, options

    def compile(self, model: Model, name: str, precision: Precision) -> Artifact:
        """The artifact of a Model; int8 is calibrated with noise."""
        folder = self._out / name
        folder.mkdir()
        source, calibration = folder / "probe.onnx", folder / "calibration.npz"
        model.save(source)
        np.savez(calibration, **probe(model, 0, _CALIBRATION_SAMPLES))  # type: ignore[arg-type]
        artifact = self._make(source, Precision.FP32, None, None, folder / "float")
        if precision is not Precision.FP32:
            try:
                artifact = self._make(source, precision, artifact, calibration, folder / precision)
            except UnsupportedOpError:
                if precision is not Precision.DYNAMIC:
                    raise
                # A layer that has no dynamic form stays float, in the whole network too.
        source.unlink()
        return artifact

    def _make(
        self, source: Path, precision: Precision, baseline: Artifact | None, calibration: Path | None, folder: Path
    ) -> Artifact:
        folder.mkdir()
        return self._backend.compile(
            CompileRequest(
                model=source,
                plan=QuantPlan(precision),
                baseline=baseline,
                calibration=calibration if precision is Precision.INT8 else None,
                workdir=folder,
                batch=self._batch,
                options=self._options,
            )
        )
