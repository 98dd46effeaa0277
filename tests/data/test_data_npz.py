"""An .npz as data: which array is what, labels in all their forms, and the error that each kind of bad one gets."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.types import Layout, Preprocess, TensorSpec
from edgekit.data.opening import open_source
from tests.data.sources import GREY, NCHW, NHWC, TEN, VALUE, refused, request


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


ROWS = np.arange(12.0).reshape(4, 3)


def test_npz_by_x_or_by_input_name(tmp_path):
    for key in ("x", "in:0"):
        spec = TensorSpec("in:0", (None, 3))
        source = open_source(str(save(tmp_path / "d.npz", **{key: ROWS, "y": np.array([0, 1, 2, 9])})), request(spec))
        assert source.read(2)["in:0"].tolist() == [6, 7, 8]
        assert source.read(2)["in:0"].dtype == np.float32
        assert source.targets["scores"].tolist() == [0, 1, 2, 9]


def test_npz_of_two_inputs_and_two_outputs(tmp_path):
    inputs = (TensorSpec("a", (None, 3)), TensorSpec("b", (None, 2)))
    outputs = (*TEN, TensorSpec("value", (None, 1)))
    path = save(tmp_path / "d.npz", a=ROWS, b=ROWS[:, :2], y_scores=np.arange(4), y_value=np.linspace(0, 1, 4))
    source = open_source(str(path), request(inputs, outputs))
    assert set(source.read(0)) == {"a", "b"}
    assert source.targets["scores"].dtype == np.int64
    assert source.targets["value"].shape == (4, 1)
    path = save(tmp_path / "d.npz", a=ROWS, b=ROWS[:3, :2])
    refused(path, request(inputs), "differ in length")


def test_an_input_of_whole_numbers_takes_nothing_else(tmp_path):
    tokens = request(TensorSpec("x", (None, 3), "int64"))
    np.savez(tmp_path / "whole.npz", x=np.array([[1.0, 2.0, 1 << 40]]))
    (sample,) = open_source(str(tmp_path / "whole.npz"), tokens).read(0).values()
    assert sample.dtype == np.int64
    assert sample.tolist() == [1, 2, 1 << 40]
    np.savez(tmp_path / "half.npz", x=np.array([[1.0, 2.5, 3.0]]))
    refused(tmp_path / "half.npz", tokens, "takes whole numbers")


def test_npz_images_move_channels_and_scale_only_when_asked(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    path = str(save(tmp_path / "d.npz", x=pixels))
    source = open_source(path, request(NCHW))
    np.testing.assert_array_equal(source.read(1)["image"], pixels[1].transpose(2, 0, 1))
    assert "channels" in source.notes[0]
    unit = Preprocess(normalize="0..1")
    np.testing.assert_allclose(open_source(path, request(NHWC, preprocess=unit)).read(0)["image"], pixels[0] / 255)
    scaled = str(save(tmp_path / "e.npz", x=pixels / 255))
    wanted = Preprocess(normalize="-1..1")
    source = open_source(scaled, request(NHWC, preprocess=wanted))
    np.testing.assert_allclose(source.read(0)["image"], pixels[0] / 127.5 - 1, atol=1e-6)
    assert "0..1" in source.notes[0]
    refused(save(tmp_path / "f.npz", x=pixels - 128.0), request(NHWC, preprocess=wanted), "negative")


def test_npz_grey_without_channel_axis_and_flat_rows_fit(tmp_path):
    for shape in ((3, 4, 6), (3, 24)):
        path = save(tmp_path / "d.npz", x=np.zeros(shape))
        assert open_source(str(path), request(GREY)).read(0)["image"].shape == (4, 6, 1)


def test_one_hot_and_float_labels_are_labels(tmp_path):
    for y in (np.eye(10)[[3, 1, 4, 1]], np.array([[3.0], [1.0], [4.0], [1.0]])):
        source = open_source(str(save(tmp_path / "d.npz", x=ROWS, y=y)), request())
        assert source.targets["scores"].tolist() == [3, 1, 4, 1]


def test_a_single_score_takes_classes_or_values(tmp_path):
    binary = open_source(str(save(tmp_path / "d.npz", x=ROWS, y=[0, 1, 1, 0])), request(outputs=VALUE))
    values = open_source(str(save(tmp_path / "e.npz", x=ROWS, y=[0, 1, 2, 0])), request(outputs=VALUE))
    assert binary.targets["value"].dtype == np.int64
    assert values.targets["value"].dtype == np.float32


def test_the_only_array_that_fits_is_the_input_whatever_it_is_called(tmp_path):
    """Frames of audio with the names that another tool gave them."""
    frames = TensorSpec("features", (None, 30, 1, 40))
    specs = np.random.default_rng(0).normal(size=(6, 30, 40))
    np.savez(tmp_path / "d.npz", specs=specs, labels=np.arange(6) % 3, weights=np.ones(6))
    source = open_source(str(tmp_path / "d.npz"), request(frames))
    np.testing.assert_allclose(source.read(4)["features"], specs[4][:, None, :], rtol=1e-6)
    np.testing.assert_array_equal(source.targets["scores"], np.arange(6) % 3)
    assert any("'specs' is taken as 'x'" in note for note in source.notes)
    assert any("'labels' is taken as 'y'" in note for note in source.notes)


BOXES = (TensorSpec("boxes", (None, 9, 4)), TensorSpec("scores", (None, 9, 2)))
OBJECT = [[0.1, 0.1, 0.4, 0.5, 1], [0, 0, 0, 0, -1]]


def test_true_boxes_come_under_a_name_of_their_own(tmp_path):
    np.savez(tmp_path / "d.npz", x=ROWS[:2], y_objects=np.array([OBJECT, OBJECT[::-1]]))
    source = open_source(str(tmp_path / "d.npz"), request(outputs=BOXES))
    assert source.targets["objects"].shape == (2, 2, 5)
    assert source.classes is None


@pytest.mark.parametrize(
    ("objects", "match"),
    [
        (np.zeros((2, 4)), "shape"),
        (np.zeros((3, 1, 5)), "for 2 samples"),
        (np.full((2, 1, 5), -1.0), "holds no object"),
        (np.array([OBJECT, [[0.4, 0.1, 0.1, 0.5, 1], OBJECT[1]]]), "row 1 has .* ends before it begins"),
        (np.array([OBJECT, [[np.nan, 0.1, 0.4, 0.5, 1], OBJECT[1]]]), "row 1 has NaN"),
        (np.array([OBJECT, [[0.1, 0.1, 0.4, 0.5, -2], OBJECT[1]]]), "row 1 has .*class below -1"),
        (np.array([OBJECT, [[0.1, 0.1, 0.4, 0.5, 1e9], OBJECT[1]]]), "row 1 has .*above 65535"),
    ],
)
def test_bad_true_boxes(tmp_path, objects, match):
    np.savez(tmp_path / "d.npz", x=ROWS[:2], y_objects=objects)
    refused(tmp_path / "d.npz", request(outputs=BOXES), match)


PIXELS = np.arange(2 * 4 * 6).reshape(2, 4, 6) % 3


@pytest.mark.parametrize(
    ("spec", "maps"),
    [
        (TensorSpec("masks", (None, 4, 6, 3), layout=Layout.NHWC), PIXELS),
        (TensorSpec("masks", (None, 3, 4, 6), layout=Layout.NCHW), PIXELS.astype(np.float32)),
        (TensorSpec("masks", (None, 3, 4, 6)), PIXELS[:, None]),
        (TensorSpec("masks", (None, 4, 6, 3)), PIXELS[..., None].astype(np.uint8)),
        (TensorSpec("masks", (None, 4, 6, 3)), np.eye(3)[PIXELS]),
        (TensorSpec("masks", (None, 3, 4, 6)), np.eye(3)[PIXELS].transpose(0, 3, 1, 2)),
    ],
)
def test_label_maps_in_each_of_their_forms(tmp_path, spec, maps):
    np.savez(tmp_path / "d.npz", x=ROWS[:2], y=maps)
    targets = open_source(str(tmp_path / "d.npz"), request(outputs=(spec,))).targets["masks"]
    assert targets.dtype == np.uint8
    np.testing.assert_array_equal(targets, PIXELS)


@pytest.mark.parametrize(
    ("maps", "match"),
    [
        (PIXELS + 1, "label 3 in row 0.*tells 3 classes a pixel"),
        (PIXELS - 1, "label -1 in row 0"),
        (PIXELS * 0, "all pixels are of class 0"),
        (PIXELS * 0 + 255, "no pixel counts"),
        (PIXELS[:, ::2, ::2], "has shape"),
        (np.where(PIXELS == 1, np.nan, 0.0), "NaN"),
    ],
)
def test_bad_label_maps(tmp_path, maps, match):
    np.savez(tmp_path / "d.npz", x=ROWS[:2], y=maps)
    spec = TensorSpec("masks", (None, 4, 6, 3), layout=Layout.NHWC)
    error = refused(tmp_path / "d.npz", request(outputs=(spec,)), match)
    if match == "has shape":
        assert "(4, 6): scale them" in error.remedy


def test_values_of_an_image_in_an_image_stay_values(tmp_path):
    depth = np.random.default_rng(0).uniform(0, 9, (2, 4, 6))
    np.savez(tmp_path / "d.npz", x=ROWS[:2], y=depth)
    targets = open_source(str(tmp_path / "d.npz"), request(outputs=(TensorSpec("depth", (None, 4, 6, 1)),))).targets
    assert targets["depth"].dtype == np.float32
    assert targets["depth"].shape == (2, 4, 6, 1)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (
            {"images": ROWS, "more": ROWS},
            r"lacks the key 'x': it holds images \(\d+, 3\), more \(\d+, 3\), .* \(n, 3\)",
        ),
        ({"images": np.zeros((4, 5))}, r"lacks the key 'x': it holds images \(4, 5\), the model wants \(n, 3\)"),
        ({"x": np.zeros((0, 3))}, "holds no samples"),
        ({"x": np.zeros((4, 5))}, r"shape \(5,\), the model wants \(3,\)"),
        ({"x": np.float32(3)}, "one number"),
        ({"x": np.array(["a", "b"])}, "instead of numbers"),
        ({"x": np.where(ROWS == 7, np.nan, ROWS)}, "row 2 of 'x' holds NaN"),
        ({"x": np.where(ROWS == 4, np.inf, ROWS)}, "row 1 of 'x' holds NaN or infinity"),
        ({"x": ROWS * 1e300}, "row 0 of 'x' holds NaN or infinity"),
        ({"x": ROWS, "y": np.arange(3)}, "3 entries for 4 samples"),
        ({"x": ROWS, "y": np.array([0, 1, 2, 10])}, r"label 10 in row 3, .* tells 10 classes \(0\.\.9\)"),
        ({"x": ROWS, "y": np.array([0, 1, -1, 2])}, "label -1 in row 2"),
        ({"x": ROWS, "y": np.array([5, 5, 5, 5])}, "all 4 samples are of class 5"),
        ({"x": ROWS, "y": np.array([0.0, 1, np.nan, 2])}, "first in row 2"),
        ({"x": ROWS, "y": np.zeros((4, 7))}, r"wants \(n, 10\)"),
        ({"x": ROWS, "y": np.array(["a", "b", "a", "b"])}, "instead of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_bad_npz(tmp_path, arrays, match):
    refused(save(tmp_path / "d.npz", **arrays), request(), match)


def test_npz_that_is_none_or_pickled_or_truncated(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.array([{"a": 1}], object))
    refused(path, request(), "never unpickles")
    path.write_bytes(pickle.dumps(ROWS))
    refused(path, request(), r"never unpickles|can't be read")
    save(path, x=np.random.default_rng(0).random((50, 3)))
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:keep])
        refused(path, request(), "can't be read|unpickles")
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    refused(path, request(), "can't be read")
    np.savez(path)
    refused(path, request(), "it holds nothing")


def test_npz_that_claims_more_than_any_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15, 3)})
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file:
        file.writestr("x.npy", header.getvalue())
    refused(tmp_path / "d.npz", request(), "can't be read as an .npz")
