"""ONNX Script's rewrite rules under our contract: what stock code does to names and metadata is put right here.

A node that a rule makes takes the name of the layer whose work it goes on doing, graph outputs keep their layout and
other metadata, and the notes that the rewriter leaves in a node's metadata go.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.pattern import RewriteRuleClassBase

from edgekit.ir.model import Model
from edgekit.passes.contract import Pass, PassResult
from edgekit.passes.fuse.rewiring import unique_node_name

__all__ = ["InPlacePass", "RootRule", "RulePass", "rules_for"]


class InPlacePass(Pass):
    """A pass around code that changes a graph in place and knows nothing of our names and metadata."""

    @abc.abstractmethod
    def transform(self, model: ir.Model) -> int:
        """Change `model`; how often something was found, as well as the code can tell."""

    def call(self, model: Model) -> PassResult:
        """Transform, then put names and metadata right."""
        inputs = {node: tuple(node.inputs) for node in model.graph}
        makers = {value: node for node in inputs for value in node.outputs}
        by_name = {value.name: node for value, node in makers.items()}
        metadata = {value.name: dict(value.metadata_props) for value in makers}
        ends = [dict(value.metadata_props) for value in model.graph.outputs]
        fired = self.transform(model.proto)
        left = set(model.graph)
        fresh = [node for node in model.graph if node not in inputs]
        for node in fresh:
            node.metadata_props.clear()
            node.name = None
            for value in node.outputs:
                value.metadata_props.update(metadata.get(value.name, {}))
        # Each new node with the old one whose result it gives; what lies behind another such pair is that one's affair.
        pairs = {node: last for node in fresh if (last := by_name.get(node.outputs[0].name)) is not None}
        for node, last in pairs.items():
            replaced = _behind(last, makers.get, inputs, {*left, *pairs.values()})
            made = _behind(node, lambda value: value.producer(), {each: each.inputs for each in fresh}, pairs)
            _name(made, _layer_name([each.name or "" for each in replaced]), model.graph)
        for value, kept in zip(model.graph.outputs, ends, strict=True):
            value.metadata_props.update(kept)
        return PassResult(model, fired)


class RulePass(InPlacePass):
    """A pass that is a set of rewrite rules, applied until none matches."""

    rules: ClassVar[RewriteRuleSet]

    def transform(self, model: ir.Model) -> int:
        """How often a rule fired."""
        fired = 0
        while found := int(self.rules.apply_to_model(model)):
            fired += found
        return fired


class RootRule(RewriteRuleClassBase):  # type: ignore[misc]
    """A rule whose pattern is the last operator alone; what lies behind it, `find` works out by algebra.

    Exporters write one formula in dozens of orders, and a pattern for each would have to be kept. Nodes that the
    result no longer needs go when the rewriter removes what is unused.

    Attributes:
        replaces: the operators that a match may end in.
    """

    replaces: ClassVar[tuple[str, ...]]

    def __init__(self, op_type: str) -> None:
        super().__init__(name=f"{type(self).__name__}/{op_type}", remove_nodes=False)
        self._op_type = op_type
        self._found: Any = None

    def pattern(self, op: Any) -> Any:
        """The last operator, whatever it reads."""
        return getattr(op, self._op_type)(_allow_other_inputs=True, _allow_other_attributes=True, _outputs=["result"])

    def check(self, _context: Any, result: ir.Value) -> bool:
        """Whether `find` finds something."""
        node = result.producer()
        assert node is not None
        self._found = self.find(node)
        return self._found is not None

    def rewrite(self, op: Any, result: ir.Value) -> Any:  # noqa: ARG002 - the rewriter binds what the pattern names
        """The replacement for `result`."""
        return self.replacement(op, self._found)

    @abc.abstractmethod
    def find(self, node: ir.Node) -> Any:
        """What the formula that ends in `node` is about, or None if it is another formula."""

    @abc.abstractmethod
    def replacement(self, op: Any, found: Any) -> Any:
        """Build what replaces the result of what `find` found."""


def rules_for(*kinds: type[RootRule]) -> RewriteRuleSet:
    """One rule for each operator that a match of each of `kinds` may end in."""
    return RewriteRuleSet([kind.rule(op) for kind in kinds for op in kind.replaces])


def _behind(
    last: ir.Node,
    maker: Callable[[ir.Value], ir.Node | None],
    inputs: Mapping[ir.Node, Iterable[ir.Value | None]],
    outside: Iterable[ir.Node],
) -> tuple[ir.Node, ...]:
    """`last` and the nodes of `inputs` that work for it, without those `outside`; nearest first."""
    outside = set(outside)
    group, waiting = {last: None}, [last]
    while waiting:
        for value in inputs[waiting.pop(0)]:
            node = maker(value) if value is not None else None
            if node is not None and node in inputs and node not in outside and node not in group:
                group[node] = None
                waiting.append(node)
    return tuple(group)


def _layer_name(names: Sequence[str]) -> str:
    """The layer that all `names` belong to, if it is one of them (`layer`, `layer/Op`, …), or else the first."""
    common = (name for name in names if name and all(f"{each}/".startswith(f"{name}/") for each in names))
    return next(common, names[0])


def _name(nodes: Sequence[ir.Node], layer: str, graph: ir.Graph) -> None:
    """Call the node that does the layer's work like the layer; the Transposes around it, `layer/transpose`."""
    works = [node for node in nodes if node.op_type != "Transpose"] or [nodes[0]]
    for node in (*works[:1], *(node for node in nodes if node is not works[0])):
        node.name = unique_node_name(graph, layer if node is works[0] else f"{layer}/{node.op_type.lower()}")
