"""What finding a network's channel dependencies costs: CPU seconds at 50, 100, 200 and 400 layers.

    python -m benchmarks.pruning

Exits 1 when 200 layers take more than 10 seconds, or 400 layers more than three times what 200 take.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from edgekit.passes.prune.dependencies import analyse
from edgekit.passes.prune.removal import remove_channels
from tests.passes.prune.networks import chain

DEPTHS = (50, 100, 200, 400)
LIMIT = 10.0
GROWTH = 3.0


def main() -> None:
    """Print the table."""
    print("| layers | channels | groups | find the groups, CPU s | remove half of the channels, CPU s |")
    print("|---|---|---|---|---|")
    seconds = {depth: measured(depth) for depth in DEPTHS}
    sys.exit(0 if seconds[200] <= LIMIT and seconds[400] <= GROWTH * seconds[200] else 1)


def measured(depth: int, width: int = 256) -> float:
    """Print one row; seconds for all of it."""
    model = chain(depth, width=width)
    begin = time.process_time()
    dependencies = analyse(model)
    found = time.process_time()
    remove_channels(model, dependencies, np.concatenate([group.roots[::2] for group in dependencies.groups]))
    end = time.process_time()
    groups = len(dependencies.groups)
    print(f"| {depth} | {depth * width:,} | {groups} | {found - begin:.2f} | {end - found:.2f} |", flush=True)
    return end - begin


if __name__ == "__main__":
    main()
