"""What training in int8 brings ResNet-8 on LiteRT, beside float and int8 without training: one table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.qat results [--rows int8 qat …] [--epochs 5]

Top-1 on the 5,000 test photographs, of which no training sees any: 18,000 of the training photographs are trained on,
and epochs are compared on the other 2,000. The drop is from the float original, sample by sample, with its interval of
95 %. What a row took is of the CPU. Each row that is done is kept in the folder `results`; a training that was
interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.photographs import Array, photographs
from benchmarks.recovery import CALIBRATION, SELECTION, Case
from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.types import INT4_TOP, Artifact, Precision, QuantPlan
from edgekit.data.metrics.intervals import paired_proportions
from edgekit.devices.bench import measure
from edgekit.ir.model import Model
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.recover.recovery import recover_model, repeatable
from edgekit.passes.recover.settings import RecoverSettings

_BACKEND = TFLiteBackend()
_FLOAT, _INT8 = QuantPlan(Precision.FP32), QuantPlan(Precision.INT8)


@dataclass(frozen=True)
class Row:
    """One artifact.

    Attributes:
        title: what the table calls it.
        label_share: of the loss; None without training.
        top: the greatest integer of weights in training.
        plan: what is compiled.
    """

    title: str
    label_share: float | None = None
    top: int = 127
    plan: QuantPlan = _INT8


ROWS = {
    "float": Row("float", plan=_FLOAT),
    "int8": Row("int8"),
    "qat": Row("int8, trained in it, no labels", 0.0),
    "qat-4": Row("int8 with weights of 4 bits, trained in it, no labels", 0.0, top=INT4_TOP),
    "qat-labels": Row("int8, trained in it, half labels", 0.5),
}


@dataclass(frozen=True)
class Result:
    """A row that is done: top-1, the drop and its interval in points, bytes, and minutes of CPU."""

    row: str
    epochs: int
    top1: float
    drop: float
    interval: tuple[float, float]
    size: int
    minutes: float
    before: float = 0.0
    after: float = 0.0
    learning_rate: float = 0.0


class Judge:
    """ResNet-8 with its photographs, and what LiteRT makes of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        """`folder` keeps artifacts and answers; `seed` is of the training."""
        self._case, self._folder, self._seed = Case(folder), folder, seed
        self._fused, _ = apply(self._case.original, FUSION, 0, until_stable=True)
        (self._spec,) = self._fused.inputs
        images, self._labels = photographs("test5k")
        self._test = folder / "test.npz"
        np.savez(self._test, **{self._spec.name: images.astype(np.float32)})  # type: ignore[arg-type]

    def result(self, name: str, epochs: int) -> Result:
        """Do a row."""
        row = ROWS[name]
        begun, model, told = time.process_time(), self._fused, {"before": 0.0, "after": 0.0, "learning_rate": 0.0}
        if row.label_share is not None:
            model, told = self._trained(row, name, epochs)
        minutes = (time.process_time() - begun) / 60
        artifact = self._compiled(model, row.plan, name)
        right = self._right(artifact, name)
        before = self._right_in_float
        drop, (low, high) = before.mean() - right.mean(), paired_proportions(before, right)
        trained = epochs if row.label_share is not None else 0
        return Result(
            name, trained, 100 * float(right.mean()), 100 * float(drop), (100 * low, 100 * high), artifact.size,
            minutes if trained else 0.0, **told,
        )  # fmt: skip

    def _trained(self, row: Row, name: str, epochs: int) -> tuple[Model, dict[str, float]]:
        case, labelled = self._case, bool(row.label_share)
        order = case.order
        selection, train = (case.samples(rows, labelled=labelled) for rows in (order[:SELECTION], order[SELECTION:]))
        integers = dataclasses.replace(_BACKEND.integers(saturates=True), top=row.top)
        settings = RecoverSettings(epochs=epochs, seed=self._seed, label_share=row.label_share, integers=integers)
        workdir = self._made(f"{name}-training-{epochs}")
        model, curve = recover_model(case.original, case.original, train, selection, settings=settings, workdir=workdir)
        return model, {"before": curve.before, "after": curve.after, "learning_rate": curve.learning_rate}

    def _compiled(self, model: Model, plan: QuantPlan, name: str) -> Artifact:
        path, samples = self._folder / f"{name}.onnx", self._folder / "calibration.npz"
        model.save(path)
        rows = self._case.order[SELECTION : SELECTION + CALIBRATION]
        np.savez(samples, **self._case.samples(rows, labelled=False).feeds(model.inputs))  # type: ignore[arg-type]
        request = CompileRequest(path, _FLOAT, None, None, self._made(f"{name}-float"))
        artifact = _BACKEND.compile(request)
        if plan == _FLOAT:
            return artifact
        workdir = self._made(f"{name}-artifact")
        return _BACKEND.compile(
            dataclasses.replace(request, plan=plan, baseline=artifact, calibration=samples, workdir=workdir)
        )

    def _right(self, artifact: Artifact, name: str) -> Array:
        """Whether each answer is right, as LiteRT gives it; kept for the rows to come."""
        answers = self._folder / f"{name}.npz"
        measured, _ = measure(
            artifact.path, options=artifact.runtime_options, inputs=self._test, outputs=answers,
            runtime=_BACKEND.runtime, timing=False,
        )  # fmt: skip
        violations = _BACKEND.prove(artifact.plan, measured[0].account).violations
        if violations:
            sys.exit(f"{name} ran otherwise than promised: {violations}")
        return self._read(answers)

    @property
    def _right_in_float(self) -> Array:
        answers = self._folder / "float.npz"
        if not answers.exists():
            sys.exit("the drop is from float: do its row first (--rows float …)")
        return self._read(answers)

    def _read(self, answers: Path) -> Array:
        with np.load(answers) as archive:
            (found,) = archive.values()
        right: Array = found.argmax(1) == self._labels
        return right

    def _made(self, name: str) -> Path:
        (self._folder / name).mkdir(exist_ok=True)
        return self._folder / name


def main() -> None:
    """Do what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where results are kept")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="each wants a folder of its own")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = asked.folder / "results.jsonl"
    results = [Result(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {result.row for result in results}
    missing = [name for name in asked.rows if name not in done]
    if missing:
        repeatable()
        judge = Judge(asked.folder, asked.seed)
    for name in missing:
        results.append(judge.result(name, asked.epochs))
        with kept.open("a") as stream:
            stream.write(json.dumps(asdict(results[-1])) + "\n")
        print(results[-1], file=sys.stderr)
    show(results)


def show(results: Sequence[Result]) -> None:
    """Print what is known."""
    print("| on LiteRT | top-1 | drop, points | bytes | epochs | min of CPU |")
    print("|---|---|---|---|---|---|")
    found = {result.row: result for result in results}
    for name, row in ROWS.items():
        if (each := found.get(name)) is not None:
            drop = "{:+.2f} [{:+.2f}, {:+.2f}]".format(each.drop, *each.interval) if name != "float" else ""
            took = f"{each.epochs} | {each.minutes:.1f}" if each.epochs else "|"
            print(f"| {row.title} | {each.top1:.2f} | {drop} | {each.size:,} | {took} |")


if __name__ == "__main__":
    main()
