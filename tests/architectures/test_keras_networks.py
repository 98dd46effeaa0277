"""Today's mobile networks from Keras 3 reach both back ends, as exact as float is, and with no needless TRANSPOSE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architectures.layout_changes import LAYOUT_CHANGES
from tests.architectures.parity import TOLERANCE, Built


@pytest.mark.parametrize("name", LAYOUT_CHANGES)
def test_a_keras_network_keeps_its_answers(name: str, keras_folder: Path, built: Callable[[Path], Built]) -> None:
    result = built(keras_folder / f"{name}-keras.keras")
    assert max(result.off.values()) <= TOLERANCE, result.off
    assert result.operators["TRANSPOSE"] <= LAYOUT_CHANGES[name], result.operators
