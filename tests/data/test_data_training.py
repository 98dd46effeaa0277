"""The training split: what the others leave, on disk, images as the bytes that they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.core import events
from edgekit.core.plain import to_json
from edgekit.core.types import Layout, TensorSpec
from edgekit.data import materialise as module
from edgekit.data.materialise import materialise
from edgekit.passes.recover.samples import Samples

_IMAGE = TensorSpec("image", (None, 6, 5, 3), layout=Layout.NHWC)
_FIRST = TensorSpec("image", (None, 3, 6, 5), layout=Layout.NCHW)
_OUTPUTS = to_json([TensorSpec("scores", (None, 2))])


def _materialised(out: Path, inputs: list[TensorSpec], **arguments: Any) -> tuple[dict[str, Any], Samples]:
    out.mkdir()
    answer = materialise(out=str(out), inputs=to_json(inputs), outputs=_OUTPUTS, training=True, **arguments)
    return answer, Samples.open(out / "training")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two classes of 60 images each; the first pixel numbers them."""
    home, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(120):
        pixels = random.integers(0, 256, (6, 5, 3)).astype(np.uint8)
        pixels[0, 0] = number
        folder = home / ("cat", "dog")[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return str(home)


@pytest.mark.parametrize("spec", [_IMAGE, _FIRST])
@pytest.mark.parametrize("normalize", ["none", "0..1", "-1..1", "imagenet"])
def test_images_are_stored_as_bytes_and_come_back_as_the_model_takes_them(tmp_path, photos, spec, normalize):
    preprocess = {"normalize": normalize}
    answer, samples = _materialised(tmp_path / "out", [spec], data=photos, preprocess=preprocess)
    assert answer["splits"]["training"]["n"] == len(samples) == 120 - 3 * 24
    assert samples.inputs["image"].dtype == np.uint8
    others = [np.load(tmp_path / "out" / f"{name}.npz")["image"] for name in ("calibration", "selection", "report")]
    ready = samples.feeds((spec,))["image"]
    everything = np.concatenate([*others, ready])
    place = (slice(None), 0, 0, 0)
    firsts = np.sort(everything[place])
    assert len(np.unique(firsts.round(4))) == 120  # none is in two splits, and none is lost
    np.testing.assert_allclose(np.diff(firsts), np.diff(firsts)[0], rtol=1e-3)
    numbers = samples.inputs["image"][place]
    np.testing.assert_array_equal(samples.targets["scores"], numbers % 2)


def test_what_is_no_pixel_stays_what_it_is(tmp_path):
    values = np.random.default_rng(0).normal(size=(100, 6, 5, 3)).astype(np.float32)
    values[:90] = values[:90].round()  # whole numbers, but no pixels either
    np.savez(tmp_path / "d.npz", x=values, y=np.arange(100) % 2)
    _, samples = _materialised(tmp_path / "out", [_IMAGE], data=str(tmp_path / "d.npz"))
    assert samples.inputs["image"].dtype == np.float32
    assert not samples.affine
    assert all((row == values).all(axis=(1, 2, 3)).any() for row in samples.inputs["image"])


def test_two_inputs_keep_their_rows_together(tmp_path):
    numbers = np.arange(100, dtype=np.float32)
    np.savez(tmp_path / "d.npz", a=numbers[:, None], b=-numbers[:, None], y=numbers.astype(int) % 2)
    specs = [TensorSpec("a", (None, 1)), TensorSpec("b", (None, 1))]
    _, samples = _materialised(tmp_path / "out", specs, data=str(tmp_path / "d.npz"))
    np.testing.assert_array_equal(samples.inputs["a"], -samples.inputs["b"])
    np.testing.assert_array_equal(samples.targets["scores"], samples.inputs["a"][:, 0] % 2)


def test_the_report_comes_from_other_data_where_that_is_named(tmp_path):
    for name, count, start in (("train", 100, 0), ("eval", 30, 1000)):
        numbers = np.arange(start, start + count, dtype=np.float32)
        np.savez(tmp_path / f"{name}.npz", x=numbers[:, None], y=numbers.astype(int) % 2)
    train, test = str(tmp_path / "train.npz"), str(tmp_path / "eval.npz")
    spec = [TensorSpec("x", (None, 1))]
    answer, samples = _materialised(tmp_path / "out", spec, train_data=train, eval_data=test)
    sizes = {name: split["n"] for name, split in answer["splits"].items()}
    assert sizes == {"calibration": 20, "selection": 20, "training": 60, "report": 30}
    assert samples.inputs["x"].max() < 1000


def test_more_than_the_disk_should_hold_is_left_out_and_said(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(module, "_MAX_STORED", 20 * 6 * 5 * 3 * 4)
    with events.listening(lambda _: None):
        answer, samples = _materialised(tmp_path / "out", [_IMAGE], data=photos)
    assert len(samples) == 20
    assert any("on disk" in note for note in answer["notes"])
