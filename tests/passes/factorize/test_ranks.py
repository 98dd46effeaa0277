"""Ranks meet a share of the MACs, and go where they lose least."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InvalidInputError
from edgekit.passes.factorize.ranks import Offer, choose_ranks, keep_ranks
from edgekit.passes.prune.schedule import TOLERANCE


def _offer(decay: float, full: int = 64, macs: int = 64_000, weights: int = 1000) -> Offer:
    per_rank = 2 * macs // full
    return Offer(macs, per_rank, (macs - 1) // per_rank, weights, np.array([decay**place for place in range(full)]))


def _left(offers, ranks, macs):
    whole = macs - sum(offer.macs for offer in offers)
    parts = (rank * offer.macs_per_rank or offer.macs for offer, rank in zip(offers, ranks, strict=True))
    return (whole + sum(parts)) / macs


@given(
    st.lists(st.floats(0.3, 0.999), min_size=1, max_size=6), st.floats(0.1, 0.6), st.sampled_from([1, 2, 8]),
    st.integers(0, 20_000),
)  # fmt: skip
def test_the_share_goes_or_an_error_says_what_could(decays, share, multiple, others):
    offers = [_offer(decay) for decay in decays]
    macs = others + sum(offer.macs for offer in offers)
    try:
        ranks, unit = choose_ranks(offers, macs, share, multiple)
    except InvalidInputError:
        assert share > 0.4  # what can go of a layer is more than that
        return
    assert abs(_left(offers, ranks, macs) - (1 - share)) <= TOLERANCE
    assert multiple % unit == 0
    assert all(rank % unit == 0 and rank <= offer.most for rank, offer in zip(ranks, offers, strict=True))


def test_a_layer_with_few_strong_directions_gives_more():
    ranks, _ = choose_ranks([_offer(0.5), _offer(0.98)], 128_000, 0.5, 1)
    assert 0 < ranks[0] < 16
    assert ranks[1] == 0 or ranks[1] > ranks[0]


def test_a_layer_whose_macs_have_few_weights_gives_more():
    offers = [_offer(0.9, weights=100), _offer(0.9, weights=10_000)]
    ranks, _ = choose_ranks(offers, 128_000, 0.5, 1)
    assert 0 < ranks[0] < (ranks[1] or 64)


def test_a_layer_of_zeros_costs_nothing_to_split():
    zeros = Offer(64_000, 2000, 31, 1000, np.zeros(64))
    ranks, _ = choose_ranks([zeros, _offer(0.999)], 128_000, 0.48, 1)
    assert ranks[0] > 0
    assert ranks[1] == 0


def test_what_can_not_go_is_said():
    with pytest.raises(InvalidInputError, match=r"no ranks take 0\.9 of the MACs here; the nearest take 0\.4"):
        choose_ranks([_offer(0.9)], 128_000, 0.9, 1)


@pytest.mark.parametrize("ranks", [[1], [1, 2, 3], [1, 9], [-1, 2]])
def test_ranks_of_another_network_are_refused(ranks):
    with pytest.raises(InvalidInputError, match="are not of this network"):
        keep_ranks([4, 8], ranks)
