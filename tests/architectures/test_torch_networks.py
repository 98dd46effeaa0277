"""Today's mobile networks through both of PyTorch's exporters reach both back ends, exact and without detours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architectures.layout_changes import LAYOUT_CHANGES
from tests.architectures.parity import TOLERANCE, Built


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", LAYOUT_CHANGES)
def test_a_torch_network_keeps_its_answers(
    name: str, exporter: str, torch_folder: Path, built: Callable[[Path], Built]
) -> None:
    result = built(torch_folder / f"{name}-{exporter}.onnx")
    assert max(result.off.values()) <= TOLERANCE, result.off
    assert result.operators["TRANSPOSE"] <= LAYOUT_CHANGES[name], result.operators
