"""Splits: disjoint, stratified, seeded, of sensible sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InvalidInputError
from edgekit.data.split import CALIBRATION, REPORT, SELECTION, sizes, split

ALL = (CALIBRATION, SELECTION, REPORT)
labels = st.lists(st.integers(0, 6), min_size=3, max_size=300).map(lambda values: np.array(values, np.int64))


@given(labels, st.integers(0, 2**32 - 1))
def test_splits_are_disjoint_complete_and_repeatable(classes, seed):
    parts = sizes(len(classes), ALL)
    first, again = (split(len(classes), parts, classes=classes, seed=seed) for _ in range(2))
    together = np.concatenate(list(first.values()))
    assert len(np.unique(together)) == len(together) == len(classes)
    assert {name: len(indices) for name, indices in first.items()} == parts
    assert all(np.array_equal(first[name], again[name]) for name in parts)


@given(labels, st.integers(0, 2**32 - 1))
def test_each_split_holds_each_class_in_proportion(classes, seed):
    left = np.ones(len(classes), bool)
    for indices in split(len(classes), sizes(len(classes), ALL), classes=classes, seed=seed).values():
        for label in np.unique(classes):
            fair = len(indices) * np.sum(classes[left] == label) / left.sum()
            assert abs(np.sum(classes[indices] == label) - fair) < 1 + 1e-9
        left[indices] = False


def test_another_seed_gives_other_splits():
    parts = sizes(500, ALL)
    a, b = (split(500, parts, classes=None, seed=seed) for seed in (0, 1))
    assert not np.array_equal(a[CALIBRATION], b[CALIBRATION])


def test_a_thousand_rare_classes_are_drawn_by_lot_not_from_the_front():
    drawn = split(3000, {CALIBRATION: 100}, classes=np.arange(3000) % 1000, seed=0)[CALIBRATION] % 1000
    assert drawn.max() > 800
    assert len(np.unique(drawn)) == 100


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (3, (1, 1, 1)),
        (10, (2, 2, 6)),
        (1000, (200, 200, 600)),
        (5000, (256, 1000, 3744)),
        (100_000, (256, 2000, 10_000)),
    ],
)
def test_sizes(count, expected):
    assert tuple(sizes(count, ALL).values()) == expected


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_samples_say_how_many_are_needed(count):
    with pytest.raises(InvalidInputError) as caught:
        sizes(count, ALL)
    assert "at least 3 samples" in caught.value.remedy
    assert caught.value.blame == "your data"
