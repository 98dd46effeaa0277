"""Recipes: one schema for the file and the flags, flags win, mistakes are named."""

import pytest

from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.recipe import Recipe
from edgekit.core.recipe_file import load_recipe
from edgekit.core.types import Precision


def _file(tmp_path, text):
    path = tmp_path / "edgekit.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_file(tmp_path):
    file = _file(tmp_path, '[precision]\nprecision = "fp16"\n[gates]\nmax_drop = 2.0\n')
    recipe = load_recipe(file, {"precision": {"precision": "int8"}, "gates": {"max_drop": None}})
    assert recipe.precision.precision is Precision.INT8
    assert recipe.gates.max_drop == 2.0


def test_a_source_on_the_command_line_replaces_the_files_sources(tmp_path):
    file = _file(tmp_path, '[data]\ntrain = "a.npz"\neval = "b.npz"\nnormalize = "0..1"\n')
    recipe = load_recipe(file, {"data": {"none": True}})
    assert (recipe.data.none, recipe.data.train, recipe.data.eval) == (True, None, None)
    assert recipe.data.normalize == "0..1"


def test_paths_in_a_file_are_relative_to_it(tmp_path):
    (tmp_path / "m.onnx").touch()
    (tmp_path / "d.npz").touch()
    recipe = load_recipe(_file(tmp_path, '[model]\npath = "m.onnx"\n[data]\ndata = "d.npz"\n'), {})
    assert recipe.model.path == tmp_path / "m.onnx"
    assert recipe.data.data == str(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[precision]\nprecision = 'int7'\n", "precision.precision"),
        ("[gates]\nmax_dorp = 1\n", "gates.max_dorp"),
        ("[data]\ndata = 'a'\nnone = true\n", "refused at the same time"),
        ("[model]\ninput_shapes = { x = [0, 3] }\n", "positive sizes"),
        ("[model]\nstates = 3\n", "states are pairs"),
        ("[model]\nstates = { h = 3 }\n", "states are pairs"),
        ("[model]\nstates = { h = 'y', c = 'y' }\n", "can't feed two states"),
        ("not toml", "can't be read"),
        ("model = 3\n", "model"),
        ("data = 'photos'\n", "data"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, text, named):
    with pytest.raises(InvalidInputError, match=named) as caught:
        load_recipe(_file(tmp_path, text), {})
    assert caught.value.blame == "your recipe"


def test_a_missing_file_is_an_invalid_input(tmp_path):
    with pytest.raises(InvalidInputError, match="can't be read"):
        load_recipe(tmp_path / "none.toml", {})


def test_contradicting_flags_are_a_usage_error():
    with pytest.raises(UsageError, match="not both --data and --train-data"):
        load_recipe(None, {"data": {"data": "x.npz", "train": "y.npz"}})


@pytest.mark.parametrize("shrink", [{}, {"prune": 0.5}, {"speedup": 2.0}, {"sparsity": "2:4"}])
def test_a_recipe_with_every_key_written_out_is_the_same(shrink):
    recipe = load_recipe(None, {"shrink": shrink})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
