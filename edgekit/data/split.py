"""Disjoint splits: calibration, selection, report and training, stratified by class, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.data.spec import bad_data

__all__ = ["CALIBRATION", "REPORT", "SELECTION", "TRAINING", "sizes", "split"]

CALIBRATION, SELECTION, REPORT, TRAINING = "calibration", "selection", "report", "training"
_SHARE = 0.2
# Calibration stops improving after a few hundred samples. 10,000 paired samples resolve half a point.
_CAPS = {CALIBRATION: 256, SELECTION: 2_000, REPORT: 10_000}


def sizes(count: int, wanted: tuple[str, ...]) -> dict[str, int]:
    """How many of `count` samples each of the `wanted` splits gets.

    Every split but the last takes a fifth, the last one the rest; caps are 256, 2,000 and 10,000 for calibration,
    selection and report. Training has none.

    Raises:
        InvalidInputError: there is not one sample for each.
    """
    if count < len(wanted):
        raise bad_data(
            f"{count} sample{'s' * (count != 1)} can't be split into {', '.join(wanted)}",
            f"Give at least {len(wanted)} samples; 100 and more calibrate well, 1,000 and more resolve one point.",
        )
    result: dict[str, int] = {}
    for name in wanted[:-1]:
        result[name] = min(_CAPS[name], max(1, int(count * _SHARE)))
    result[wanted[-1]] = min(_CAPS.get(wanted[-1], count), count - sum(result.values()))
    return result


def split(
    count: int, parts: Mapping[str, int], *, classes: NDArray[np.int64] | None, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Sorted indices into `count` samples for each part; no index is in two.

    Args:
        count: number of samples.
        parts: how many samples each part gets; together no more than `count`.
        classes: each sample's class: every part then holds each class in proportion, to within one sample of what
            the parts before it left; None to draw without looking.
        seed: the same seed gives the same splits.
    """
    rng = np.random.default_rng(seed)
    groups = _groups(count, classes)
    pools = [rng.permutation(group) for group in groups]
    result = {}
    for name, size in parts.items():
        quotas = _apportion(size, np.array([len(pool) for pool in pools]), rng)
        result[name] = np.sort(np.concatenate([pool[:quota] for pool, quota in zip(pools, quotas, strict=True)]))
        pools = [pool[quota:] for pool, quota in zip(pools, quotas, strict=True)]
    return result


def _groups(count: int, classes: NDArray[np.int64] | None) -> list[NDArray[np.int64]]:
    everything = np.arange(count)
    if classes is None:
        return [everything]
    return [everything[classes == label] for label in np.unique(classes)]


def _apportion(size: int, available: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` seats in proportion to `available`, by largest remainder; equal remainders are drawn by lot."""
    shares = size * available / max(1, available.sum())
    quotas: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    order = np.lexsort((rng.random(len(shares)), quotas - shares))
    quotas[order[: size - quotas.sum()]] += 1
    return quotas
