"""Materialised splits: the files every stage reads, and the fingerprints that stand for the data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core import events
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.plain import to_json
from edgekit.core.types import Layout, Preprocess, TensorSpec
from edgekit.data import materialise as module
from edgekit.data.fingerprint import fingerprint
from edgekit.data.materialise import materialise, synthesise

INPUTS = to_json([TensorSpec("x", (None, 2))])
OUTPUTS = to_json([TensorSpec("scores", (None, 4))])


def table(path: Path, count: int, start: int = 0) -> str:
    """Samples whose first feature is their number."""
    numbers = np.arange(start, start + count)
    np.savez(path, x=np.stack([numbers, numbers], 1).astype(np.float32), y=numbers % 4)
    return str(path)


def build(out: Path, **arguments):
    out.mkdir(exist_ok=True)
    answer = materialise(out=str(out), inputs=INPUTS, outputs=OUTPUTS, **arguments)
    numbers = {name: np.load(out / f"{name}.npz")["x"][:, 0] for name in answer["splits"]}
    return answer, numbers


def test_one_source_is_split_in_three_disjoint_parts(tmp_path):
    answer, numbers = build(tmp_path / "out", data=table(tmp_path / "d.npz", 1000))
    assert {name: split["n"] for name, split in answer["splits"].items()} == {
        "calibration": 200,
        "selection": 200,
        "report": 600,
    }
    assert sorted(np.concatenate(list(numbers.values()))) == list(range(1000))
    assert answer["labelled"]
    for name, samples in numbers.items():
        labels = np.load(tmp_path / "out" / f"{name}.labels.npz")["scores"]
        np.testing.assert_array_equal(labels, samples % 4)
    listed = json.loads((tmp_path / "out" / "splits.json").read_text())
    assert listed["report"] == [f"row {int(number)}" for number in numbers["report"]]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    data = table(tmp_path / "d.npz", 300)
    first, again, other = (build(tmp_path / f"out{i}", data=data, seed=s)[0] for i, s in enumerate((1, 1, 2)))
    assert first == again
    assert first["splits"]["report"]["digest"] != other["splits"]["report"]["digest"]
    assert first["splits"]["report"]["samples"] != other["splits"]["report"]["samples"]


def test_eval_data_alone_makes_the_report(tmp_path):
    data, held_out = table(tmp_path / "d.npz", 100), table(tmp_path / "e.npz", 50, start=1000)
    for arguments in ({"data": data}, {"train_data": data}):
        answer, numbers = build(tmp_path / "out", eval_data=held_out, **arguments)
        assert sorted(numbers["report"]) == list(range(1000, 1050))
        assert sorted(np.concatenate([numbers["calibration"], numbers["selection"]])) == list(range(100))
        assert answer["splits"]["report"]["source"] == held_out


def test_eval_data_without_other_data_is_all_report(tmp_path):
    answer, numbers = build(tmp_path / "out", eval_data=table(tmp_path / "e.npz", 50))
    assert list(answer["splits"]) == ["report"]
    assert sorted(numbers["report"]) == list(range(50))


def test_train_data_calibrates_and_data_judges(tmp_path):
    answer, numbers = build(
        tmp_path / "out", data=table(tmp_path / "d.npz", 100), train_data=table(tmp_path / "t.npz", 900, start=1000)
    )
    assert min(numbers["calibration"]) >= 1000
    assert answer["splits"]["calibration"]["n"] == 256
    assert sorted(np.concatenate([numbers["selection"], numbers["report"]])) == list(range(100))


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({}, "nothing alone"),
        ({"train_data": "d"}, "--train-data alone"),
        ({"data": "d", "eval_data": "d"}, "named twice"),
        ({"data": "d", "train_data": "d"}, "named twice"),
        ({"data": "d", "eval_data": "./d"}, "named twice"),
    ],
)
def test_flags_that_leave_no_honest_split(tmp_path, flags, match):
    with pytest.raises(UsageError, match=match):
        build(tmp_path / "out", **flags)


def test_a_batch_cuts_splits_to_whole_batches(tmp_path):
    answer, _ = build(tmp_path / "out", data=table(tmp_path / "d.npz", 100), batch=8)
    assert [split["n"] for split in answer["splits"].values()] == [16, 16, 56]
    with pytest.raises(InvalidInputError, match="less than a batch of 32"):
        build(tmp_path / "out", data=table(tmp_path / "d.npz", 100), batch=32)


def test_few_samples_are_noted_and_one_is_refused(tmp_path):
    answer, _ = build(tmp_path / "out", data=table(tmp_path / "d.npz", 12))
    assert "only 12 samples" in answer["notes"][0]
    with pytest.raises(InvalidInputError, match="1 sample can't be split"):
        build(tmp_path / "out", data=table(tmp_path / "d.npz", 1))


def test_large_data_is_thinned_to_fit_memory_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_BYTES", 50 * (2 + 4) * 4)
    answer, _ = build(tmp_path / "out", data=table(tmp_path / "d.npz", 1000))
    assert [split["n"] for split in answer["splits"].values()] == [50, 50, 50]
    assert any("report: 50 of 600 samples" in note for note in answer["notes"])


def test_nan_is_named_by_its_row(tmp_path):
    x = np.ones((300, 2))
    x[123, 1] = np.nan
    np.savez(tmp_path / "d.npz", x=x)
    with pytest.raises(InvalidInputError, match="row 123 of 'x' holds NaN"):
        build(tmp_path / "out", data=str(tmp_path / "d.npz"))


def test_progress_is_told(tmp_path):
    seen: list[events.Event] = []
    with events.listening(seen.append):
        build(tmp_path / "out", data=table(tmp_path / "d.npz", 300))
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions)
    assert len(fractions) > 3


@pytest.mark.parametrize(
    ("layout", "normalization", "low", "high"),
    [("NHWC", "none", 0, 255), ("NHWC", "0..1", 0, 1), ("NHWC", "-1..1", -1, 1), ("ND", "none", -6, 6)],
)
def test_synthetic_samples_lie_in_the_range_that_the_preprocessing_gives(tmp_path, layout, normalization, low, high):
    inputs = to_json([TensorSpec("x", (None, 8, 8, 3), layout=Layout(layout))])
    steps = to_json(Preprocess(normalize=normalization))
    answer = synthesise(out=str(tmp_path), inputs=inputs, preprocess=steps, count=32)
    samples = np.load(tmp_path / "calibration.npz")["x"]
    assert samples.shape == (32, 8, 8, 3)
    assert samples.dtype == np.float32
    assert low <= samples.min() < samples.max() <= high
    assert samples.std() > (high - low) / 20
    assert not answer["labelled"]
    again = synthesise(out=str(tmp_path), inputs=inputs, preprocess=steps, count=32)
    assert again == answer


def test_fingerprints_follow_content_only(tmp_path):
    def folder(name, content):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "0.png").write_bytes(content)
        return tmp_path / name

    one, same, other = folder("one", b"1"), folder("same", b"1"), folder("other", b"2")
    (same / ".hidden").write_bytes(b"x")
    assert fingerprint(str(one)) == fingerprint(str(same)) != fingerprint(str(other))
    (same / "a" / "0.png").rename(same / "a" / "1.png")
    assert fingerprint(str(one)) != fingerprint(str(same))
    first, second = table(tmp_path / "a.npz", 5), table(tmp_path / "b.npz", 5)
    assert fingerprint(first) == fingerprint(second) != fingerprint(table(tmp_path / "b.npz", 6))


def test_fingerprint_of_a_function_follows_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise SystemExit('fingerprints do not import')")
    before = fingerprint("mine:load")
    (tmp_path / "mine.py").write_text("x = 2")
    assert fingerprint("mine:load") != before
    for missing in ("nowhere:load", str(tmp_path / "missing")):
        with pytest.raises(InvalidInputError):
            fingerprint(missing)


def test_fingerprint_imports_nothing_heavy():
    code = "import edgekit.data.fingerprint, sys; print([m for m in ('numpy', 'PIL', 'onnx') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.acceptance
def test_hand_gesture_tables_are_read_as_they_are(acceptance_data, tmp_path):
    for name, width, classes, rows in (("keypoint", 42, 3, 4450), ("point_history", 32, 4, 5296)):
        answer = materialise(
            out=str(tmp_path),
            inputs=to_json([TensorSpec("x", (None, width))]),
            outputs=to_json([TensorSpec("y", (None, classes))]),
            data=str(acceptance_data / "hand_gesture" / f"{name}.csv"),
        )
        assert sum(split["n"] for split in answer["splits"].values()) == rows
        assert set(np.load(tmp_path / "report.labels.npz")["y"]) == set(range(classes))
