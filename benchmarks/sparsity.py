"""What sparsity and clustering cost and buy, before any recovery: a table.

    EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.sparsity

ResNet-8 and digits-cnn. Two columns of top-1 are of the float network on the report split (at most 1,000 samples, ± 3
points), before and after its layers are brought back to their outputs. The rest is of int8 builds for a TFLite and an
OpenVINO target, judged on the whole report split: the file, the download and its share of the dense float artifact's,
and the CPU time beside the same network with all of its weights in the same precision, on this machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.models import prepare
from benchmarks.pruning_importance import Case, case
from edgekit.core.recipe import DataSection, ModelSection
from edgekit.core.recipe_file import load_recipe
from edgekit.ir.model import Model
from edgekit.passes.cluster.clustering import ClusterWeights
from edgekit.passes.contract import Pass, apply
from edgekit.passes.correction import CorrectOutputs
from edgekit.passes.sparsify.sparsify import Sparsify
from edgekit.pipeline.build import build
from edgekit.pipeline.stages import fuse, import_source
from edgekit.pipeline.store import default_store
from edgekit.pipeline.zoo import find_model

TARGETS = ("raspberry-pi-4", "intel-cpu")
SHRINK: Mapping[str, Mapping[str, Any]] = {
    "as they are": {},
    "0.5 global": {"sparsity": 0.5, "pattern": "global"},
    "0.5 magnitude": {"sparsity": 0.5, "pattern": "magnitude"},
    "2:4": {"sparsity": "2:4"},
    "0.5 block": {"sparsity": 0.5, "pattern": "block"},
    "0.5 random": {"sparsity": 0.5, "pattern": "random"},
    "0.8 global": {"sparsity": 0.8, "pattern": "global"},
    "16 clusters": {"clusters": 16},
    "32 clusters": {"clusters": 32},
    "0.5 global, 32 clusters": {"sparsity": 0.5, "pattern": "global", "clusters": 32},
}


def main() -> None:
    """Print the table."""
    print(
        "| model | weights | top-1 float | corrected | runtime | top-1 int8 | file bytes | download | of float"
        " | time ÷ all weights |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name, model, data, judged in cases(home):
            for how, shrink in SHRINK.items():
                plain, corrected = on_float(judged, shrink)
                flags = {"data": data, "shrink": shrink, "precision": {"precision": "int8"}}
                for target in build(model, TARGETS, flags=flags, out=home / "out" / name / how).targets:
                    assert target.error is None
                    assert target.download_bytes
                    assert target.float_download_bytes
                    ratio = target.thinned.filled_ratio if target.thinned else None
                    cells = (
                        name, how, f"{plain:.1f}", f"{corrected:.1f}", target.backend,
                        f"{target.metrics[0].artifact:.1f}", f"{target.bytes:,}", f"{target.download_bytes:,}",
                        f"{target.download_bytes / target.float_download_bytes:.3f}",
                        f"{ratio:.2f}" if ratio else "",
                    )  # fmt: skip
                    print("|", " | ".join(cells), "|", flush=True)


def cases(home: Path) -> Iterator[tuple[str, str, Mapping[str, Any], Case]]:
    """The models: name, what `build` calls it, the data of the recipe, and the float network to judge."""
    path, data = prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), home)["ResNet-8"]
    yield "ResNet-8", str(path), data, fused(path, ModelSection(), DataSection.model_validate(data))
    named = find_model("digits-cnn")
    recipe = load_recipe(named.recipe, {})
    yield "digits-cnn", "digits-cnn", {}, fused(named.path, recipe.model, recipe.data)


def fused(path: Path, options: ModelSection, data: DataSection) -> Case:
    """The network as its weights are when they are thinned out: BatchNormalizations are in them."""
    store = default_store()
    model = fuse(store, import_source(store, path, options, seed=0), 0)
    return replace(case(path, options, data), model=Model.load(model.path))


def on_float(judged: Case, shrink: Mapping[str, Any]) -> tuple[float, float]:
    """Top-1 of the float network, before and after correction."""
    passes: list[Pass] = []
    if "sparsity" in shrink:
        passes.append(Sparsify(shrink["sparsity"], pattern=shrink.get("pattern", "global")))
    if "clusters" in shrink:
        passes.append(ClusterWeights(shrink["clusters"]))
    thinned, _ = apply(judged.model, passes, seed=0)
    corrected, _ = apply(thinned, [CorrectOutputs(judged.model, judged.evidence.samples)] if passes else [], seed=0)
    return judged.top1(thinned), judged.top1(corrected)


if __name__ == "__main__":
    main()
