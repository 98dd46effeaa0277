"""What pruning costs: CPU seconds to find the channels, remove them and compensate, at 50, 100, 200 and 400 layers.

    python -m benchmarks.pruning

Exits 1 when, without compensation, 200 layers take more than 10 seconds, or 400 layers more than three times as much.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from edgekit.ir.run import probe
from edgekit.passes.prune.compensation import compensate
from edgekit.passes.prune.dependencies import analyse
from edgekit.passes.prune.removal import remove_channels
from tests.passes.prune.networks import chain

DEPTHS = (50, 100, 200, 400)
LIMIT = 10.0
GROWTH = 3.0
SAMPLES = 2


def main() -> None:
    """Print the table."""
    print("| layers | channels | groups | find the groups, CPU s | remove half of the channels | compensate |")
    print("|---|---|---|---|---|---|")
    seconds = {depth: measured(depth) for depth in DEPTHS}
    sys.exit(0 if seconds[200] <= LIMIT and seconds[400] <= GROWTH * seconds[200] else 1)


def measured(depth: int, width: int = 256) -> float:
    """Print one row; seconds for all but compensation."""
    model = chain(depth, width=width)
    begin = time.process_time()
    dependencies = analyse(model)
    found = time.process_time()
    removed = np.concatenate([group.roots[::2] for group in dependencies.groups])
    pruned = remove_channels(model, dependencies, removed)
    end = time.process_time()
    compensate(model, pruned, dependencies, removed, probe(model, 0, SAMPLES))
    compensated = time.process_time()
    groups = len(dependencies.groups)
    times = f"{found - begin:.2f} | {end - found:.2f} | {compensated - end:.1f}"
    print(f"| {depth} | {depth * width:,} | {groups} | {times} |", flush=True)
    return end - begin


if __name__ == "__main__":
    main()
