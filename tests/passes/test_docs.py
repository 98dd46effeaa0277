"""The page that teaches how to write a pass shows one that works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.ir.model import IR_VERSION, OPSET, Model
from edgekit.passes.contract import apply

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-pass.md"


def test_the_pass_on_the_page_holds_its_claim() -> None:
    code = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)[0]
    scope: dict[str, object] = {"__name__": "page"}
    exec(code, scope)
    pass_class = scope["MultiplyByInverse"]
    x, y = (ir.val(name, ir.DataType.FLOAT, ["batch", 4]) for name in "xy")
    divisor = ir.val("c", const_value=ir.tensor(np.array([3, 5, 7, 9], np.float32), name="c"))
    node = ir.node("Div", [x, divisor], outputs=[y], name="scale")
    graph = ir.Graph([x], [y], nodes=[node], initializers=[divisor], opset_imports={"": OPSET}, name="g")
    model, (record,) = apply(Model(ir.Model(graph, ir_version=IR_VERSION)), [pass_class()], seed=0)  # type: ignore[operator]
    assert [node.op_type for node in model.graph] == ["Mul"]
    assert record.fired == 1
