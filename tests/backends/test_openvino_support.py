"""The list of ops that OpenVINO can't take, held against the installed OpenVINO."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgekit.backends.openvino.support import UNSUPPORTED

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
