"""The pruning stage: what the pipeline calls in a child process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import events
from edgekit.ir.cost import model_cost
from edgekit.ir.model import Model
from edgekit.ir.quantization import forget_quant_params
from edgekit.passes.contract import apply
from edgekit.passes.prune.channel_pruning import PruneChannels
from edgekit.passes.prune.dependencies import analyse, plain
from edgekit.passes.prune.hardware_aware import TimeLimit
from edgekit.passes.prune.importance import Evidence
from edgekit.passes.prune.request import Pruning
from edgekit.passes.prune.schedule import Choice, Schedule
from edgekit.passes.prune.times import Clock, Times

__all__ = ["prune_model"]


def prune_model(
    source: str, out: str, pruning: Pruning, *, samples: str, targets: str | None, seed: int
) -> dict[str, Any]:
    """Prune the Model in the file `source`, and write it as `model.onnx` to the folder `out`.

    Args:
        source: path of the imported Model.
        out: an existing folder.
        pruning: how.
        samples: an .npz of calibration samples by input name.
        targets: an .npz of their labels by output name, or None.
        seed: of whatever is random.

    Returns:
        `kept`: of each step how many channels of each group stay; `multiple`: the least that was kept to; `groups`:
        name, kept and channels before of each that lost some; `left`: the share of the MACs that is left; `predicted`:
        how many times as fast `times` say that it is, or None without.

    Raises:
        InvalidInputError: nothing can go, or not that much.
    """
    model = Model.load(Path(source))
    forget_quant_params(model)  # the ranges of a source that is quantized include channels that go
    model = dense = plain(model)
    evidence = Evidence(_arrays(samples), _arrays(targets) if targets else {}, seed)
    groups, macs = analyse(model).groups, model_cost(dense).macs
    clock = Clock.of(dense, pruning.times) if pruning.times else None
    choices: list[Choice] = []
    for step in range(1, pruning.steps + 1):
        events.progress(f"pruning step {step} of {pruning.steps}", (step - 1) / pruning.steps)
        each = PruneChannels(
            _amount(pruning, clock, step, model_cost(model).macs / macs),
            evidence,
            measure=pruning.importance,
            schedule=Schedule(pruning.schedule),
            multiple=pruning.multiple,
        )
        model, _ = apply(model, [each], seed)
        assert each.choice is not None
        choices.append(each.choice)
    model.save(Path(out, "model.onnx"))
    return {
        "kept": [choice.kept for choice in choices],
        "multiple": min(choice.multiple for choice in choices),
        "groups": [
            {"name": group.name, "kept": left, "channels": group.size}
            for group, left in zip(groups, choices[-1].kept, strict=True)
            if left < group.size
        ],
        "left": model_cost(model).macs / macs,
        "predicted": clock.whole / Times(model, analyse(model), clock)() if clock else None,
    }


def _amount(pruning: Pruning, clock: Clock | None, step: int, left: float) -> float | TimeLimit | Sequence[int]:
    """What a step takes of a network that has the share `left` of its MACs: each takes the same share of what is left.

    Reckoned from what is left, so that the misses of the steps don't add up.
    """
    if pruning.kept:
        return pruning.kept[step - 1]
    if clock is not None:
        assert pruning.share is not None
        return TimeLimit(clock, clock.whole * pruning.share ** (step / pruning.steps))
    assert pruning.prune is not None
    target: float = (1 - pruning.prune) ** (step / pruning.steps)
    return 1 - target / left


def _arrays(path: str) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
