"""What no target takes is said before any work: in the middle of a deep network, by layer, operator and remedy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core import events
from edgekit.core.errors import UnsupportedOpError
from edgekit.pipeline.build import build
from edgekit.pipeline.inspect import inspect

_BOTH = ("raspberry-pi-5", "intel-cpu")
_DEPTH = 200


def _deep(path: Path, op: str, domain: str = "") -> Path:
    """A hundred convolutions and rectifiers, `op` from matrices (n, 8, 8, 8) to (n, 8), and as many dense layers."""
    random = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    last = "x"

    def layer(kind: str, shape: tuple[int, ...], **attributes: Any) -> None:
        nonlocal last
        name = f"layer{len(nodes)}"
        inputs = [last]
        if shape:
            values = random.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(values, f"{name}/weight"))
            inputs.append(f"{name}/weight")
        nodes.append(helper.make_node(kind, inputs, [f"{name}/out"], name=name, **attributes))
        last = f"{name}/out"

    while len(nodes) < _DEPTH // 2:
        layer("Conv", (8, 8, 3, 3), pads=[1, 1, 1, 1])
        layer("Relu", ())
    layer(op, (), domain=domain)
    nodes[-1].name = "the_odd_one"
    while len(nodes) < _DEPTH:
        layer("MatMul", (8, 8))
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 8, 8])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 8])],
        weights,
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.mark.parametrize(("op", "domain"), [("Det", ""), ("Fancy", "com.acme"), ("Fancy", "")])
def test_a_build_that_no_target_takes_ends_before_anything_runs(
    op: str, domain: str, store: Path, tmp_path: Path
) -> None:
    seen: list[events.Event] = []
    flags = {"data": {"none": True}}
    model = str(_deep(tmp_path / "deep.onnx", op, domain))
    with events.listening(seen.append), pytest.raises(UnsupportedOpError, match="the_odd_one") as caught:
        build(model, _BOTH, flags=flags, out=tmp_path / "out")
    assert op in caught.value.cause
    assert op in caught.value.remedy or "Replace it" in caught.value.remedy
    # The import itself was broken off: nothing ran the model, nothing was fused, calibrated, compiled or written.
    assert [(event.kind, event.text) for event in seen] == [("stage", "import deep.onnx")]
    assert not [path for path in store.rglob("*") if path.is_file()]
    assert not (tmp_path / "out").exists()


def test_inspect_exits_3_and_names_layer_operator_and_remedy(
    edgekit: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    model = _deep(tmp_path / "deep.onnx", "Det")
    targets = [word for target in _BOTH for word in ("-t", target)]
    code, out, _ = edgekit("inspect", model, *targets, "--json")
    assert code == UnsupportedOpError.exit_code
    document = json.loads(out)
    assert len(document["layers"]) == _DEPTH
    assert [target["target"] for target in document["targets"]] == list(_BOTH)
    for target in document["targets"]:
        [refused] = target["unsupported"]
        assert (refused["layer"], refused["op"]) == ("the_odd_one", "Det")
        assert refused["remedy"]
    assert [row["name"] for row in document["layers"] if row["unsupported_by"] == list(_BOTH)] == ["the_odd_one"]
    code, out, _ = edgekit("inspect", model, *targets)
    assert code == UnsupportedOpError.exit_code
    assert "the_odd_one (Det): " in out


def test_inspect_says_how_often_each_rule_of_fusion_fired(
    edgekit: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Mul", ["c", "two"], ["m"], name="scale"),
        helper.make_node("Transpose", ["m"], ["t"], name="there", perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["t"], ["b"], name="back", perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["b"], ["y"], name="act"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [
            numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"),
            numpy_helper.from_array(np.full((), 2, np.float32), "two"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    code, out, _ = edgekit("inspect", tmp_path / "m.onnx", "--json")
    fusion = json.loads(out)["fusion"]
    assert code == 0
    assert (fusion["nodes_before"], fusion["nodes_after"]) == (5, 2)
    assert fusion["rules"]["cancel-transposes"] >= 1
    assert "eliminate-duplicates" in fusion["rules"]
    _, out, _ = edgekit("inspect", tmp_path / "m.onnx")
    assert "fused: 5 → 2 nodes: " in out
    assert "cancel-transposes " in out


def test_inspecting_an_onnx_file_imports_no_tensorflow(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child finds a TensorFlow and a Keras that can't be imported, and never notices."""
    for name in ("tensorflow", "keras", "tf_keras", "openvino"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    inspection = inspect(str(_deep(tmp_path / "deep.onnx", "Det")), _BOTH)
    assert len(inspection.layers) == _DEPTH


def test_a_build_after_an_inspection_imports_nothing_again(store: Path, tmp_path: Path) -> None:
    model = str(_deep(tmp_path / "deep.onnx", "Det"))
    inspect(model, _BOTH)
    seen: list[events.Event] = []
    with events.listening(seen.append), pytest.raises(UnsupportedOpError):
        build(model, _BOTH, flags={"data": {"none": True}}, out=tmp_path / "out")
    assert [(event.text, event.cached) for event in seen if event.kind == "done"] == [
        ("import deep.onnx", True),
        ("fuse operators", True),
    ]
