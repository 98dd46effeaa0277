"""What each layer's int8 alone costs, measured once on the Model, layer by layer: who is to blame, and what to lift."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import events
from edgekit.core.digest import digest_file
from edgekit.core.sensitivity import Cost, LayerCost
from edgekit.core.types import TensorSpec, from_json, to_json
from edgekit.pipeline import child
from edgekit.pipeline.stages import SourceModel, tool_versions
from edgekit.pipeline.store import Store

__all__ = ["measure_sensitivity", "sensitivity"]

_MOST_SAMPLES, _FEWEST_SAMPLES = 512, 32
# What all runs of all layers may come to, and what they may hold in memory.
_MACS = 6e12
_BYTES = 1 << 30
_TOOLS = ("numpy", "onnx", "onnx-ir", "onnxruntime")


def sensitivity(
    store: Store, model: SourceModel, *, calibration: Path, samples: Path, targets: Path | None
) -> tuple[LayerCost, ...]:
    """What each layer's int8 alone costs, the worst first: by SQNR of the layer with what it reads and makes.

    Found out in a child process, and kept in the store; one that was killed goes on with the layer where it was.

    Args:
        model: a fused one. Where it says how values are stored, that is how they are rounded.
        calibration: an .npz of single samples by input name that show the ranges.
        samples: one of samples to judge on; 32 to 512 of them are taken, the fewer the more the network has to do.
        targets: one of their labels, if there are any.
    """
    inputs = {
        "model": model.digest,
        "calibration": digest_file(calibration),
        "samples": digest_file(samples),
        "targets": digest_file(targets) if targets else None,
        "most": [_MOST_SAMPLES, _FEWEST_SAMPLES, _MACS, _BYTES],
        "tools": tool_versions(_TOOLS),
    }

    def work(_: Path, workdir: Path) -> Any:
        return child.call(
            "edgekit.pipeline.sensitivity:measure_sensitivity",
            {
                "source": str(model.path),
                "calibration": str(calibration),
                "samples": str(samples),
                "targets": str(targets) if targets else None,
                "outputs": model.judged_outputs,
                "activations": dict(model.activations),
                "workdir": str(workdir),
            },
            what="measuring what int8 costs each layer",
            blame="your model",
        )

    entry = store.make_resumable("sensitivity", "measure what int8 costs each layer", inputs, work)
    costs: tuple[LayerCost, ...] = from_json(tuple[LayerCost, ...], entry.value["layers"])
    return tuple(sorted(costs, key=lambda cost: cost.sqnr_db))


def measure_sensitivity(  # noqa: PLR0917 - a stage's arguments
    source: str,
    calibration: str,
    samples: str,
    targets: str | None,
    outputs: Sequence[Any],
    activations: dict[str, str | None],
    workdir: str,
) -> dict[str, Any]:
    """`sensitivity` in its child: the costs in the order of the layers, each kept in `workdir` as soon as it is known.

    Returns:
        `layers`, and the number of `samples` that were judged on.
    """
    from edgekit.data.metrics.change import change_figures
    from edgekit.ir.cost import model_cost
    from edgekit.ir.model import Model
    from edgekit.ir.run import Arrays
    from edgekit.passes.quantize.ranges import measure_ranges
    from edgekit.passes.quantize.sensitivity import float_answers, layer_costs
    from edgekit.passes.quantize.storing import naive_storing

    model = Model.load(Path(source))
    specs = from_json(tuple[TensorSpec, ...], outputs)
    storing = naive_storing(model, measure_ranges(model, _load(calibration, None)))
    cost = model_cost(model)
    most = _sample_count(cost.macs, len(cost.layers), cost.peak_bytes)
    arrays, truth = _load(samples, most), _load(targets, most) if targets else {}
    reference = float_answers(model, arrays)

    def judge(answers: Arrays, rounded: Collection[str]) -> Cost:
        return Cost(*change_figures(reference, answers, truth, specs, activations=activations, rounded=rounded))

    folder = Path(workdir)
    known = {each.layer: each for each in map(_read, folder.glob("*.json"))}
    found, total = [], sum(layer.macs for layer in cost.layers) or 1
    weight = {layer.name: layer.macs / total for layer in cost.layers}
    done = 0.0
    for number, each in enumerate(layer_costs(model, arrays, storing, judge, known)):
        found.append(each)
        _keep(each, folder / f"{number}.json")
        done += weight.get(each.layer, 0.0)
        # What lies behind a layer is computed again for it: the first ones take longest.
        events.progress(each.layer, 1 - (1 - min(done, 1.0)) ** 2)
    return {"layers": to_json(found), "samples": len(next(iter(arrays.values())))}


def _sample_count(macs: int, layers: int, live_bytes: int) -> int:
    """How many samples to judge on: each layer needs three runs of half the network, on average."""
    affordable = _MACS / max(1.5 * layers * macs, 1.0)
    holdable = _BYTES / max(live_bytes, 1)
    return max(_FEWEST_SAMPLES, min(_MOST_SAMPLES, int(affordable), int(holdable)))


def _load(path: str, most: int | None) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name][:most] for name in archive.files}


def _keep(cost: LayerCost, file: Path) -> None:
    """Written beside and renamed: what is there is whole."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(to_json(cost)))
    partial.rename(file)


def _read(file: Path) -> LayerCost:
    found: LayerCost = from_json(LayerCost, json.loads(file.read_text()))
    return found
