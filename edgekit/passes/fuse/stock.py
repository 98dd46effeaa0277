"""ONNX IR's passes and ONNX Script's rules under our contract: constants, duplicates, dead nodes, Pad, Reshape.

What they leave undone is put right here: a node that they make takes the name of the node whose result it gives, graph
outputs keep their layout and other metadata, and the notes that they leave in a node's metadata go.

onnxslim finds nothing in what the family leaves of five real networks, loses value metadata, and names a folded
convolution after its BatchNormalization; ONNX Runtime's extended optimisations write operators of its own. Neither is
used.
"""

from __future__ import annotations

import abc

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules import common as rules

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult

__all__ = [
    "EliminateDuplicates",
    "FoldConstants",
    "FoldPad",
    "LiftConstants",
    "MergeReshapes",
    "RemoveDeadNodes",
]

# A constant that folding makes may be this large (elements) beyond what it replaces.
_LARGEST_FOLDED = 1 << 20
_ANY_SIZE = 1 << 62


class _StockPass(Pass):
    """A pass around stock code that changes a graph in place."""

    @abc.abstractmethod
    def transform(self, model: ir.Model) -> int:
        """Change `model`; how often something was found, as well as the stock code can tell."""

    def call(self, model: Model) -> PassResult:
        """Transform, then put names and metadata right."""
        nodes = set(model.graph)
        names = {value.name: node.name for node in model.graph for value in node.outputs}
        metadata = [dict(value.metadata_props) for value in model.graph.outputs]
        fired = self.transform(model.proto)
        for node in model.graph:
            if node not in nodes:
                node.name = names.get(node.outputs[0].name) or node.outputs[0].name
                node.metadata_props.clear()
        for value, kept in zip(model.graph.outputs, metadata, strict=True):
            value.metadata_props.update(kept)
        return PassResult(model, fired)


class LiftConstants(_StockPass):
    """Turns Constant nodes into initializers."""

    name = "lift-constants"

    def transform(self, model: ir.Model) -> int:
        """Lift all of them, whatever their size."""
        return _shrinkage(model, common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0))


class FoldConstants(_StockPass):
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


class EliminateDuplicates(_StockPass):
    """Keeps one of several nodes that compute the same, and one of several equal initializers."""

    name = "eliminate-duplicates"

    def transform(self, model: ir.Model) -> int:
        """Initializers first: nodes that differ only in which copy they read become duplicates."""
        return _shrinkage(
            model,
            common.DeduplicateHashedInitializersPass(size_limit=_ANY_SIZE),
            common.CommonSubexpressionEliminationPass(),
        )


class FoldPad(_StockPass):
    """Folds a Pad by constant zeros into the Conv behind it, whose own padding becomes explicit."""

    name = "fold-pad"
    _rules = RewriteRuleSet([rules.normalize_pad_format_conv_rule, rules.fuse_pad_into_conv_rule])

    def transform(self, model: ir.Model) -> int:
        """Negative pads, other modes and other values are left alone by the rules."""
        return int(self._rules.apply_to_model(model))


class MergeReshapes(_StockPass):
    """Merges chains of Reshape, and of Unsqueeze."""

    name = "merge-reshapes"
    _rules = RewriteRuleSet([rules.reshape_reshape_rule, rules.unsqueeze_unsqueeze_rule, rules.squeeze_reshape_1d_rule])

    def transform(self, model: ir.Model) -> int:
        """Only where the last shape alone decides the result."""
        return int(self._rules.apply_to_model(model))


class RemoveDeadNodes(_StockPass):
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
