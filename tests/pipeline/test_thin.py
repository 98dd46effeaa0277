"""Builds with sparse and clustered weights: a smaller download, the same work, and a plain word about speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from edgekit.cli.tables import print_build
from edgekit.core.errors import UsageError
from edgekit.core.recipe import ShrinkSection
from edgekit.core.recipe_file import load_recipe
from edgekit.passes.sparsify.sparsify import PATTERNS
from edgekit.pipeline.build import build

_TARGET = "intel-cpu"


@pytest.fixture(scope="module")
def thinned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Pruned before: then the artifact is timed beside two others of its precision."""
    out = tmp_path_factory.mktemp("thinned") / "out"
    shrink = {"prune": 0.5, "importance": "l2", "sparsity": 0.6, "clusters": 16}
    flags: Any = {"shrink": shrink, "precision": {"precision": "int8"}}
    return out, build("digits-cnn", [_TARGET], flags=flags, out=out)


def test_the_download_shrinks_and_the_work_is_that_of_the_pruned_network(thinned):
    target = thinned[1].targets[0]
    assert target.error is None
    assert target.download_bytes < 0.5 * target.bytes
    assert target.download_bytes < 0.12 * target.float_download_bytes
    assert target.pruned.macs == pytest.approx(0.5, abs=0.03)
    assert target.metrics[0].drop < 1


def test_each_layer_says_what_became_of_its_weights(thinned):
    out, report = thinned
    target = report.targets[0]
    assert target.thinned.sparsity == pytest.approx(0.6, abs=0.01)
    for layer in target.thinned.layers:
        assert 0 < layer["zeros"] < layer["weights"]
        assert layer["code_book"] == 16
    manifest = json.loads((out / _TARGET / "manifest.json").read_text())
    assert manifest["thinned"]["sparsity"] == target.thinned.sparsity
    assert "filled_ratio" not in manifest["thinned"]
    assert manifest["artifact"]["download_bytes"] == target.download_bytes


def test_the_table_says_what_sparsity_buys_beside_what_pruning_buys(thinned, capsys):
    target = thinned[1].targets[0]
    assert target.thinned.filled_ratio != target.pruned.dense_ratio
    print_build(thinned[1])
    shown = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
    assert "60.0 % of the weights are zero" in shown
    assert ("buys no speed on this runtime" in shown) is (target.thinned.filled_ratio >= 0.98)


@pytest.mark.parametrize(
    ("shrink", "said"),
    [
        ({"sparsity": 0.0}, "neither a share"),
        ({"sparsity": "1"}, "neither a share"),
        ({"sparsity": -0.5}, "neither a share"),
        ({"sparsity": float("nan")}, "neither a share"),
        ({"sparsity": "4:2"}, "neither a share"),
        ({"sparsity": "2:128"}, "neither a share"),
        ({"sparsity": 0.5, "pattern": "stripes"}, "pattern"),
        ({"sparsity": "2:4", "pattern": "block"}, "give the share"),
        ({"pattern": "block"}, "give the share"),
        ({"clusters": 0}, "clusters"),
        ({"clusters": 1}, "clusters"),
        ({"clusters": 257}, "clusters"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(shrink, said):
    with pytest.raises(UsageError, match=said):
        load_recipe(None, {"shrink": shrink})


def test_the_recipe_knows_every_pattern():
    assert set(get_args(ShrinkSection.model_fields["pattern"].annotation)) == set(PATTERNS)
    shrink = load_recipe(None, {"shrink": {"sparsity": "0.5", "pattern": "block"}}).shrink
    assert shrink.sparsity == 0.5
