"""Activations that exporters take apart become one operator, however they are spelled; their neighbours stay."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.types import Layout
from edgekit.passes.contract import apply
from edgekit.passes.fuse.clips import MergeClips
from edgekit.passes.fuse.gelu import FuseGelu
from edgekit.passes.fuse.hard_swish import FuseHardSigmoid, FuseHardSwish
from edgekit.passes.fuse.swish import FuseSwish

_FAMILY = [MergeClips(), FuseHardSwish(), FuseHardSigmoid(), FuseSwish(), FuseGelu()]
_ROOT = math.sqrt(2 / math.pi)
_HALF_ROOT = math.sqrt(0.5)


def _clip(s, x, low, high):
    """Any way to clip."""
    b = s.b
    match s._draw(st.sampled_from(["clip", "min of max", "max of min", "two clips"])):
        case "clip":
            return b.op("Clip", x, np.float32(low), np.float32(high))
        case "min of max":
            floor = b.op("Relu", x) if low == 0 and s._draw(st.booleans()) else s.commuted("Max", x, s.figure(low))
            return s.commuted("Min", floor, s.figure(high))
        case "max of min":
            return s.commuted("Max", s.commuted("Min", x, s.figure(high)), s.figure(low))
    return b.op("Clip", b.op("Clip", x, np.float32(low)), b.constant(np.float32(low - 1)), np.float32(high))


def _hard_gate(s, x, *, three=3.0, six=6.0, by=1 / 6, low=0.0):
    """Factors of a hard sigmoid: clip(x + 3, 0, 6) and 1/6, or clip(x/6 + ½, 0, 1) alone."""
    if s._draw(st.booleans()):
        return _clip(s, s.shifted(x, three), low, six), by
    return (_clip(s, s.shifted(s.scaled(x, by), three * by), low * by, six * by),)


def _hard_swish(s, x, **figures):
    return s.product(x, *_hard_gate(s, x, **figures))


def _hard_sigmoid(s, x, **figures):
    return s.product(*_hard_gate(s, x, **figures))


def _swish(s, x, alpha=1.0):
    return s.product(x, s.b.op("Sigmoid", x if alpha == 1 else s.scaled(x, alpha)))


def _gelu(s, x, half=0.5, inner=_HALF_ROOT, one=1.0):
    if s._draw(st.booleans()):
        return s.product(x, half, s.shifted(s.b.op("Erf", s.scaled(x, inner)), one))
    gate = s.shifted(s.scaled(s.b.op("Erf", s.scaled(x, -inner)), -half), one * half)  # as TensorFlow's erfc comes
    return s.product(x, gate)


def _cube(s, x):
    match s._draw(st.sampled_from(["pow", "right", "left"])):
        case "pow":
            return s.b.op("Pow", x, s.figure(3))
        case "right":
            return s.b.op("Mul", x, s.b.op("Mul", x, x))
    return s.b.op("Mul", s.b.op("Mul", x, x), x)


def _gelu_tanh(s, x, half=0.5, inner=_ROOT, third=0.044715):
    if s._draw(st.booleans()):
        inside = s.scaled(s.commuted("Add", x, s.scaled(_cube(s, x), third)), inner)
    else:  # √(2/π)·x·(1 + 0.044715·x²)
        square = s.scaled(s.b.op("Mul", x, x), third)
        inside = s.product(inner, x, s.shifted(square, 1.0))
    return s.product(x, half, s.shifted(s.b.op("Tanh", inside), 1.0))


def _relu6(s, x, high=6.0):
    return _clip(s, x, 0.0, high)


_FORMULAS: dict[str, Callable[..., str]] = {
    "HardSwish": _hard_swish,
    "HardSigmoid": _hard_sigmoid,
    "Swish": _swish,
    "Gelu": _gelu,
    "Gelu by tanh": _gelu_tanh,
    "Clip": _relu6,
}


def _fused(model, passes=_FAMILY):
    return apply(model, passes, seed=1, until_stable=True)


@settings(max_examples=120, deadline=None)
@given(data=st.data(), formula=st.sampled_from(sorted(_FORMULAS)))
def test_every_spelling_becomes_one_operator(build, spell, ops, data, formula) -> None:
    b = build(tuple(data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))))
    b.op("Softsign", "x", name="before")
    y = _FORMULAS[formula](spell(b, data), "before")
    model = b.model(y, layout=Layout.ND)
    fused, records = _fused(model)
    assert ops(fused) == ["Softsign", formula.split(" ", maxsplit=1)[0]]
    assert (fused.outputs, [node.name for node in fused.graph]) == (model.outputs, ["before", y])
    assert any(record.modified for record in records) == (len(model.graph) > len(fused.graph))


@settings(max_examples=30, deadline=None)
@given(data=st.data(), alpha=st.sampled_from([0.5, 1.702, -2.0]))
def test_swish_and_hard_sigmoid_keep_their_slopes(build, spell, ops, data, alpha: float) -> None:
    b = build((4, 3))
    s = spell(b, data)
    swish = _swish(s, b.op("Softsign", "x"), alpha)
    slope = _clip(s, s.shifted(s.scaled(b.op("Tanh", "x"), 0.2), 0.5), 0.0, 1.0)
    fused, _ = _fused(b.model(swish, slope))
    by_op = {node.op_type: node for node in fused.graph}
    assert sorted(ops(fused)) == ["HardSigmoid", "Softsign", "Swish", "Tanh"]
    assert by_op["Swish"].attributes.get_float("alpha", 1) == pytest.approx(alpha)
    assert by_op["HardSigmoid"].attributes.get_float("alpha", 0) == pytest.approx(0.2)


_NEAR_MISSES: dict[str, tuple[Callable[..., str], str]] = {
    "HardSwish of 3.1": (lambda s, x: _hard_swish(s, x, three=3.1), "HardSwish"),
    "HardSwish of 3.0001": (lambda s, x: _hard_swish(s, x, three=3.0001), "HardSwish"),
    "HardSwish up to 5": (lambda s, x: _hard_swish(s, x, six=5.0), "HardSwish"),
    "HardSwish from 0.1": (lambda s, x: _hard_swish(s, x, low=0.1), "HardSwish"),
    "HardSwish over 7": (lambda s, x: _hard_swish(s, x, by=1 / 7), "HardSwish"),
    "HardSigmoid at 0.45": (lambda s, x: _hard_sigmoid(s, x, three=2.7), "HardSigmoid"),
    "HardSigmoid up to 0.9": (lambda s, x: _hard_sigmoid(s, x, six=5.4), "HardSigmoid"),
    "ReLU6 over 6": (lambda s, x: s.scaled(_relu6(s, x), 1 / 6), "HardSigmoid"),
    "Swish of a shifted x": (lambda s, x: s.product(x, s.b.op("Sigmoid", s.shifted(x, 0.1))), "Swish"),
    "GELU of a third": (lambda s, x: _gelu(s, x, half=1 / 3), "Gelu"),
    "GELU of x/1.414": (lambda s, x: _gelu(s, x, inner=1 / 1.414), "Gelu"),
    "GELU of 1.1": (lambda s, x: _gelu(s, x, one=1.1), "Gelu"),
    "GELU by tanh of 0.0447": (lambda s, x: _gelu_tanh(s, x, third=0.0447), "Gelu"),
    "GELU by tanh of 0.8": (lambda s, x: _gelu_tanh(s, x, inner=0.8), "Gelu"),
}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(_NEAR_MISSES)))
def test_other_figures_are_another_function(build, spell, ops, data, name: str) -> None:
    formula, op = _NEAR_MISSES[name]
    b = build((4, 3))
    fused, _ = _fused(b.model(formula(spell(b, data), b.op("Softsign", "x"))))
    assert op not in ops(fused)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), formula=st.sampled_from(sorted(_FORMULAS)))
def test_a_second_reader_or_an_output_in_the_middle_keeps_the_nodes(build, spell, ops, data, formula: str) -> None:
    b = build((4, 3))
    b.op("Softsign", "x", name="before")
    first = len(b._nodes)
    y = _FORMULAS[formula](spell(b, data), "before")
    inner = [node.output[0] for node in b._nodes[first:] if node.output[0] != y]
    if not inner:
        return
    middle = data.draw(st.sampled_from(inner))
    outputs = [y, middle] if data.draw(st.booleans()) else [y, b.op("Neg", middle)]
    model = b.model(*outputs)
    fused, _ = _fused(model)
    assert len(fused.graph) <= len(model.graph)
    if formula in {"Gelu", "Gelu by tanh", "Swish"}:
        assert formula.split(" ", maxsplit=1)[0] not in ops(fused)


@pytest.mark.parametrize("pair", [("HardSwish", "HardSigmoid"), ("Gelu", "Swish"), ("Clip", "HardSwish")])
def test_one_behind_the_other_are_both_found(build, spell, ops, pair) -> None:
    @settings(max_examples=10, deadline=None)
    @given(data=st.data())
    def check(data) -> None:
        b = build((4, 3))
        s = spell(b, data)
        y = _FORMULAS[pair[1]](s, b.op("Abs", _FORMULAS[pair[0]](s, b.op("Softsign", "x"))))
        assert ops(_fused(b.model(y))[0]) == ["Softsign", pair[0], "Abs", pair[1]]

    check()


def test_a_figure_that_widens_the_input_is_kept(build, ops) -> None:
    b = build((4,))
    x = b.op("Softsign", "x")
    wide = b.op("Add", x, np.full((1, 1, 1, 1), 3, np.float32))
    y = b.op("Div", b.op("Mul", x, b.op("Clip", wide, np.float32(0), np.float32(6))), np.float32(6))
    assert "HardSwish" not in ops(_fused(b.model(y))[0])


def test_the_layer_keeps_its_name(build, names) -> None:
    """Nodes of one layer bear its name in front, as Keras' and PyTorch's do."""
    b = build()
    conv = b.op("Conv", "x", b.normal(6, 3, 3, 3), name="conv")
    clip = b.op("Clip", b.op("Add", conv, np.float32(3), name="act"), np.float32(0), np.float32(6), name="act/Clip")
    y = b.op("Mul", conv, b.op("Mul", clip, np.float32(1 / 6), name="act/Mul"), name="act/Mul_1")
    fused, records = _fused(b.model(y, layout=Layout.NCHW))
    assert names(fused) == ["conv", "act"]
    assert [value.name for value in fused.graph.outputs] == [y]
    assert {record.name: record.fired for record in records}["fuse-hard-swish"] == 1


@pytest.mark.parametrize(
    ("spelling", "left"),
    [
        (lambda b, x: b.op("Relu", b.op("Relu", x)), "Relu"),
        (lambda b, x: b.op("Max", x, np.zeros(1, np.float32)), "Relu"),
        (lambda b, x: b.op("Relu", b.op("Clip", x, np.float32(-1))), "Relu"),
        (
            lambda b, x: b.op("Clip", b.op("Clip", x, np.float32(0), np.float32(6)), np.float32(1), np.float32(9)),
            "Clip",
        ),
        (lambda b, x: b.op("Min", b.op("Min", x, np.float32(0.3)), np.float32(0.2)), "Clip"),
    ],
)
def test_chains_of_clips_are_one(build, ops, spelling, left: str) -> None:
    b = build()
    fused, _ = _fused(b.model(spelling(b, b.op("Neg", "x"))))
    assert ops(fused) == ["Neg", left]


@pytest.mark.parametrize(
    "chain",
    [
        lambda b, x: b.op("Min", b.op("Max", x, b.normal(3, 1, 1)), np.float32(6)),
        lambda b, x: b.op("Min", b.op("Max", x, b.op("Abs", x)), np.float32(6)),
        lambda b, x: b.op("Add", b.op("Relu", x, name="r"), b.op("Min", "r", np.float32(6))),
    ],
    ids=["per channel", "two values", "two readers"],
)
def test_other_chains_stay(build, chain) -> None:
    b = build()
    _, (record,) = apply(b.model(chain(b, b.op("Neg", "x"))), [MergeClips()], seed=0)
    assert not record.modified
