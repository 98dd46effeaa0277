"""The recipe that `edgekit init` writes: whole, valid, and asking for nothing that a build wouldn't do anyway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.core.recipe import GateSection, Recipe
from edgekit.core.recipe_file import load_recipe
from edgekit.pipeline.init import has_data


def test_a_written_recipe_is_a_build_of_defaults(edgekit: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        "small",
        [tensor("x", onnx.TensorProto.FLOAT, ("n", 4))],
        [tensor("y", onnx.TensorProto.FLOAT, ("n", 3))],
        [numpy_helper.from_array(np.ones((4, 3), np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    file = tmp_path / "recipes" / "edgekit.toml"
    code, out, err = edgekit("init", tmp_path / "m.onnx", "--out", file)
    assert (code, out) == (0, "")
    assert f"--config {file} --data FOLDER" in err
    recipe, text = load_recipe(file, {}), file.read_text()
    assert recipe.model.path is not None
    assert recipe.model.path.samefile(tmp_path / "m.onnx")
    # A gate that a recipe asks for must be proven: on a board that is not at hand, the build would exit 12.
    assert recipe.gates == GateSection()
    assert recipe.model_copy(update={"model": Recipe().model}) == Recipe()
    assert not has_data(text)
    keys = {key for section in Recipe.model_fields.values() for key in section.default.__class__.model_fields}
    assert [key for key in sorted(keys - {"none", "input_shapes"}) if f"{key} = " not in text] == []
    assert edgekit("init", tmp_path / "m.onnx", "--out", file)[0] == 2
    assert edgekit("init", tmp_path / "m.onnx", "--out", tmp_path, "--force")[0] == 2
