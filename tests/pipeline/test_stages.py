"""What decides a stage's result is in its key: also what the model file only points at."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import InvalidInputError
from edgekit.core.recipe import ModelSection
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import Store


def _save(path: Path, scale: float) -> None:
    weight = numpy_helper.from_array(np.full((4, 8), scale, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="dense", transB=1)],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.with_name("weights.bin").unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_changed_external_weights_are_another_model(tmp_path):
    store, path = Store(tmp_path / "store"), tmp_path / "model.onnx"

    def digest(scale: float) -> str:
        _save(path, scale)
        return import_source(store, path, ModelSection(), seed=0).digest

    first = digest(1.0)
    graph = path.read_bytes()
    assert digest(2.0) != first
    assert path.read_bytes() == graph, "the graph's own file says nothing of the change"
    assert digest(1.0) == first
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InvalidInputError, match=r"weights\.bin"):
        import_source(store, path, ModelSection(), seed=0)
