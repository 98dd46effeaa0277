"""Is the float model any good on this data? If not, its preprocessing is wrong, and nothing behind it means anything."""

from __future__ import annotations

from edgekit.pipeline.trial import Job

__all__ = ["check_baseline"]


def check_baseline(job: Job) -> None:
    """To be written when metrics land."""
