"""Comparing two artifacts: what is different is found, what is equal is never called different."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.core.errors import UsageError
from edgekit.pipeline.compare import compare, narrow_enough, ratio_interval, verdict
from tests.devices.here import Here

DIGITS = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"


@pytest.mark.parametrize(
    ("ci95", "said"),
    [
        ((1.05, 1.15), "slower"),
        ((1.021, 1.03), "slower"),
        ((0.92, 0.97), "faster"),
        ((0.99, 1.01), "the same"),
        ((1.005, 1.015), "the same"),  # different for certain, and by less than matters
        ((0.985, 0.995), "the same"),
        ((1.01, 1.03), "not resolved"),
        ((0.95, 1.05), "not resolved"),
        ((1.03, 1.12), "not resolved"),  # 7 % ± 4 %: one of a hundred equal pairs, where it is noisy, does that
        ((0.45, 0.60), "faster"),
    ],
)
def test_a_difference_counts_only_where_the_whole_interval_lies_beyond_2_percent(ci95, said):
    assert verdict(ci95) == said


def test_a_ratio_and_its_inverse_get_the_same_interval_upside_down():
    logs = [0.18, 0.10, 0.14, 0.11]
    ratio, interval = ratio_interval(logs)
    inverse, upside_down = ratio_interval([-each for each in logs])
    assert interval is not None
    assert upside_down is not None
    assert inverse == pytest.approx(1 / ratio)
    assert upside_down == pytest.approx((1 / interval[1], 1 / interval[0]))
    assert ratio_interval([0.1])[1] is None


@pytest.mark.parametrize(
    ("noise", "truth", "wrong"), [(0.003, 1.0, 0), (0.01, 1.0, 0), (0.05, 1.0, 10), (0.5, 1.0, 20), (0.005, 1.1, 0)]
)
def test_sequences_of_rounds_that_stop_by_themselves_keep_what_the_verdict_promises(noise, truth, wrong):
    """Of 1,000 comparisons of at most 16 rounds, or of four; noise is a round's standard deviation."""
    random = np.random.default_rng(0)
    said = []
    for index in range(1000):
        logs: list[float] = []
        while len(logs) < (4 if index % 2 else 16) and not narrow_enough(logs):
            logs.append(float(np.log(truth) + noise * random.standard_normal()))
        interval = ratio_interval(logs)[1]
        assert interval is not None
        said.append(verdict(interval))
    different = said.count("slower") + said.count("faster")
    assert said.count("slower") == 1000 if truth > 1 else different <= wrong


def test_three_times_the_layers_are_slower(layers):
    short, long = layers(3), layers(9)
    result = compare(long, short, max_seconds=5)
    assert (result.verdict, result.device) == ("slower", "local")
    assert result.ratio is not None
    assert result.ci95 is not None
    assert 2 < result.ci95[0] < result.ratio < result.ci95[1] < 4
    first, second = result.measurements
    assert first.timing is not None
    assert second.timing is not None
    assert first.timing.runs == second.timing.runs >= 3 * 2 * result.rounds
    assert first.ratio == result.ratio
    assert first.timing.cpu_ms / second.timing.cpu_ms == pytest.approx(result.ratio, rel=0.2)


def test_no_verdict_rests_on_runs_that_the_script_calls_invalid(layers):
    device = Here(valid=False, invalid=["the clock fell from 1.5 to 0.6 GHz"])
    result = compare(layers(9), layers(3), device=device, max_seconds=1)
    assert device.runs == 8
    assert result.verdict == "not resolved"
    assert result.notes == ("8 of 8 runs invalid: the clock fell from 1.5 to 0.6 GHz",)


def test_an_emulated_device_is_asked_once_and_gives_no_ratio():
    device = Here(kind="emulated")
    result = compare(DIGITS, DIGITS, device=device)
    assert device.runs == 1
    assert (result.verdict, result.ratio, result.ci95) == ("not resolved", None, None)
    assert "no latency" in result.notes[0]


def test_different_runtimes_are_refused(tmp_path):
    (tmp_path / "b.tflite").write_bytes(b"")
    with pytest.raises(UsageError, match="different runtimes"):
        compare(DIGITS, tmp_path / "b.tflite")


@pytest.fixture
def layers(tmp_path: Path) -> Callable[[int], Path]:
    """A chain of so many equal convolutions."""

    def make(count: int) -> Path:
        weight = np.random.default_rng(0).normal(0, 0.1, (16, 16, 3, 3)).astype(np.float32)
        nodes = [helper.make_node("Conv", [f"v{i}", "w"], [f"v{i + 1}"], pads=[1] * 4) for i in range(count)]
        first, last = (
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 16, 24, 24]) for name in ("v0", f"v{count}")
        )
        graph = helper.make_graph(nodes, "chain", [first], [last], [numpy_helper.from_array(weight, "w")])
        path = tmp_path / f"{count}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        return path

    return make
