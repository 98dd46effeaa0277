"""The page about metrics shows code that works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.types import Layout, TensorSpec
from edgekit.data.metrics import evaluate
from edgekit.data.opening import open_source
from edgekit.data.source import Request

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The code on the page; the current folder is an empty one, which modules are imported from."""
    monkeypatch.chdir(tmp_path)
    return re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)


def test_true_boxes_are_written_as_they_are_read(blocks: list[str]) -> None:
    exec(blocks[0], {})
    image = TensorSpec("image", (None, 320, 320, 3), layout=Layout.NHWC)
    outputs = TensorSpec("boxes", (None, 9, 4)), TensorSpec("scores", (None, 9, 3))
    source = open_source("boxes.npz", Request((image,), outputs))
    assert (source.targets["objects"][..., 4] >= 0).sum() == 2


def test_the_decoder_is_one(blocks: list[str]) -> None:
    Path("faces_on_the_page.py").write_text(blocks[1])
    specs = TensorSpec("boxes", (None, 4420, 4)), TensorSpec("scores", (None, 4420, 2))
    shares = np.random.default_rng(0).uniform(0, 0.6, (20, 4420, 1)).astype(np.float32)
    answers = {"boxes": np.zeros((20, 4420, 4), np.float32), "scores": np.concatenate([1 - shares, shares], axis=2)}
    metrics = evaluate(answers, answers, None, specs, custom="faces_on_the_page:faces")
    assert (metrics[0].name, metrics[0].artifact) == ("box_agreement", 100)


def test_the_metric_is_one(blocks: list[str]) -> None:
    Path("angles_on_the_page.py").write_text(blocks[2])
    truth = np.arange(20, dtype=np.float32)[:, None]
    before, after = {"angle": truth + 4}, {"angle": truth + np.linspace(0, 9, 20, dtype=np.float32)[:, None]}
    specs = (TensorSpec("angle", (None, 1)),)
    metric = evaluate(before, after, {"angle": truth}, specs, custom="angles_on_the_page:hit_rate")[0]
    assert (metric.name, metric.unit, metric.float) == ("hit_rate", "points", 100)
    assert metric.drop == pytest.approx(45)
