"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest

from edgekit.core.errors import UsageError
from edgekit.report.units import parse_duration_ms, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500kB", 500_000),
        ("64MB", 64_000_000),
        ("1.5MiB", 1_572_864),
        ("2048", 2048),
        ("2 KB", 2000),
        ("1GiB", 2**30),
        ("7B", 7),
    ],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("20ms", 20), ("850us", 0.85), ("1.5 s", 1500), ("3µs", 0.003)])
def test_durations(text, expected):
    assert parse_duration_ms(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "kB", "-5kB", "0", "5 elephants", "1e3kB", "5,5MB", "nan"])
def test_no_sizes(text):
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert "500kB" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "20", "-20ms", "0ms", "20mb", "ms"])
def test_no_durations(text):
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration_ms(text)
    assert "20ms" in caught.value.remedy
