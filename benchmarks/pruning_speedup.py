"""Networks pruned to a speed-up in int8: what was asked, predicted from the layers, and measured on the whole.

All of it is of medians of CPU time, interleaved, on one thread of this machine, on TFLite and OpenVINO. `first` is what
the first network, pruned by prediction alone, was measured at; `measured` is what the build answers after corrections.
Networks without weights of their own have random ones, which make no difference to time.

EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.pruning_speedup [NAME…] [SPEEDUP]
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.pruning_latency import TARGETS, networks
from edgekit.core import events
from edgekit.pipeline.build import build

DEFAULT = ("digits-cnn", "ResNet-8", "MobileNetV2")


def main() -> None:
    """Print the table; end with 1 when a speed-up was missed."""
    figures = [float(each) for each in sys.argv[1:] if re.fullmatch(r"[\d.]+", each)]
    names = [each for each in sys.argv[1:] if not re.fullmatch(r"[\d.]+", each)]
    speedup, missed = figures[0] if figures else 1.5, False
    print("| network | target | asked | predicted | first | measured | networks measured | MACs left |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, prepare in networks(Path(folder)).items():
            if name not in (names or DEFAULT):
                continue
            path, data = prepare()
            for target in TARGETS:
                out = Path(folder, "out", name)
                missed |= not show(name, target, str(path), flags={"data": data}, speedup=speedup, out=out)
    sys.exit(missed)


def show(name: str, target: str, path: str, *, flags: dict[str, Any], speedup: float, out: Path) -> bool:
    """Print a row; whether the speed-up was met."""
    attempts: list[tuple[str, str]] = []

    def listen(event: events.Event) -> None:
        found = re.fullmatch(r"([\d.]+)× the speed, ([\d.]+)× predicted", event.text)
        if found and event.kind == "done":
            attempts.append((found[1], found[2]))

    flags |= {"shrink": {"speedup": speedup}, "precision": {"precision": "int8"}}
    with events.listening(listen):
        (report,) = build(path, [target], flags=flags, out=out).targets
    if not report.pruned or not report.pruned.dense_ratio:
        print(f"| {name} | {target} | {speedup:g}× | {(report.error or {}).get('cause')} |", flush=True)
        return False
    pruned, (first, predicted) = report.pruned, attempts[0]
    measured = f"{1 / report.pruned.dense_ratio:.2f}×"
    row = (name, target, f"{speedup:g}×", f"{predicted}×", f"{first}×", measured, len(attempts), f"{pruned.macs:.2f}")
    print("|", " | ".join(map(str, row)), "|", flush=True)
    return next(gate.passed for gate in report.gates if gate.name == "pruned-speedup") is True


if __name__ == "__main__":
    main()
