"""`--compress` on models that have data: is the result inside its gates, smaller and faster than the plain int8 build?

The plain one is the same network, neither pruned nor trained, as int8 on the same runtime, timed in the same run. Where
the compressed network is inside its gate in a wider precision only, it is held against that one all the same.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.compress [WORD] [NAME…] [--max-time=SECONDS]

The word is light, balanced (unless told) or extreme.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import models
from edgekit.core.recipe_file import COMPRESSIONS
from edgekit.core.types import Precision
from edgekit.pipeline.build import build
from edgekit.report.build_report import TargetReport

TARGETS = ("raspberry-pi-5", "intel-cpu")
SHARED = ("ResNet-8", "keypoints", "point history", "VWW", "wake word")
ZOO = ("digits-cnn", "digits-mlp")


def main() -> None:
    """Print the table."""
    words = [text for text in sys.argv[1:] if not text.startswith("--")]
    compress = next((word for word in words if word in COMPRESSIONS), "balanced")
    names = [word for word in words if word not in COMPRESSIONS]
    seconds = next((float(text.partition("=")[2]) for text in sys.argv if text.startswith("--max-time=")), None)
    print(
        "| model | target | precision | accuracy, float → compressed | drop, 95 % | MACs | bytes ÷ plain int8 |"
        " time ÷ plain int8 | exit code | CPU minutes |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, data) in networks(Path(folder)).items():
            if names and name not in names:
                continue
            begun = _cpu_seconds()
            flags: Any = {"data": data, "recover": {"max_seconds": seconds}}
            out = Path(folder, "out", name)
            report = build(str(path), TARGETS, flags=flags, compress=compress, out=out)
            minutes = (_cpu_seconds() - begun) / 60
            plain = build(
                str(path), TARGETS, flags={"data": data, "precision": {"precision": "int8"}}, out=out / "int8"
            )
            for target, other in zip(report.targets, plain.targets, strict=True):
                print(f"| {name} | {target.target} | {_row(target, other)} | {minutes:.0f} |", flush=True)


def networks(home: Path) -> Mapping[str, tuple[Path | str, Mapping[str, str]]]:
    """Each network's file, and the section of a recipe that says which data it gets."""
    shared = models.prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), home)
    return {**{name: (name, {}) for name in ZOO}, **{name: shared[name] for name in SHARED}}


def _row(target: TargetReport, plain: TargetReport) -> str:
    if target.error or not target.pruned:
        return f"{(target.error or {}).get('cause')}"
    metric = target.metrics[0]
    assert metric.ci95
    size, speed = _cost(target, plain)
    # Without labels there is only agreement, and nothing to lose from.
    before = f"{metric.float:.2f} → " if metric.float is not None else ""
    drop = f"{metric.drop:+.2f} " if metric.drop is not None else ""
    return (
        f"{target.precision} | {metric.name} {before}{metric.artifact:.2f} |"
        f" {drop}[{metric.ci95[0]:+.2f}, {metric.ci95[1]:+.2f}] | {target.pruned.macs:.2f} | {size} | {speed} |"
        f" {target.exit_code}"
    )


def _cost(target: TargetReport, plain: TargetReport) -> tuple[str, str]:
    """Bytes and time beside the plain int8 artifact."""
    assert target.pruned
    assert target.bytes
    size = f"{target.bytes / plain.bytes:.2f}" if plain.bytes else (plain.error or {}).get("cause", "")
    if target.precision is Precision.INT8:
        return size, f"{target.pruned.dense_ratio:.2f}"
    # Both were timed beside the same float artifact, each in its own run.
    own, other = (each.latency or each.latency_at_host for each in (target, plain))
    ratio = own.ratio / other.ratio if own and other and own.ratio and other.ratio else None
    return size, f"{ratio:.2f} (of two runs)" if ratio else "unknown"


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
