"""This machine as a device: measurements, progress, and errors that keep their meaning across the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core import events
from edgekit.core.errors import DeviceError, IntegrityError, InvalidInputError, UsageError
from edgekit.core.evidence import EvidenceKind
from edgekit.core.process import Limits
from edgekit.devices.answer import parse_error, parse_measurements
from edgekit.devices.bench import measure

MODEL = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"
FLOAT32 = (("INFERENCE_PRECISION_HINT", "f32"),)


def test_the_first_ratio_is_to_the_baseline_and_each_file_has_a_measurement(tmp_path: Path) -> None:
    with np.load(MODEL.parent / "eval.npz") as data:
        np.savez(tmp_path / "x.npz", x=data["x"][:20])
    measurements, answer = measure(
        MODEL,
        options=FLOAT32,
        against=[(MODEL, FLOAT32), (MODEL, ())],
        inputs=tmp_path / "x.npz",
        outputs=tmp_path / "y.npz",
        golden=tmp_path / "x.npz",
        golden_outputs=tmp_path / "golden",
        runtime="openvino",
        repeats=2,
        runs=50,
    )
    first, *others = measurements
    assert len(others) == 2
    assert first.ratio == pytest.approx(1, abs=0.25)
    assert first.ratio_wall_min is not None
    assert [other.ratio for other in others] == [None, None]
    assert (first.kind, first.threads) == (EvidenceKind.MEASURED, 1)
    assert first.runtime.startswith("openvino ")
    assert first.timing is not None
    assert first.timing.runs == 100
    assert first.peak_bytes is not None
    assert dict(first.account.weights)["float32"] > 100_000
    assert answer["outputs"]["n"] == 20
    (name,) = np.load(tmp_path / "y.npz").files
    assert np.load(tmp_path / "y.npz")[name].shape == (20, 10)
    assert sorted(path.name for path in (tmp_path / "golden").iterdir()) == ["0.npz", "1.npz", "2.npz"]


def test_progress_reaches_the_listener() -> None:
    heard: list[events.Event] = []
    with events.listening(heard.append):
        measure(MODEL, runtime="onnxruntime", repeats=1, runs=20)
    assert {event.kind for event in heard} == {"progress"}
    assert {event.text for event in heard} == {"timing"}
    assert heard[-1].fraction == 1


def test_what_the_script_refuses_comes_back_as_the_same_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="digest differs"):
        measure(MODEL, digest="0" * 64, timing=False)
    with pytest.raises(UsageError, match="takes no options"):
        measure(MODEL, options=FLOAT32, runtime="onnxruntime", timing=False)
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 5), np.float32))
    with pytest.raises(InvalidInputError, match="the artifact takes"):
        measure(MODEL, inputs=tmp_path / "x.npz", timing=False)


def test_who_made_the_artifact_is_to_blame_when_it_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidInputError) as caught:
        measure(tmp_path / "broken.onnx", timing=False, blame="edgekit")
    assert caught.value.blame == "edgekit"


def test_a_run_that_outlives_its_limit_is_stopped() -> None:
    with pytest.raises(InvalidInputError, match="took longer than"):
        measure(MODEL, runs=10_000_000, max_seconds=600, limits=Limits(seconds=2))


@pytest.mark.parametrize("answer", [None, [], {"artifacts": 3}, {"device": {}, "artifacts": []}])
def test_an_answer_that_is_not_the_scripts_is_the_devices_fault(answer: object) -> None:
    with pytest.raises(DeviceError, match="not the bench script's"):
        parse_measurements(answer)
    assert parse_error(answer, "edgekit") is None
