"""Sources: what each form gives, and the error that each kind of bad data gets."""

from __future__ import annotations

import io
import pickle
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Layout, Preprocess, TensorSpec
from edgekit.data.opening import open_source
from edgekit.data.source import Request

NHWC = TensorSpec("image", (None, 4, 6, 3), layout=Layout.NHWC)
NCHW = TensorSpec("image", (1, 3, 4, 6), layout=Layout.NCHW)
GREY = TensorSpec("image", (None, 4, 6, 1), layout=Layout.NHWC)
VECTOR = TensorSpec("x", (None, 3))
TEN = (TensorSpec("scores", (None, 10)),)
TWO = (TensorSpec("scores", (None, 2)),)
VALUE = (TensorSpec("value", (None, 1)),)


def request(spec=VECTOR, outputs=TEN, **kwargs):
    return Request((spec,) if isinstance(spec, TensorSpec) else spec, outputs, **kwargs)


def refused(path, req, match) -> InvalidInputError:
    """The error that opening or reading gives."""

    def read_all():
        source = open_source(str(path), req)
        return [source.read(index) for index in range(len(source))]

    with pytest.raises(InvalidInputError, match=match) as caught:
        read_all()
    assert caught.value.blame == "your data"
    assert caught.value.remedy
    return caught.value


def write_images(folder: Path, classes=("b", "a"), each=2) -> Path:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            Image.new("RGB", (12, 8), (number, index, 7)).save(folder / name / f"{index}.png")
    return folder


# Images


def test_class_folders_are_labels_in_alphabetical_order(tmp_path):
    source = open_source(str(write_images(tmp_path)), request(NHWC))
    assert source.class_names == ("a", "b")
    assert source.targets["scores"].tolist() == [0, 0, 1, 1]
    assert source.ids == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    assert source.read(1)["image"][0, 0].tolist() == [1, 1, 7]


@pytest.mark.parametrize(("spec", "shape"), [(NHWC, (4, 6, 3)), (NCHW, (3, 4, 6)), (GREY, (4, 6, 1))])
def test_images_come_in_the_models_layout(tmp_path, spec, shape):
    assert open_source(str(write_images(tmp_path)), request(spec)).read(0)["image"].shape == shape


def test_a_flat_folder_and_no_labels_are_unlabelled(tmp_path):
    write_images(tmp_path, classes=("only",))
    assert not open_source(str(tmp_path / "only"), request(NHWC)).targets
    assert not open_source(str(tmp_path), request(NHWC, labelled=False)).targets


def test_hidden_and_foreign_files_are_left_out_and_loose_images_noted(tmp_path):
    write_images(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    Image.new("RGB", (2, 2)).save(tmp_path / "loose.png")
    source = open_source(str(tmp_path), request(NHWC))
    assert len(source) == 4
    assert "1 images beside the class folders" in source.notes[0]


def test_class_folders_without_a_classifier_are_ignored_aloud(tmp_path):
    boxes = (TensorSpec("boxes", (None, 9, 4)),)
    source = open_source(str(write_images(tmp_path)), request(NHWC, boxes))
    assert not source.targets
    assert "ignored" in source.notes[0]


def test_fewer_or_oddly_numbered_class_folders_are_noted(tmp_path):
    notes = open_source(str(write_images(tmp_path, ("2", "10"))), request(NHWC)).notes
    assert any("2 class folders for 10 classes" in note for note in notes)
    assert any("not by the numbers" in note for note in notes)


def test_bad_image_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", request(NHWC), "holds no image")
    refused(tmp_path / "missing", request(NHWC), "there is no")
    error = refused(write_images(tmp_path / "one", ("a",)), request(NHWC), "one class folder, a")
    assert "--no-labels" in error.remedy
    write_images(tmp_path / "outer" / "train")
    error = refused(tmp_path / "outer", request(NHWC), "one class folder, train")
    assert error.remedy.endswith(f"--data {tmp_path}/outer/train")
    error = refused(write_images(tmp_path / "many", "abc"), request(NHWC, TWO), "3 class folders, .* tells 2 classes")
    assert "--no-labels" in error.remedy
    refused(write_images(tmp_path / "ok"), request(VECTOR), "images can't feed")


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_a_corrupt_image_is_named(tmp_path, damage, suffix):
    write_images(tmp_path)
    bad = tmp_path / "a" / f"bad.{suffix}"
    Image.effect_noise((40, 40), 90).convert("RGB").save(bad)
    content = bad.read_bytes()
    bad.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    refused(tmp_path, request(NHWC), rf"bad\.{suffix} can't be decoded")


@pytest.mark.parametrize("name", ["x.npy", "x.zip", "x.tar.gz", "x.png", "x.parquet"])
def test_files_of_other_kinds_get_a_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    refused(tmp_path / name, request(), str(tmp_path / name))


# .npz


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


def test_frames_of_audio_are_no_image(tmp_path):
    refused(write_images(tmp_path), request(TensorSpec("features", (None, 30, 1, 40))), "images can't feed")


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


# CSV


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "d.csv"
    path.write_text(textwrap.dedent(text).lstrip())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1,0.5,2,3\n0,1,2,3\n",
        "a,label,b,c\n0.5,1,2,3\n1,0,2,3\n",
        "a;b;c;Class\n0.5;2;3;1\n1;2;3;0\n\n",
        "\ufefflabel\ta\tb\tc\n1\t.5\t2\t3\n0\t1\t2\t3\n",
        "a,b,c,target\n.5,2,3,dog\n1,2,3,cat\n",
    ],
)
def test_csv_with_labels(tmp_path, text):
    source = open_source(str(csv(tmp_path, text)), request())
    assert source.targets["scores"].tolist() == [1, 0]
    assert source.read(0)["x"].tolist() == [0.5, 2, 3]
    assert source.class_names in ((), ("cat", "dog"))


def test_csv_as_wide_as_the_input_is_unlabelled_and_values_are_targets_of_a_regression(tmp_path):
    assert not open_source(str(csv(tmp_path, "1,2,3\n4,5,6\n")), request()).targets
    assert not open_source(str(csv(tmp_path, "1,1,2,3\n0,4,5,6\n")), request(labelled=False)).targets
    source = open_source(str(csv(tmp_path, "y,a,b,c\n0.25,1,2,3\n1.5,4,5,6\n")), request(outputs=VALUE))
    assert source.targets["value"].ravel().tolist() == [0.25, 1.5]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no rows"),
        ("a,b,c\n", "has no rows"),
        ("1,2,3\n4,5\n", "line 2: 2 cells where the first line has 3"),
        ("a,b,c\n1,2,3\n\n4,5,6\n", "line 3: 0 cells"),
        ("1,2,3\n4,x,6\n", "line 2: 'x' is not a number"),
        ("a,b,c\n1,2,3\n4,,6\n", "line 3: an empty cell"),
        ("1,2,3\n4,nan,6\n", "line 2 of 'x' holds NaN"),
        ("1,2\n3,4\n", "has 2 columns, the model's input takes 3"),
        ("0,1,2,3\n12,1,2,3\n", "label 12 in row 1"),
        ("0.5,1,2,3\n0.7,1,2,3\n", "one class label a sample"),
    ],
)
def test_bad_csv(tmp_path, text, match):
    refused(csv(tmp_path, text), request(), match)


def test_csv_of_another_encoding_and_for_two_inputs(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes(b"1,2,3\n\xff\xfe,5,6\n")
    refused(path, request(), "can't be read as a CSV")
    refused(path, request((VECTOR, GREY)), "a table feeds one input")


# Functions


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of a name of its own into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body: str) -> str:
        name = f"user_data_{tmp_path.name.replace('-', '_')}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{name}.py").write_text("import numpy as np\n" + body)
        return name

    return write


@pytest.mark.parametrize(
    "body",
    [
        "return np.ones((3, 3)), np.array([0, 1, 2])",
        "return {'x': np.ones((3, 3))}, {'scores': np.array([0, 1, 2])}",
        "return {'x': np.ones((3, 3)), 'y': np.array([0, 1, 2])}",
        "return [[1, 1, 1]] * 3, [0, 1, 2]",
    ],
)
def test_function(module, body):
    source = open_source(f"{module(f'def load():{chr(10)}    {body}')}:load", request())
    assert source.targets["scores"].tolist() == [0, 1, 2]
    assert source.read(0)["x"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("def load():\n    raise OSError('disk')", "failed: OSError: disk"),
        ("load = 3", "is no function but a int"),
        ("import nowhere_to_be_found", "can't be imported: ModuleNotFoundError"),
        ("x = 1", "can't be imported: AttributeError"),
        ("def load():\n    return [[1], [1, 2]]", "rows of different lengths"),
        ("def load():\n    return None", "instead of numbers"),
    ],
)
def test_bad_function(module, body, match):
    refused(f"{module(body)}:load", request(), match)
