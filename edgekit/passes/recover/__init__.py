"""Recovery: train a compressed network on the user's data, with labels or none, until it is as good as it was."""

from __future__ import annotations

from edgekit.passes.recover.recovery import recover_model, repeatable
from edgekit.passes.recover.samples import Samples
from edgekit.passes.recover.settings import (
    Augment,
    BatchNorm,
    Epoch,
    Hint,
    LearningCurve,
    Optimizer,
    RecoverSettings,
    Schedule,
)

__all__ = [
    "Augment", "BatchNorm", "Epoch", "Hint", "LearningCurve", "Optimizer", "RecoverSettings", "Samples", "Schedule",
    "recover_model", "repeatable",
]  # fmt: skip
