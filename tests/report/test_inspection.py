"""An inspection tells a model's cost and each target's limits, survives JSON, and imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgekit.ir.model import Model
from edgekit.report.inspection import inspect_model


@pytest.fixture
def model() -> Model:
    """A convolution, a sine that hardly any target takes, and a Relu."""
    weights = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Sin", ["c"], ["s"], name="wave"),
        helper.make_node("Relu", ["s"], ["y"], name="act"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, 4, 4])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [weights])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return Model(ir.from_proto(onnx.shape_inference.infer_shapes(proto)))


def test_layers_and_totals(model: Model) -> None:
    inspection = inspect_model(model)
    assert [(row.name, row.op, row.shape) for row in inspection.layers] == [
        ("conv", "Conv", (1, 8, 4, 4)),
        ("wave", "Sin", (1, 8, 4, 4)),
        ("act", "Relu", (1, 8, 4, 4)),
    ]
    assert (inspection.macs, inspection.params, inspection.weight_bytes) == (8 * 16 * 27, 216, 864)
    assert (inspection.peak_bytes, inspection.peak_layer) == (1024, "wave")
    assert inspection.layers[0].macs_share == 1
    assert inspection.ops == (("Conv", 1), ("Relu", 1), ("Sin", 1))
    assert not inspection.unsupported


def test_each_target_says_what_it_cannot_take_and_what_to_do(model: Model) -> None:
    remedy = "Replace the sine by a table."
    inspection = inspect_model(model, {"pi": [], "tiny": [("wave", "Sin", remedy)], "other": [("wave", "Sin", remedy)]})
    assert [fit.takes_all for fit in inspection.targets] == [True, False, False]
    assert [row.unsupported_by for row in inspection.layers] == [(), ("tiny", "other"), ()]
    assert [(each.layer, each.op, each.remedy) for each in inspection.unsupported] == [("wave", "Sin", remedy)] * 2


def test_json_says_the_same(model: Model) -> None:
    inspection = inspect_model(model, {"tiny": [("wave", "Sin", "Don't.")]})
    data = json.loads(json.dumps(inspection.to_json(), allow_nan=False))
    assert data["macs"] == inspection.macs
    assert data["layers"][1]["unsupported_by"] == ["tiny"]
    assert data["targets"][0]["unsupported"] == [{"layer": "wave", "op": "Sin", "remedy": "Don't."}]
    assert data["ops"] == {"Conv": 1, "Relu": 1, "Sin": 1}
    assert data["inputs"][0]["shape"] == [None, 3, 4, 4]


def test_a_model_without_products_has_no_shares() -> None:
    x = ir.val("x", ir.DataType.FLOAT, ["batch", 4])
    y = ir.val("y", ir.DataType.FLOAT, ["batch", 4])
    graph = ir.Graph([x], [y], nodes=[ir.node("Relu", [x], outputs=[y], name="r")], opset_imports={"": 18}, name="g")
    assert inspect_model(Model(ir.Model(graph, ir_version=10))).layers[0].macs_share == 0


def test_it_runs_no_ml_runtime(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model.save(path)
    program = (
        "import sys; from pathlib import Path; from edgekit.ir.model import Model\n"
        "from edgekit.report.inspection import inspect_model; inspect_model(Model.load(Path(sys.argv[1])))\n"
        "print({'onnxruntime', 'onnxscript', 'onnxslim', 'tensorflow', 'openvino'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
