"""Paired statistics: 95 % intervals of a difference measured on the same samples, and what would settle it.

Everything works on shares (0..1) or on a metric's own unit; callers turn shares into points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval", "bootstrap", "bootstrap_all", "mean_of_proportions", "paired_mean", "paired_proportions", "resolved",
    "samples_to_settle", "wilson",
]  # fmt: skip

Interval = tuple[float, float]

_Z = NormalDist().inv_cdf(0.975)


def paired_proportions(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Interval:
    """The interval of `first.mean() - second.mean()` for two yes/no answers on each sample.

    The Wald interval with one added to each of the two discordant counts (Bonett and Price 2012, "Adjusted Wald
    Confidence Interval for a Difference of Binomial Proportions Based on Paired Data"), which keeps its coverage at
    small n and where the answers never differ.
    """
    n = len(first) + 2
    only_first = (int(np.sum(first & ~second)) + 1) / n
    only_second = (int(np.sum(~first & second)) + 1) / n
    centre = only_first - only_second
    half = _Z * math.sqrt((only_first + only_second - centre**2) / n)
    return max(-1.0, centre - half), min(1.0, centre + half)


def paired_mean(differences: NDArray[Any]) -> Interval | None:
    """Student's interval of the mean of per-sample differences; None for fewer than two samples."""
    n = len(differences)
    if n < 2:
        return None
    values = differences.astype(np.float64)
    half = _student(n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return float(values.mean()) - half, float(values.mean()) + half


def wilson(hits: int, n: int) -> Interval:
    """The interval of a proportion (Wilson 1927)."""
    centre = (hits + _Z**2 / 2) / (n + _Z**2)
    half = _Z / (n + _Z**2) * math.sqrt(hits * (n - hits) / n + _Z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_of_proportions(hits: Sequence[int], counts: Sequence[int]) -> Interval:
    """The interval of the unweighted mean of several groups' proportions; Wald's, with one added to each side."""
    shares = [(hit + 1) / (n + 2) for hit, n in zip(hits, counts, strict=True)]
    centre = sum(shares) / len(shares)
    variances = [share * (1 - share) / (n + 2) for share, n in zip(shares, counts, strict=True)]
    half = _Z * math.sqrt(sum(variances)) / len(shares)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], n: int, *, seed: int, resamples: int = 200
) -> Interval | None:
    """The interval of any paired statistic, as estimate ± z × its bootstrap standard error.

    Args:
        statistic: gives the difference on the samples with these indices.
        n: number of samples.
        seed: the same seed gives the same interval.
        resamples: 200 are enough for a standard error (Efron and Tibshirani 1993, section 6.4).

    Returns:
        None for fewer than two samples.
    """
    return bootstrap_all(lambda rows: np.array([statistic(rows)]), n, seed=seed, resamples=resamples)[0]


def bootstrap_all(
    statistics: Callable[[NDArray[np.int64]], NDArray[np.float64]], n: int, *, seed: int, resamples: int = 200
) -> list[Interval | None]:
    """`bootstrap` for several statistics that come from one computation, on the same resamples."""
    estimates = statistics(np.arange(n))
    if n < 2:
        return [None] * len(estimates)
    rng = np.random.default_rng(seed)
    halves = _Z * np.std([statistics(rng.integers(0, n, n)) for _ in range(resamples)], axis=0, ddof=1)
    return [(float(e - half), float(e + half)) for e, half in zip(estimates, halves, strict=True)]


def resolved(estimate: float, interval: Interval | None, limit: float) -> bool | None:
    """Whether the whole interval lies on the estimate's side of the limit; None without an interval."""
    if interval is None:
        return None
    return bool(interval[1] <= limit if estimate <= limit else interval[0] > limit)


def samples_to_settle(estimate: float, interval: Interval, limit: float, n: int) -> int | None:
    """How many samples would pull the interval to the estimate's side of the limit; None if none would.

    The interval shrinks with the square root of the sample count, and the estimate is taken to stay.
    """
    margin = abs(estimate - limit)
    if margin == 0:
        return None
    half = max(interval[1] - estimate, estimate - interval[0])
    return max(n, math.ceil(n * (half / margin) ** 2))


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5; exact for 1 and 2 degrees of freedom)."""
    if freedom <= 2:
        return (12.7062, 4.3027)[freedom - 1]
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))
