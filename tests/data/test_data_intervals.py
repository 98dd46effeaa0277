"""Intervals hold what 95 % promises, also at few samples and few differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from edgekit.data.metrics.intervals import (
    _student,
    bootstrap,
    mean_of_proportions,
    paired_mean,
    paired_proportions,
    resolved,
    samples_to_settle,
    wilson,
)


@pytest.mark.parametrize("n", [20, 100, 1000])
@pytest.mark.parametrize(("lost", "won"), [(0.02, 0.02), (0.05, 0.01), (0.2, 0.1)])
def test_paired_proportions_cover_the_true_drop(n, lost, won):
    rng = np.random.default_rng(0)
    cells = rng.choice(3, p=(lost, won, 1 - lost - won), size=(1500, n))
    intervals = [paired_proportions(row != 1, row != 0) for row in cells]
    covered = np.mean([low <= lost - won <= high for low, high in intervals])
    assert covered >= 0.93  # 0.95 less three standard errors of 1,500 trials


def test_equal_answers_still_leave_doubt_that_shrinks_with_n():
    widths = [np.ptp(paired_proportions(np.ones(n, bool), np.ones(n, bool))) for n in (10, 100, 1000)]
    assert widths[0] > 8 * widths[1] > 60 * widths[2] > 0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_swapping_the_models_mirrors_the_interval(pairs):
    first, second = np.array(pairs).T
    low, high = paired_proportions(first, second)
    assert paired_proportions(second, first) == pytest.approx((-high, -low))
    assert -1 <= low <= high <= 1


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 30, 1000])
def test_students_quantile(freedom):
    assert _student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_paired_mean_is_students_interval():
    values = np.random.default_rng(0).standard_normal(12)
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert paired_mean(values) == pytest.approx(expected, rel=1e-3)
    assert paired_mean(values[:1]) is None


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 10), (970, 1000)])
def test_wilson(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_mean_of_proportions_covers_and_stays_within_0_and_1():
    rng = np.random.default_rng(0)
    counts, shares = [200, 40, 15], [0.99, 0.9, 0.8]
    draws = rng.binomial(counts, shares, size=(1500, 3))
    covered = np.mean([low <= np.mean(shares) <= high for low, high in (mean_of_proportions(d, counts) for d in draws)])
    assert covered >= 0.93
    assert mean_of_proportions([50, 9], [50, 9])[1] == 1


def test_bootstrap_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).standard_normal(400)
    interval = bootstrap(lambda rows: float(values[rows].mean()), 400, seed=0)
    assert interval is not None
    low, high = interval
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert bootstrap(lambda rows: 0.0, 1, seed=0) is None


@pytest.mark.parametrize(
    ("estimate", "interval", "settled"),
    [
        (0.2, (-0.3, 0.7), True),
        (0.8, (0.3, 1.3), False),
        (2.0, (1.5, 2.5), True),
        (1.2, (0.9, 1.5), False),
        (1.0, None, None),
    ],
)
def test_resolved(estimate, interval, settled):
    assert resolved(estimate, interval, 1.0) is settled


def test_the_sample_count_that_settles_it_does():
    n = samples_to_settle(0.5, (-0.5, 1.5), 1.0, 100)
    assert n == 400
    half = 1.0 * np.sqrt(100 / n)
    assert resolved(0.5, (0.5 - half, 0.5 + half), 1.0)
    assert samples_to_settle(1.0, (0.0, 2.0), 1.0, 100) is None
