"""What int8 costs each model on each back end: plain, repaired, mixed, and as a default build ships it; as one table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.precision results [NAME …] [--targets tflite openvino …]

Each figure is of a whole build, on its report split. "plain" is the back end's own int8 with its whole ranges, rounding
to nearest and biases as they are; "repaired" is int8 with what a build does by itself; "mixed" is `--precision mixed`;
"auto" is a build that is told nothing. Everything runs on this host, for the Raspberry Pi 5 too. Each build that is
done is a line in `results/cells.jsonl`: an interrupted run goes on, and a cell is measured anew when its line is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.models import prepare
from edgekit.core.plain import from_json
from edgekit.core.repair import Repair
from edgekit.pipeline.build import build
from edgekit.report.build_report import TargetReport

# From the smallest network up.
MODELS = ("keypoints", "point history", "DS-CNN", "ad01", "wake word", "ResNet-8", "VWW", "ultraface")
TARGETS = {"tflite": "raspberry-pi-5", "openvino": "intel-cpu", "onnxruntime": "intel-cpu"}
BUILDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"precision": "int8", "ranges": "min-max", "rounding": "nearest", "bias_correction": False},
    "repaired": {"precision": "int8"},
    "mixed": {"precision": "mixed"},
    "auto": {},
}
ACCURACY_CODE = 4


@dataclass(frozen=True)
class Cell:
    """What one build came to.

    Attributes:
        metric, original, value, drop: of the gated metric, the float model's and the artifact's.
        sqnr: of the answers, in dB, of the worst output.
        size, time: bytes and CPU time as shares of float's on the same back end.
        repair: what was done before int8, in words.
        lifted: layers of an int8 network that the plan keeps in float.
        exit_code, failed: how the build ended, and the gates that did not hold.
        error: why there is no artifact.
    """

    model: str
    backend: str
    build: str
    exit_code: int
    precision: str = ""
    metric: str = ""
    original: float | None = None
    value: float | None = None
    drop: float | None = None
    sqnr: float | None = None
    size: float | None = None
    time: float | None = None
    repair: str = ""
    lifted: int = 0
    failed: tuple[str, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        """The drop, or else the value; how near int8's answers are; bytes and time; ✗ outside the accuracy gate."""
        if self.error:
            return f"refused ({self.exit_code})"
        if self.precision == "fp32":
            return "fp32"
        assert self.size is not None
        first = "" if self.metric.endswith("sqnr") else f"{self.value:.1f}, "
        if self.drop is not None:
            first = f"{self.drop:+.2f}, "
        cost = f"{self.size:.2f}" if self.time is None else f"{self.size:.2f}, {self.time:.2f}"
        lifted = f", {self.lifted} in float" if self.lifted else ""
        return f"{first}{self.sqnr:.1f} dB, {cost}{lifted}{' ✗' if self.exit_code == ACCURACY_CODE else ''}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of what is done")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)}; all unless told")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="back ends")
    asked = parser.parse_args()
    asked.results.mkdir(parents=True, exist_ok=True)
    log = asked.results / "cells.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    done = {(cell.model, cell.backend, cell.build): cell for cell in (from_json(Cell, json.loads(x)) for x in lines)}
    print("| model | back end | figure | float | plain int8 | repaired | by | mixed | auto ships | exit code |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        models = prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), home)
        for name in asked.names or MODELS:
            for backend in asked.targets:
                for title in BUILDS:
                    if (name, backend, title) not in done:
                        cell = measured(name, backend, title, models[name], home / "out" / name / backend / title)
                        with log.open("a") as file:
                            file.write(json.dumps(asdict(cell)) + "\n")
                        done[name, backend, title] = cell
                print(row([done[name, backend, title] for title in BUILDS]), flush=True)


def measured(name: str, backend: str, title: str, model: tuple[Path, Mapping[str, str]], out: Path) -> Cell:
    """One build of a model, from its file and what a recipe says of its data, judged on this host."""
    path, data = model
    flags: Any = {"data": data, "precision": BUILDS[title], "run": {"backend": backend, "devices": ["local"]}}
    (report,) = build(str(path), [TARGETS[backend]], flags=flags, out=out).targets
    if report.error:
        return Cell(name, backend, title, report.exit_code, error=report.error["cause"])
    metric, latency = report.metrics[0], report.latency or report.latency_at_host
    assert report.bytes
    assert report.float_bytes
    manifest = json.loads((out / report.target / "manifest.json").read_text())
    return Cell(
        name,
        backend,
        title,
        report.exit_code,
        precision=str(report.precision),
        metric=metric.name,
        original=metric.float,
        value=metric.artifact,
        drop=metric.drop,
        sqnr=nearness(report),
        size=report.bytes / report.float_bytes,
        time=latency.ratio if latency else None,
        repair=str(from_json(Repair, manifest["repair"])) if manifest["repair"] else "",
        lifted=sum(precision != "int8" for _, precision in manifest["plan"]["layers"]),
        failed=tuple(gate.name for gate in report.gates if gate.passed is False),
    )


def nearness(report: TargetReport) -> float:
    """How near the answers are to float's, in dB, of the worst output."""
    return min(m.artifact for m in report.metrics if m.unit == "dB" and "over_constant" not in m.name)


def row(cells: Sequence[Cell]) -> str:
    """A model on a back end, its builds in the order of `BUILDS`."""
    plain, repaired, mixed, auto = cells
    shown = next((cell for cell in cells if not cell.error), auto)
    figure = f"{shown.metric}, drop" if shown.drop is not None else shown.metric
    baseline = "" if shown.original is None or shown.drop is None else f"{shown.original:.2f}"
    ships = str(auto) if auto.error or auto.precision == "fp32" else f"{auto.precision}: {auto}"
    code = f"{auto.exit_code} {', '.join(auto.failed)}".rstrip()
    texts = (auto.model, auto.backend, figure, baseline, plain, repaired, repaired.repair, mixed, ships, code)
    return f"| {' | '.join(map(str, texts))} |"


if __name__ == "__main__":
    main()
