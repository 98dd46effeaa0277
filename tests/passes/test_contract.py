"""The framework, not the pass, decides whether a pass kept its word."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.errors import DefectError, InvalidInputError
from edgekit.core.types import Layout
from edgekit.ir.model import IR_VERSION, OPSET, Model, set_layout
from edgekit.passes.contract import Pass, PassResult, apply


@pytest.fixture
def model() -> Model:
    x = ir.val("x", ir.DataType.FLOAT, ["batch", 4])
    weight = ir.val("w", const_value=ir.tensor(np.eye(4, dtype=np.float32), name="w"))
    hidden = ir.val("h", ir.DataType.FLOAT, ["batch", 4])
    y = ir.val("y", ir.DataType.FLOAT, ["batch", 4])
    nodes = [
        ir.node("MatMul", [x, weight], outputs=[hidden], name="dense"),
        ir.node("Relu", [hidden], outputs=[y], name="act"),
    ]
    set_layout(x, Layout.NC)
    graph = ir.Graph([x], [y], nodes=nodes, initializers=[weight], opset_imports={"": OPSET}, name="tiny")
    return Model(ir.Model(graph, ir_version=IR_VERSION))


def _node(model: Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


class _Rename(Pass):
    name = "rename"

    def call(self, model: Model) -> PassResult:
        _node(model, "act").name = "relu"
        return PassResult(model, fired=1)


class _Scale(Pass):
    """Multiplies the weights: a lie, unless it says so."""

    name = "scale"
    version = "7"
    factor = 1.5

    def call(self, model: Model) -> PassResult:
        weight = model.graph.initializers["w"]
        assert weight.const_value is not None
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(self.factor), name="w")
        return PassResult(model, fired=1)


class _HonestScale(_Scale):
    keeps_function = False


class _RoundOff(_Scale):
    factor = 1 + 1e-6


def test_the_result_is_followed_and_the_argument_left_alone(model: Model) -> None:
    before = model.digest
    after, (record,) = apply(model, [_Rename()], seed=0)
    assert [node.name for node in after.graph] == ["dense", "relu"]
    assert model.digest == before
    assert (record.name, record.modified, record.fired, record.max_relative) == ("rename", True, 1, 0.0)


def test_a_lie_about_the_function_is_caught_with_the_figure(model: Model) -> None:
    with pytest.raises(DefectError, match=r"'scale' \(version 7\) claims .* within 1e-05, but .* by 5\.0e-01"):
        apply(model, [_Rename(), _Scale()], seed=0)


def test_a_lie_behind_a_saturated_softmax_is_caught(model: Model) -> None:
    end = _node(model, "act")
    end.op_type = "Softmax"
    model.graph.initializers["w"].const_value = ir.tensor(np.diag(np.array([1, 2, 3, 4], np.float32) * 1e4), name="w")
    with pytest.raises(DefectError, match="'scale'"):
        apply(model, [_Scale()], seed=0)


def test_a_pass_that_claims_nothing_is_not_held_to_it(model: Model) -> None:
    _, (record,) = apply(model, [_HonestScale()], seed=0)
    assert record.modified
    assert record.max_relative is None


def test_claims_after_a_changed_function_are_held_against_the_changed_one(model: Model) -> None:
    _, records = apply(model, [_Rename(), _HonestScale(), _RoundOff()], seed=0)
    assert records[2].max_relative == pytest.approx(1e-6, rel=0.5)


def test_what_an_idle_pass_returns_is_ignored(model: Model) -> None:
    class Idle(_Scale):
        def call(self, model: Model) -> PassResult:
            return PassResult(super().call(model).model, fired=0)

    after, (record,) = apply(model, [Idle()], seed=0)
    assert after is model
    assert not record.modified


def test_a_crash_is_named_and_keeps_its_cause(model: Model) -> None:
    class Crash(Pass):
        name = "crash"

        def call(self, model: Model) -> PassResult:
            raise KeyError("oops")

    with pytest.raises(DefectError, match=r"'crash'.* failed: KeyError: 'oops'") as caught:
        apply(model, [Crash()], seed=0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_for_the_user_passes_through(model: Model) -> None:
    class Refuse(_Rename):
        def requires(self, model: Model) -> None:
            raise InvalidInputError("no", blame="your model", remedy="none")

    with pytest.raises(InvalidInputError):
        apply(model, [Refuse()], seed=0)


def test_a_broken_postcondition_is_named(model: Model) -> None:
    class Broken(_Rename):
        def ensures(self, model: Model) -> None:
            assert not list(model.graph), "nodes are left"

    with pytest.raises(DefectError, match=r"'rename'.*nodes are left"):
        apply(model, [Broken()], seed=0)


def _rename_output(model: Model) -> None:
    model.graph.outputs[0].name = "z"


def _drop_layout(model: Model) -> None:
    model.graph.inputs[0].metadata_props.clear()


def _unname_a_node(model: Model) -> None:
    _node(model, "act").name = None


def _name_twice(model: Model) -> None:
    _node(model, "act").name = "dense"


def _raise_opset(model: Model) -> None:
    model.graph.opset_imports[""] = OPSET + 1


def _raise_ir_version(model: Model) -> None:
    model.proto.ir_version = IR_VERSION + 1


def _unknown_op(model: Model) -> None:
    _node(model, "act").op_type = "Wibble"


def _contradict_a_shape(model: Model) -> None:
    model.graph.initializers["w"].const_value = ir.tensor(np.eye(5, dtype=np.float32), name="w")


def _write_the_batch(model: Model) -> None:
    shape = ir.val("shape", const_value=ir.tensor(np.array([1, 4]), name="shape"))
    model.graph.register_initializer(shape)
    node = _node(model, "act")
    node.op_type = "Reshape"
    node.resize_inputs(2)
    node.replace_input_with(1, shape)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_rename_output, "inputs or outputs"),
        (_drop_layout, "inputs or outputs"),
        (_unname_a_node, "without a name"),
        (_name_twice, "name of another"),
        (_raise_opset, "opset"),
        (_raise_ir_version, "IR version"),
        (_unknown_op, "invalid graph"),
        (_contradict_a_shape, "invalid graph"),
        (_write_the_batch, "invalid graph|can't be checked"),
    ],
)
def test_damage_to_the_graph_is_caught(model: Model, damage, message: str) -> None:
    class Damage(Pass):
        name = "damage"
        keeps_function: ClassVar[bool] = True

        def call(self, model: Model) -> PassResult:
            damage(model)
            return PassResult(model, fired=1)

    with pytest.raises(DefectError, match=f"(?s)'damage'.*({message})"):
        apply(model, [Damage()], seed=0)


def test_until_stable_goes_on_while_something_is_found_and_adds_up(model: Model) -> None:
    class Countdown(Pass):
        name = "countdown"

        def call(self, model: Model) -> PassResult:
            left = int(model.proto.metadata_props.get("left", "3"))
            model.proto.metadata_props["left"] = str(left - 1)
            return PassResult(model, fired=int(left > 0))

    after, (record,) = apply(model, [Countdown()], seed=0, until_stable=True)
    assert record.fired == 3
    assert after.proto.metadata_props["left"] == "0"
