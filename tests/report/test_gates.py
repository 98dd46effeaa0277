"""Gates: the verdict and the exit code for each state of the evidence."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.evidence import EvidenceKind, Metric
from edgekit.core.recipe import GateSection
from edgekit.core.types import TensorSpec
from edgekit.data.metrics import evaluate
from edgekit.report.gates import Evidence, combine, inside_accuracy, judge, passed, with_resolved

OUT = TensorSpec("y", (None, 2))


def top1(drop, ci=None, n=1000):
    return Metric("top1", "points", True, "report", n, 90.0, 90.0 - drop, drop, ci)


def evidence(**kwargs):
    known = {"metrics": (top1(0.2, (-0.3, 0.7)),), "ratio": 0.5, "p90_ms": 10.0, "size_bytes": 1000}
    return Evidence(**{**known, "memory_bytes": 5000, "kind": EvidenceKind.MEASURED, **kwargs})


UNRESOLVED = (top1(0.75, (0.25, 1.25)),)
NO_BOARD = {"ratio": None, "p90_ms": None, "memory_bytes": None, "kind": None}
EMULATED = {"kind": EvidenceKind.EMULATED}
THROTTLED = {"invalid": ("the clock fell from 1.5 to 0.6 GHz",)}


@pytest.mark.parametrize(
    ("limits", "found", "code", "verdict"),
    [
        ({}, {}, 0, True),
        ({}, {"metrics": (top1(1.0),)}, 0, True),
        ({}, {"metrics": (top1(1.01),)}, 4, False),
        ({"max_drop": 2}, {"metrics": (top1(1.5),)}, 0, True),
        ({"max_drop": 0}, {"metrics": (top1(0.1),)}, 4, False),
        ({}, {"metrics": ()}, 0, None),
        ({"max_drop": 1}, {"metrics": ()}, 12, None),
        ({}, {"ratio": 1.02}, 0, True),
        ({}, {"ratio": 1.03}, 5, False),
        ({"min_speedup": 2}, {"ratio": 0.51}, 0, True),
        ({"min_speedup": 2}, {"ratio": 0.52}, 5, False),
        ({}, NO_BOARD, 0, True),
        ({"min_speedup": 1}, NO_BOARD, 12, None),
        ({"max_latency_ms": 20}, NO_BOARD, 12, None),
        ({"max_memory_bytes": 9}, NO_BOARD, 12, None),
        ({"max_latency_ms": 10}, {}, 0, True),
        ({"max_latency_ms": 9.9}, {}, 5, False),
        ({"max_size_bytes": 1000}, NO_BOARD, 0, True),
        ({"max_size_bytes": 999}, {}, 5, False),
        ({"max_memory_bytes": 4999}, {}, 5, False),
        ({"max_size_bytes": 999}, {"metrics": (top1(5),)}, 4, False),
        ({"max_size_bytes": 999, "min_speedup": 1}, NO_BOARD, 5, False),
        ({}, {"metrics": UNRESOLVED}, 0, True),
        ({"strict": True}, {}, 0, True),
        ({"strict": True}, {"metrics": UNRESOLVED}, 12, None),
        ({"strict": True}, NO_BOARD, 12, None),
        ({"strict": True}, {"metrics": ()}, 12, None),
        ({"require": "measured"}, {}, 0, True),
        ({"require": "measured"}, NO_BOARD, 12, None),
        ({"require": "measured"}, EMULATED, 12, None),
        ({"require": "emulated"}, EMULATED, 0, True),
        ({"require": "emulated"}, {}, 0, True),
        ({"require": "emulated"}, NO_BOARD, 12, None),
        ({"require": "emulated"}, {**EMULATED, "metrics": ()}, 12, None),
        ({}, EMULATED, 0, True),
        ({"min_speedup": 1}, EMULATED, 12, None),
        ({"max_latency_ms": 20}, EMULATED, 12, None),
        ({"max_memory_bytes": 9}, EMULATED, 12, None),
        ({}, THROTTLED, 0, True),
        ({}, {**THROTTLED, "ratio": 1.5}, 5, False),
        ({"min_speedup": 1}, THROTTLED, 0, True),
        ({"max_latency_ms": 20}, THROTTLED, 12, None),
        ({"max_memory_bytes": 4999}, THROTTLED, 5, False),
        ({"require": "measured"}, THROTTLED, 0, True),
        ({"require": "measured", "max_latency_ms": 20}, THROTTLED, 12, None),
        ({"require": "emulated"}, THROTTLED, 0, True),
        ({}, {"target_bytes": 5000}, 0, True),
        ({}, {"target_bytes": 4999}, 5, False),
        ({"max_memory_bytes": 6000}, {"target_bytes": 4999}, 0, True),
        ({}, {"target_bytes": 4999, **EMULATED}, 0, True),
        ({}, {"target_bytes": 4999, **NO_BOARD}, 0, True),
    ],
)
def test_verdicts(limits, found, code, verdict):
    gates, exit_code = judge(GateSection(**limits), evidence(**found))
    assert exit_code == code, gates
    assert passed(gates, exit_code) is verdict


@pytest.mark.parametrize(
    ("found", "word"), [(EMULATED, "emulated"), (THROTTLED, "the clock fell"), (NO_BOARD, "did not run it")]
)
def test_what_proves_no_latency_says_why(found, word):
    gates, _ = judge(GateSection(max_latency_ms=20), evidence(**found))
    latency = next(gate for gate in gates if gate.name == "max-latency")
    assert latency.value is None
    assert word in latency.note


def test_an_emulated_run_proves_no_speed_whatever_ratio_is_at_hand():
    gates, _ = judge(GateSection(), evidence(**EMULATED, ratio=0.5))
    assert [(gate.name, gate.value) for gate in gates[1:]] == [("min-speedup", None)]


def test_the_memory_of_a_target_that_ran_it_is_a_limit_that_nobody_has_to_ask_for():
    gates, _ = judge(GateSection(), evidence(target_bytes=8000))
    assert [(gate.limit, gate.value, gate.asked) for gate in gates if gate.name == "max-memory"] == [
        (8000, 5000, False)
    ]


def test_an_open_verdict_names_the_sample_count_that_settles_it():
    gates, _ = judge(GateSection(), evidence(metrics=UNRESOLVED))
    assert gates[0].resolved is False
    assert gates[0].note == "about 4,000 samples would settle it"
    assert with_resolved(UNRESOLVED, gates)[0].resolved is False


def test_an_error_that_grows_is_a_drop():
    grown = Metric("error", "", False, "report", 100, 1.0, 3.0, -2.0, (-2.5, -1.5))
    gates, code = judge(GateSection(), evidence(metrics=(grown,)))
    assert (code, gates[0].value, gates[0].resolved) == (4, 2.0, True)


def test_the_lowest_code_wins():
    assert combine([0, 12, 5]) == 5
    assert combine([0, 0]) == combine([]) == 0


def softmax(logits):
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rare():
    """A float model's logits that say class 1 for 2 % of the samples, as visual wake words does on foreign images."""
    rng = np.random.default_rng(0)
    margin = np.where(np.arange(2000) % 50 == 0, -3, 3) + 0.5 * rng.standard_normal(2000)
    return np.stack([margin, -margin], axis=1)


def fidelity(before, after, spec=OUT):
    return tuple(evaluate({"y": before}, {"y": after}, None, (spec,)))


@pytest.mark.parametrize(
    ("name", "answer", "holds"),
    [
        ("itself", lambda logits: logits, True),
        ("int8", lambda logits: logits + 0.15 * np.random.default_rng(1).standard_normal(logits.shape), True),
        ("constant", lambda logits: np.tile(logits.mean(axis=0), (len(logits), 1)), False),
        ("always the rare class", lambda logits: np.tile([[-3, 3]], (len(logits), 1)), False),
        ("half", lambda logits: logits / 2, False),
        ("negated", lambda logits: -logits, False),
        ("noise", lambda logits: np.random.default_rng(1).standard_normal(logits.shape), False),
        ("shuffled", lambda logits: np.random.default_rng(1).permutation(logits), False),
    ],
)
def test_without_labels_only_a_faithful_artifact_passes(rare, name, answer, holds):
    metrics = fidelity(softmax(rare), softmax(answer(rare)))
    gates, code = judge(GateSection(), evidence(metrics=metrics))
    assert [gate.name for gate in gates[:3]] == ["min-agreement", "min-class-agreement", "min-sqnr"]
    assert (passed(gates, code), code) == ((True, 0) if holds else (False, 4)), (name, gates)
    assert inside_accuracy(metrics, None) is holds


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        (lambda y: y + 0.1 * np.random.default_rng(1).standard_normal(y.shape), True),
        (lambda y: y / 2, False),
        (lambda y: 2 * y, False),
        (lambda y: np.tile(y.mean(axis=0), (len(y), 1)), False),
        (np.zeros_like, False),
    ],
)
def test_outputs_without_meaning_are_guarded_against_being_broken(answer, holds):
    values = np.random.default_rng(0).standard_normal((100, 30)) + 0.5
    metrics = fidelity(values, answer(values), TensorSpec("y", (None, 30)))
    gates, code = judge(GateSection(), evidence(metrics=metrics))
    assert [gate.name for gate in gates] == ["min-sqnr", "min-speedup"]
    assert passed(gates, code) is holds


def test_samples_on_which_the_float_model_is_constant_prove_nothing():
    """As an auto-encoder on noise: even a perfect-looking SQNR could be a constant's."""
    rng = np.random.default_rng(0)
    values = -16 + rng.standard_normal(30) + 0.1 * rng.standard_normal((100, 30))
    metrics = fidelity(values, np.tile(values.mean(axis=0), (100, 1)), TensorSpec("y", (None, 30)))
    gates, code = judge(GateSection(), evidence(metrics=metrics))
    assert gates[0].value > 40
    assert (gates[0].passed, passed(gates, code), code) == (None, None, 0)
    assert "a constant would do as well" in gates[0].note
    assert judge(GateSection(max_drop=1), evidence(metrics=metrics))[1] == 12
    assert not inside_accuracy(metrics, None)


def test_a_larger_drop_lets_more_error_power_through(rare):
    metrics = fidelity(softmax(rare), softmax(0.82 * rare))  # 15 dB
    assert judge(GateSection(max_drop=1), evidence(metrics=metrics))[1] == 4
    assert judge(GateSection(max_drop=4), evidence(metrics=metrics))[1] == 0


def _without_labels(name: str, value: float, boxes: float | None = None) -> tuple[Metric, ...]:
    """A figure of agreement, a sound SQNR, and how many boxes the float model found."""
    figures = [
        Metric(name, "points", True, "report", 50, None, value, ci95=(value - 1, value + 1)),
        Metric("sqnr", "dB", True, "report", 50, None, 30.0),
        Metric("sqnr_over_constant", "dB", True, "report", 50, None, 20.0),
    ]
    return (*figures, Metric("boxes", "boxes", True, "report", 50, boxes, boxes, 0.0)) if boxes else tuple(figures)


@pytest.mark.parametrize(
    ("metrics", "gate", "holds"),
    [
        (_without_labels("mask_agreement", 97), "min-mask-agreement", True),
        (_without_labels("mask_agreement", 95), "min-mask-agreement", False),
        (_without_labels("box_agreement", 96, boxes=40), "min-box-agreement", True),
        (_without_labels("box_agreement", 94, boxes=40), "min-box-agreement", False),
        (_without_labels("box_agreement", 50, boxes=7), "min-box-agreement", None),
    ],
)
def test_masks_and_boxes_of_the_float_model_are_gated(metrics, gate, holds):
    gates, code = judge(GateSection(), evidence(metrics=metrics))
    assert (gates[0].name, gates[0].passed, code) == (gate, holds, 4 if holds is False else 0)
    assert passed(gates, code) is holds
    assert inside_accuracy(metrics, None) is (holds is True)
    if holds is None:
        assert "finds 7 boxes" in gates[0].note
        assert judge(GateSection(max_drop=1), evidence(metrics=metrics))[1] == 12


def test_a_larger_drop_lets_more_masks_and_boxes_differ():
    assert judge(GateSection(max_drop=2), evidence(metrics=_without_labels("mask_agreement", 93)))[1] == 0
    assert judge(GateSection(max_drop=2), evidence(metrics=_without_labels("box_agreement", 91, boxes=40)))[1] == 0


@pytest.mark.parametrize(("ratio", "code"), [(0.6, 0), (1.0, 0), (1.015, 0), (1.05, 5)])
@pytest.mark.parametrize("where", [{}, NO_BOARD, {**NO_BOARD, **EMULATED}])
def test_pruned_and_slower_than_unpruned_is_refused_wherever_it_was_timed(ratio, code, where):
    gates, found = judge(GateSection(), evidence(dense_ratio=ratio, **where))
    gate = next(gate for gate in gates if gate.name == "pruned-speedup")
    assert (gate.value, gate.passed, found) == (pytest.approx(1 / ratio), code == 0, code)


def test_what_was_not_pruned_has_no_such_gate():
    gates, _ = judge(GateSection(), evidence())
    assert "pruned-speedup" not in {gate.name for gate in gates}
