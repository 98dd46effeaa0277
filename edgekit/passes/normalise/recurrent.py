"""Recurrent cells whose start is written out as zeros: leaving it out means the same, and names no batch."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["drop_zero_states"]

# Where the initial states stand among the inputs.
_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}


def drop_zero_states(graph: ir.Graph) -> None:
    """Leave out initial states that are constants of nothing but zeros."""
    for node in graph:
        for index in _STATES.get(node.op_type, ()) if not node.domain else ():
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None and value.const_value is not None and not value.const_value.numpy().any():
                node.replace_input_with(index, None)
