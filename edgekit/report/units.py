"""Sizes and durations as people write them on the command line: 500kB, 64MB, 1.5MiB, 20ms, 5m."""

from __future__ import annotations

import re

from edgekit.core.errors import UsageError

__all__ = ["parse_duration_ms", "parse_size"]

_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_MILLISECONDS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "m": 6e4, "h": 3.6e6}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Zµ]*)")


def parse_size(text: str) -> int:
    """Bytes in "500kB", "64MB", "1.5MiB" or "2048"; kB is 1,000 bytes, KiB is 1,024.

    Raises:
        UsageError: not a positive size.
    """
    return round(_parse(text, _BYTES, what="a size", example="500kB"))


def parse_duration_ms(text: str) -> float:
    """Milliseconds in "20ms", "850us", "1.5s", "20m" or "2h"; the unit is not optional.

    Raises:
        UsageError: not a positive duration.
    """
    return _parse(text, _MILLISECONDS, what="a duration", example="20ms")


def _parse(text: str, units: dict[str, int] | dict[str, float], *, what: str, example: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    value = float(match[1]) * factor if match and factor is not None else 0.0
    if value <= 0:
        known = ", ".join(unit for unit in units if unit)
        raise UsageError(
            f"{text!r} is not {what}",
            blame="your command or recipe",
            remedy=f"Write a positive number with a unit ({known}): {example}",
        )
    return value
