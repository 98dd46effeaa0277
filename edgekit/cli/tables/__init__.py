"""Results as tables on stdout, for people."""

from edgekit.cli.tables.build import print_build
from edgekit.cli.tables.cells import print_line, print_rows
from edgekit.cli.tables.measured import (
    print_comparisons,
    print_failures,
    print_metrics,
    print_timings,
    print_validation,
    print_validations,
)
from edgekit.cli.tables.model import print_inspection, print_pruning

__all__ = [
    "print_build", "print_comparisons", "print_failures", "print_inspection", "print_line", "print_metrics",
    "print_pruning", "print_rows", "print_timings", "print_validation", "print_validations",
]  # fmt: skip
