"""The list of ops that OpenVINO can't take, held against the installed OpenVINO."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends.openvino.support import UNSUPPORTED, misread_form
from edgekit.ir.model import IR_VERSION, OPSET

_ASK = """
import json, sys
sys.modules["openvino_telemetry"] = None
import openvino
from onnx import TensorProto, defs, helper
from edgekit.ir.model import OPSET

def without_rule(name):
    schema = defs.get_schema(name, OPSET)
    inputs = ["x%d" % i for i in range(max(1, schema.min_input))] if schema.max_input else []
    outputs = ["y%d" % i for i in range(max(1, schema.min_output))]
    infos = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 3, 4, 4]) for x in inputs]
    results = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in outputs]
    graph = helper.make_graph([helper.make_node(name, inputs, outputs, "layer")], "one", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    try:
        openvino.Core().read_model(model.SerializeToString())
    except Exception as error:
        return "No conversion rule" in str(error)
    return False

known = defs.get_all_schemas_with_history()
names = {schema.name for schema in known if not schema.domain and schema.since_version <= OPSET}
deprecated = {name for name in names if defs.get_schema(name, OPSET).deprecated}
print(json.dumps(sorted(name for name in names - deprecated if without_rule(name))))
"""


def test_the_list_is_what_openvino_itself_says(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(_ASK)
    told = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    assert told.stdout.strip().replace('"', "'") == str(sorted(UNSUPPORTED))


_random = np.random.default_rng(0)
_LSTM = {
    name: _random.normal(0, 0.5, shape).astype(np.float32)
    for name, shape in (("w", (1, 12, 2)), ("r", (1, 12, 3)), ("b", (1, 24)), ("p", (1, 9)))
}
_HALF = {"s": np.array([1, 1, 0.5, 0.5], np.float32)}
_MISREAD: dict[str, tuple[onnx.NodeProto, list[int], dict[str, Any]]] = {
    "wrapping around": (
        helper.make_node("Pad", ["x", "pads"], ["y"], mode="wrap"),
        [1, 2, 4, 4],
        {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
    ),
    "antialiased": (
        helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear", antialias=1),
        [1, 2, 8, 8],
        _HALF,
    ),
    "outside": (
        helper.make_node("Resize", ["x", "", "s"], ["y"], mode="cubic", exclude_outside=1),
        [1, 2, 8, 8],
        _HALF,
    ),
    "peepholes": (
        helper.make_node("LSTM", ["x", "w", "r", "b", "", "", "", "p"], ["y"], hidden_size=3),
        [4, 1, 2],
        _LSTM,
    ),
}
_RUN = """
import sys
import numpy as np
sys.modules["openvino_telemetry"] = None
import openvino
x = np.load(sys.argv[2])
model = openvino.Core().compile_model(openvino.convert_model(sys.argv[1]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.save(sys.argv[3], model(x)[0])
"""


@pytest.mark.parametrize("form", _MISREAD)
def test_what_openvino_misreads_is_refused_for_as_long_as_it_does(form: str, tmp_path: Path) -> None:
    from edgekit.ir.run import run_bytes

    node, shape, constants = _MISREAD[form]
    used = {name: value for name, value in constants.items() if name in node.input}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in used.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    (read,) = ir.from_proto(model).graph
    told = misread_form(read)
    assert told is not None
    assert form in told
    x = _random.standard_normal(shape, np.float32)
    wanted = run_bytes(model.SerializeToString(), {"x": x})["y"]
    paths = [tmp_path / name for name in ("model.onnx", "x.npy", "y.npy")]
    onnx.save(model, paths[0])
    np.save(paths[1], x)
    done = subprocess.run([sys.executable, "-c", _RUN, *paths], capture_output=True, check=False)
    assert done.returncode != 0 or np.abs(np.load(paths[2]) - wanted).max() > 1e-3, "OpenVINO takes it now"
