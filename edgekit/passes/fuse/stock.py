"""ONNX IR's passes and ONNX Script's rules under our contract: constants, duplicates, dead nodes, Pad.

onnxslim finds nothing in what the family leaves of eleven networks, a transformer among them, loses value metadata, and
names a folded convolution after its BatchNormalization; ONNX Runtime's extended optimisations write operators of its
own. Neither is used.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules import common as rules

from edgekit.passes.fuse.rule_pass import InPlacePass, RulePass

__all__ = [
    "EliminateDuplicates",
    "FoldConstants",
    "FoldPad",
    "LiftConstants",
    "RemoveDeadNodes",
]

# A constant that folding makes may be this large (elements) beyond what it replaces.
_LARGEST_FOLDED = 1 << 20
_ANY_SIZE = 1 << 62


class LiftConstants(InPlacePass):
    """Turns Constant nodes into initializers."""

    name = "lift-constants"

    def transform(self, model: ir.Model) -> int:
        """Lift all of them, whatever their size."""
        return _shrinkage(model, common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0))


class FoldConstants(InPlacePass):
    """Computes what depends on constants and static shapes alone."""

    name = "fold-constants"

    def transform(self, model: ir.Model) -> int:
        """Fold, and lift what comes out as Constant nodes."""
        before = len(model.graph)
        result = optimizer.fold_constants(
            model, onnx_shape_inference=False, input_size_limit=_ANY_SIZE, output_size_limit=_LARGEST_FOLDED
        )
        if not result.modified:
            return 0
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        return max(before - len(model.graph), 1)


class EliminateDuplicates(InPlacePass):
    """Keeps one of several nodes that compute the same, and one of several equal initializers."""

    name = "eliminate-duplicates"

    def transform(self, model: ir.Model) -> int:
        """Initializers first: nodes that differ only in which copy they read become duplicates."""
        return _shrinkage(
            model,
            common.DeduplicateHashedInitializersPass(size_limit=_ANY_SIZE),
            common.CommonSubexpressionEliminationPass(),
        )


class FoldPad(RulePass):
    """Folds a Pad by constant zeros into the Conv behind it, whose own padding becomes explicit.

    Negative pads, other modes and other values are left alone by the rules.
    """

    name = "fold-pad"
    rules = RewriteRuleSet([rules.normalize_pad_format_conv_rule, rules.fuse_pad_into_conv_rule])


class RemoveDeadNodes(InPlacePass):
    """Removes nodes, initializers and opsets that no output needs."""

    name = "remove-dead-nodes"

    def transform(self, model: ir.Model) -> int:
        """Graph inputs stay, needed or not."""
        return _shrinkage(model, common.RemoveUnusedNodesPass(), common.RemoveUnusedOpsetsPass())


def _shrinkage(model: ir.Model, *passes: ir.passes.InPlacePass) -> int:
    """Run `passes`; how many nodes and initializers went, at least 1 if anything changed."""
    before = len(model.graph) + len(model.graph.initializers)
    modified = sum(each(model).modified for each in passes)
    return max(before - len(model.graph) - len(model.graph.initializers), 1) if modified else 0
