"""Keras' optimizers on the lowered network's variables, and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgekit.passes.recover.settings import Epoch, Optimizer, RecoverSettings, Schedule

__all__ = ["learning_rate", "make_optimizer"]

_PATIENCE = 3  # epochs without improvement before a plateau halves the rate
_LAST = 0.01  # of the highest rate, where a cosine ends


def make_optimizer(settings: RecoverSettings, variables: Sequence[Any], undecayed: Sequence[Any]) -> Any:
    """The optimizer, built for `variables`; those in `undecayed` are left out of AdamW's weight decay."""
    from edgekit.lowering import lazy_tf as tf

    keras = tf.keras.optimizers
    common = {"learning_rate": 0.0, "global_clipnorm": settings.clip}
    match settings.optimizer:
        case Optimizer.SGD:
            made = keras.SGD(momentum=settings.momentum, nesterov=settings.nesterov, **common)
        case Optimizer.RMSPROP:
            made = keras.RMSprop(momentum=settings.momentum, **common)
        case Optimizer.ADAM:
            made = keras.Adam(**common)
        case Optimizer.ADAMW:
            made = keras.AdamW(weight_decay=settings.weight_decay, **common)
            made.exclude_from_weight_decay(var_list=list(undecayed))
    made.build(list(variables))
    return made


def learning_rate(settings: RecoverSettings, highest: float, step: int, steps: int, curve: Sequence[Epoch]) -> float:
    """The rate of one step.

    Args:
        settings: its schedule and warm-up.
        highest: the rate where the warm-up ends.
        step: from 0.
        steps: of the whole training.
        curve: the epochs so far, which a plateau goes by.
    """
    warm = min(max(round(settings.warmup * steps), 1), steps)
    if step < warm:
        return highest * (step + 1) / warm
    if settings.schedule is Schedule.COSINE:
        part = (step - warm) / max(steps - warm, 1)
        return highest * (_LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * part)))
    if settings.schedule is Schedule.PLATEAU:
        return highest * 0.5 ** _plateaus(curve)
    return highest


def _plateaus(curve: Sequence[Epoch]) -> int:
    """How often `_PATIENCE` epochs in a row brought the loss on the selection split no lower."""
    best, waited, found = math.inf, 0, 0
    for epoch in curve:
        waited = 0 if epoch.selection_loss < best else waited + 1
        best = min(best, epoch.selection_loss)
        if waited == _PATIENCE:
            waited, found = 0, found + 1
    return found
