"""Fusion: the same function with fewer nodes. Every pass here keeps the function; the framework checks that."""

from __future__ import annotations

from edgekit.passes.contract import Pass
from edgekit.passes.fuse.affine import FoldAffine
from edgekit.passes.fuse.clips import MergeClips
from edgekit.passes.fuse.gelu import FuseGelu
from edgekit.passes.fuse.hard_swish import FuseHardSigmoid, FuseHardSwish
from edgekit.passes.fuse.layer_norm import FuseLayerNorm
from edgekit.passes.fuse.no_ops import EliminateNoOps
from edgekit.passes.fuse.pixel_shuffle import FusePixelShuffle
from edgekit.passes.fuse.prescale import FoldPrescale
from edgekit.passes.fuse.reshapes import MergeReshapes
from edgekit.passes.fuse.stock import (
    EliminateDuplicates,
    FoldConstants,
    FoldPad,
    LiftConstants,
    RemoveDeadNodes,
)
from edgekit.passes.fuse.swish import FuseSwish
from edgekit.passes.fuse.transposes import CancelTransposes
from edgekit.passes.fuse.upsampling import FuseUpsampling

__all__ = ["FUSION", "STRUCTURE"]

# In the order in which they run, again and again until none finds anything to do.
FUSION: tuple[Pass, ...] = (
    LiftConstants(),
    FoldConstants(),
    EliminateNoOps(),
    CancelTransposes(),
    MergeClips(),
    FuseHardSwish(),
    FuseHardSigmoid(),
    FuseSwish(),
    FuseGelu(),
    FuseLayerNorm(),
    FusePixelShuffle(),
    FuseUpsampling(),
    FoldPad(),
    FoldAffine(),
    FoldPrescale(),
    MergeReshapes(),
    EliminateDuplicates(),
    RemoveDeadNodes(),
)

# What makes the structure plain and leaves each layer's weights and BatchNormalization as they were trained.
STRUCTURE: tuple[Pass, ...] = tuple(each for each in FUSION if not isinstance(each, FoldAffine | FoldPrescale))
