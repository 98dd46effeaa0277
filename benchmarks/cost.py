"""What edgekit itself costs, in CPU seconds of all its processes, as a markdown table.

    python benchmarks/cost.py

The build is digits-cnn for both families of targets, first with an empty store, then again.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = ["build", "digits-cnn", "--target", "raspberry-pi-5", "--target", "intel-cpu"]


def main() -> None:
    """Print the table; end with 1 when a row misses its limit."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model = Path(__file__).parents[1] / "models" / "digits-cnn" / "digits-cnn.onnx"
        build = [*BUILD, "--out", home / "out"]
        rows = [
            ("edgekit --help (median of 9)", 0.3, statistics.median(cpu(home, "--help") for _ in range(9))),
            ("first build of digits-cnn, both targets", 120.0, cpu(home, *build)),
            ("second build", 60.0, cpu(home, *build)),
            ("inspect digits-cnn.onnx, empty store", 3.0, cpu(home / "other", "inspect", model)),
        ]
    print("| what | CPU seconds | limit |\n|---|---|---|")
    for what, limit, seconds in rows:
        print(f"| {what} | {seconds:.2f} | {limit:g} |")
    sys.exit(0 if all(seconds <= limit for _, limit, seconds in rows) else 1)


def cpu(store: Path, *arguments: object) -> float:
    """CPU seconds, user and system, of an edgekit command and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "EDGEKIT_CACHE": str(store / "store")},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
