"""Small graphs for the fusion tests, and the two questions that every one of them asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgekit.core.errors import UnsupportedOpError
from edgekit.core.types import Layout
from edgekit.ir.model import BATCH, IR_VERSION, OPSET, Model, set_layout
from edgekit.passes.normalise.shapes import infer_shapes

Array = np.ndarray[Any, Any]


class GraphBuilder:
    """Writes a Model node by node: `b = build(); b.model(b.op("Conv", "x", weights))`.

    Inputs that are arrays become initializers; a node's name is its output's.
    """

    def __init__(self, shape: tuple[int, ...] = (3, 8, 8), *, seed: int = 0, batch: str | int = "batch") -> None:
        self.random = np.random.default_rng(seed)
        self._batch = batch
        self._input = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, *shape])
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def normal(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def positive(self, *shape: int) -> Array:
        return self.random.uniform(0.5, 2, shape).astype(np.float32)

    def constant(self, value: Array) -> str:
        name = f"const_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.require(value, requirements="C"), name))
        return name

    def op(self, op_type: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        name = name or f"{op_type.lower()}_{len(self._nodes)}"
        names = [each if isinstance(each, str) else self.constant(np.asarray(each)) for each in inputs]
        self._nodes.append(helper.make_node(op_type, names, [name], name=name, **attributes))
        return name

    def extra_outputs(self, *names: str) -> None:
        """More outputs of the last node."""
        self._nodes[-1].output.extend(names)

    def batch_norm(self, x: str, channels: int, **attributes: Any) -> str:
        figures = [self.positive(channels), self.normal(channels), self.normal(channels), self.positive(channels)]
        return self.op("BatchNormalization", x, *figures, **attributes)

    def model(self, *outputs: str, layout: Layout | None = None) -> Model:
        values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "test", [self._input], values, self._constants)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(proto, full_check=True)
        model = Model(ir.from_proto(proto))
        if self._batch == BATCH:
            _fill_shapes(model)
        for value in model.graph.outputs if layout else ():
            set_layout(value, layout)  # type: ignore[arg-type]
        return model


@pytest.fixture(scope="session")
def build() -> type[GraphBuilder]:
    return GraphBuilder


@pytest.fixture(scope="session")
def ops():
    """The operators of a Model, in graph order."""
    return lambda model: [node.op_type for node in model.graph]


@pytest.fixture(scope="session")
def names():
    """The layers of a Model, in graph order."""
    return lambda model: [node.name for node in model.graph]


def _fill_shapes(model: Model) -> None:
    """Shapes as a Model has them: onnx can't tell what a -1 is where the batch is a symbol."""
    try:
        one, two = (infer_shapes(model.proto, batch) for batch in (1, 2))
    except UnsupportedOpError:
        return
    for value in (value for node in model.graph for value in node.outputs if value.name in one):
        pairs = zip(one[value.name or ""], two[value.name or ""], strict=True)
        value.shape = ir.Shape([a if a == b else BATCH if a == 1 else f"{a}*{BATCH}" for a, b in pairs])


class Speller:
    """Writes a formula in any of the ways that exporters do: order, grouping, shape of figures, factors or divisors."""

    def __init__(self, b: GraphBuilder, data: Any) -> None:
        self.b, self._draw = b, data.draw

    def figure(self, value: float) -> str:
        shape = self._draw(st.sampled_from([(), (1,), (1, 1)]))
        return self.b.constant(np.full(shape, value, np.float32))

    def commuted(self, op_type: str, one: str, other: str) -> str:
        return self.b.op(op_type, *self._draw(st.permutations([one, other])))

    def scaled(self, x: str, by: float) -> str:
        if self._draw(st.booleans()):
            return self.b.op("Div", x, self.figure(1 / by))
        return self.commuted("Mul", x, self.figure(by))

    def shifted(self, x: str, by: float) -> str:
        if self._draw(st.booleans()):
            return self.b.op("Sub", x, self.figure(-by))
        return self.commuted("Add", x, self.figure(by))

    def product(self, *factors: str | float) -> str:
        """The factors in any grouping; at least one of them is a value."""
        parts = list(self._draw(st.permutations(factors)))
        while len(parts) > 1:
            at = self._draw(st.integers(0, len(parts) - 2))
            match parts[at : at + 2]:
                case [str() as one, str() as other]:
                    parts[at : at + 2] = [self.commuted("Mul", one, other)]
                case [str() as x, by] | [by, str() as x]:
                    parts[at : at + 2] = [self.scaled(x, float(by))]
                case [one, other]:
                    parts[at : at + 2] = [float(one) * float(other)]
        return str(parts[0])


@pytest.fixture(scope="session")
def spell() -> type[Speller]:
    return Speller
