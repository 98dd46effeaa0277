"""Images, tables and functions as data: what each gives, and the error that each kind of bad data gets."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from PIL import Image

from edgekit.core.types import TensorSpec
from edgekit.data.opening import open_source
from tests.data.sources import GREY, NCHW, NHWC, TWO, VALUE, VECTOR, refused, request


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


def test_frames_of_audio_are_no_image(tmp_path):
    refused(write_images(tmp_path), request(TensorSpec("features", (None, 30, 1, 40))), "images can't feed")


@pytest.mark.parametrize("name", ["x.npy", "x.zip", "x.tar.gz", "x.png", "x.parquet"])
def test_files_of_other_kinds_get_a_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    refused(tmp_path / name, request(), str(tmp_path / name))


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
