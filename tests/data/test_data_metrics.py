"""Metrics: against scikit-learn where labels are, and what a broken artifact looks like where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from edgekit.core.errors import BrokenPromiseError, InvalidInputError
from edgekit.core.evidence import EvidenceKind
from edgekit.core.types import TensorSpec
from edgekit.data.metrics import confusion_matrix, evaluate

OUT = TensorSpec("y", (None, 7))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


def classifier(seed, n=200, classes=7, noise=0.5):
    """Labels, a float model's answers and an artifact's."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.standard_normal((n, classes)) + 2 * np.eye(classes)[labels]
    return labels, softmax(logits), softmax(logits + noise * rng.standard_normal(logits.shape))


def judge(before, after, targets=None, spec=OUT, **kwargs):
    truth = None if targets is None else {spec.name: targets}
    return {m.name: m for m in evaluate({spec.name: before}, {spec.name: after}, truth, (spec,), **kwargs)}


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(8, 120))
def test_classification_as_scikit_learn_counts(seed, n):
    labels, before, after = classifier(seed, n)
    found = judge(before, after, labels)
    assert next(iter(found)) == "top1"
    for which, scores in (("float", before), ("artifact", after)):
        predicted = scores.argmax(1)
        expected = {
            "top1": sk.accuracy_score(labels, predicted),
            "top5": sk.top_k_accuracy_score(labels, scores, k=5, labels=range(7)),
            "precision": sk.precision_score(labels, predicted, average="macro", zero_division=0),
            "recall": sk.recall_score(labels, predicted, average="macro", zero_division=0),
            "f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
            "auc": np.mean([sk.roc_auc_score(labels == c, scores[:, c]) for c in np.unique(labels)]),
        }
        for name, value in expected.items():
            assert getattr(found[name], which) == pytest.approx(100 * value), name
        np.testing.assert_array_equal(
            confusion_matrix(labels, predicted, 7), sk.confusion_matrix(labels, predicted, labels=range(7))
        )
    assert found["top1"].drop == pytest.approx(found["top1"].float - found["top1"].artifact)
    assert found["top1"].ci95[0] <= found["top1"].drop <= found["top1"].ci95[1]


@pytest.mark.parametrize("logits", [True, False])
def test_a_single_score_is_a_binary_classifier(logits):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    scores = (rng.standard_normal(300) + 2 * labels - 1)[:, None]
    given = scores if logits else 1 / (1 + np.exp(-scores))
    found = judge(given, given, labels, TensorSpec("y", (None, 1)))
    assert found["top1"].float == pytest.approx(100 * sk.accuracy_score(labels, scores[:, 0] > 0))
    assert found["auc"].float == pytest.approx(100 * sk.roc_auc_score(labels, scores[:, 0]))


def test_ties_in_the_ranking_count_half():
    labels, scores = np.array([0, 1, 0, 1]), np.array([[0.5], [0.5], [0.1], [0.9]])
    found = judge(scores, scores, labels, TensorSpec("y", (None, 1)))
    assert found["auc"].float == pytest.approx(100 * sk.roc_auc_score(labels, scores[:, 0]))


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.integers(3, 60))
def test_regression_as_scikit_learn_counts(seed, n):
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((n, 3)).astype(np.float32) * 5 + 20
    before, after = truth + 0.1 * rng.standard_normal((n, 3)), truth + 0.2 * rng.standard_normal((n, 3))
    found = judge(before, after, truth, TensorSpec("y", (None, 3)))
    assert next(iter(found)) == "r2"
    assert found["r2"].artifact == pytest.approx(
        100 * sk.r2_score(truth, after, multioutput="variance_weighted"), abs=1e-3
    )
    assert found["mse"].float == pytest.approx(sk.mean_squared_error(truth, before), rel=1e-4)
    assert found["mae"].artifact == pytest.approx(sk.mean_absolute_error(truth, after), rel=1e-4)
    assert not found["mse"].higher_is_better
    assert found["mse"].ci95[0] <= found["mse"].drop <= found["mse"].ci95[1]


def test_regression_on_equal_targets_is_refused():
    values = np.zeros((9, 1))
    with pytest.raises(InvalidInputError, match="all 9 targets are equal"):
        judge(values, values, values, TensorSpec("y", (None, 1)))


def test_the_output_with_the_largest_drop_is_gated_and_names_say_which():
    labels, before, after = classifier(0)
    specs = (TensorSpec("good", (None, 7)), TensorSpec("bad", (None, 7)))
    found = evaluate(
        {"good": before, "bad": before},
        {"good": before, "bad": after[::-1]},
        {"good": labels, "bad": labels},
        specs,
        split="selection",
        where="here",
        kind=EvidenceKind.EMULATED,
    )
    assert found[0].name == "top1:bad"
    assert {m.name for m in found} >= {"top1:good", "logits_sqnr:good", "logits_sqnr:bad"}
    assert {(m.split, m.where, m.kind) for m in found} == {("selection", "here", EvidenceKind.EMULATED)}


def test_the_users_metric_sees_all_outputs_and_comes_first(tmp_path, monkeypatch):
    (tmp_path / "my_metric.py").write_text(
        "import numpy as np\n"
        "def error(outputs, targets):\n"
        "    return float(np.mean(outputs['y'].argmax(1) != targets['y']))\n"
        "error.higher_is_better = False\n"
        "def broken(outputs, targets):\n"
        "    return outputs['nothing']\n"
        "def nan(outputs, targets):\n"
        "    return float('nan')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    labels, before, after = classifier(0)
    first, top1, *_ = judge(before, after, labels, custom="my_metric:error").values()
    assert (first.name, first.higher_is_better) == ("error", False)
    assert first.drop == pytest.approx(-top1.drop / 100)
    # The bootstrap's interval of a mean difference is that of the formula.
    assert first.ci95[1] - first.ci95[0] == pytest.approx((top1.ci95[1] - top1.ci95[0]) / 100, rel=0.15)
    again = judge(before, after, labels, custom="my_metric:error")["error"]
    assert again == first
    for name, match in (("broken", "failed: KeyError"), ("nan", "returned nan"), ("gone", "can't be imported")):
        with pytest.raises(InvalidInputError, match=match):
            judge(before, after, labels, custom=f"my_metric:{name}")


def test_agreement_counts_the_same_class_overall_balanced_and_at_worst():
    before = np.repeat(np.eye(3)[[0, 1, 2]], [80, 15, 2], axis=0) * 0.9 + 0.1 / 3
    after = before.copy()
    after[80:83] = before[0]  # 3 of the 15 of class 1
    after[95] = before[0]  # 1 of the 2 of class 2, too rare to stand alone
    found = judge(before, after, spec=TensorSpec("y", (None, 3)))
    assert next(iter(found)) == "agreement"
    assert found["agreement"].artifact == pytest.approx(100 * 93 / 97)
    assert found["balanced_agreement"].artifact == pytest.approx(100 * (1 + 0.8 + 0.5) / 3)
    assert found["worst_class_agreement"].artifact == pytest.approx(50)
    assert found["agreement"].drop is None
    for name in ("agreement", "balanced_agreement", "worst_class_agreement"):
        assert found[name].ci95[0] <= found[name].artifact <= found[name].ci95[1]


def test_sqnr_is_the_ratio_of_powers_and_sees_through_the_softmax():
    rng = np.random.default_rng(0)
    logits = 4 * rng.standard_normal((500, 7))
    noise = 0.4 * rng.standard_normal((500, 7))
    raw = judge(logits, logits + noise)
    behind = judge(softmax(logits), softmax(logits + noise))
    assert raw["sqnr"].artifact == pytest.approx(20, abs=0.3)
    assert behind["logits_sqnr"].artifact == pytest.approx(20, abs=0.3)
    single = TensorSpec("y", (None, 1))
    before, after = (1 / (1 + np.exp(-values[:, :1])) for values in (logits, logits + noise))
    assert judge(before, after, spec=single)["logits_sqnr"].artifact == pytest.approx(20, abs=0.6)


def test_probabilities_below_the_step_of_a_rounded_reference_count_as_half_of_it():
    """A softmax in int8 gives 0 for whatever is below 1/512; an artifact that gives 1e-6 there is no worse for it."""
    logits = 4 * np.random.default_rng(0).standard_normal((200, 10))
    exact = softmax(logits)
    rounded = np.rint(exact * 256) / 256
    blind = judge(rounded, exact, activations={"y": "softmax"})
    told = judge(rounded, exact, activations={"y": "softmax"}, steps={"y": 1 / 256})
    assert blind["logits_sqnr"].artifact < 10
    assert told["logits_sqnr"].artifact > blind["logits_sqnr"].artifact + 6
    same = judge(exact, exact, activations={"y": "softmax"}, steps={"y": 1 / 256})
    assert same["logits_sqnr"].artifact > 140


def test_raw_outputs_are_judged_by_sqnr_unless_told_otherwise():
    logits = np.random.default_rng(0).standard_normal((50, 7))
    assert list(judge(logits, logits)) == ["sqnr", "sqnr_over_constant"]
    spec = TensorSpec("y", (None, 4, 2))  # a detector's scores: softmax, but no vector of classes
    scores = softmax(np.random.default_rng(0).standard_normal((50, 4, 2)))
    assert list(judge(scores, scores, spec=spec)) == ["logits_sqnr", "logits_sqnr_over_constant"]


def test_identical_answers_are_finite_in_every_figure():
    labels, before, _ = classifier(0)
    for metric in [*judge(before, before, labels).values(), *judge(before, before).values()]:
        assert np.isfinite([metric.artifact, *(metric.ci95 or ())]).all()
        assert metric.drop in (None, 0)


def test_answers_that_are_no_answers():
    _, before, _ = classifier(0)
    broken = before.copy()
    broken[17, 3] = np.nan
    with pytest.raises(BrokenPromiseError, match="NaN or infinity at output 'y', first for sample 17"):
        judge(before, broken)
    with pytest.raises(InvalidInputError, match="the float model answers NaN"):
        judge(broken, before)
    with pytest.raises(BrokenPromiseError, match="answered shape"):
        judge(before, before[:-1])
    with pytest.raises(BrokenPromiseError, match="answered nothing"):
        evaluate({"y": before}, {}, None, (OUT,))
