"""Does the imported network answer as its source does? Float networks within a relative limit, quantized ones in steps.

A quantized network answers on a grid, and no two runtimes land on the same point every time: LiteRT rescales sums in
fixed point or in float, as the kernel has it, and rounds ties its own way; one step in an early layer is a few at the
end. On ResNet-8 in int8, LiteRT's own two sets of kernels (XNNPACK and its reference) are 2.0 steps apart (root mean
square over the logits, 9 at most), ONNX Runtime and XNNPACK 0.7 (4 at most). A wrong scale, zero point or padding is
tens of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.errors import BrokenPromiseError
from edgekit.formats.quantized import as_float
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams
from edgekit.ir.run import Arrays, max_relative, run
from edgekit.passes.quantize.nodes import params_of

__all__ = ["PARITY_LIMIT", "PARITY_STEPS", "before_activation", "float_parity", "step_parity"]

PARITY_LIMIT = 1e-4
PARITY_STEPS = 2.0
_SATURATING = frozenset({"HardSigmoid", "Sigmoid", "Softmax", "Tanh"})


def before_activation(output: str) -> str:
    """What a source's answer calls the values that go into the softmax, sigmoid or tanh at the end of `output`."""
    return f"{output} before its activation"


def float_parity(model: Model, feeds: Arrays, expected: Arrays, runtime: str) -> dict[str, Any]:
    """The largest relative difference to the source's answers.

    Raises:
        BrokenPromiseError: it is above `PARITY_LIMIT`.
    """
    answers = run(model, {spec.name: feeds[spec.name].astype(spec.dtype) for spec in model.inputs})
    difference = max_relative(answers, expected)
    if not difference <= PARITY_LIMIT:
        raise _broken(f"{difference:.2g} (relative) off {runtime}; {PARITY_LIMIT:g} is allowed")
    return {"runtime": runtime, "max_relative": difference, "samples": _count(feeds)}


def step_parity(
    model: Model, ends: Mapping[str, QuantParams], feeds: Arrays, expected: Arrays, runtime: str
) -> dict[str, Any]:
    """The difference to a quantized source's answers, in steps of the scale that each is stored with.

    A softmax at the end can turn one step into twenty, or hide any number of them: where the source also tells what
    goes into it (`before_activation`), that is compared, and the output itself is not.

    Args:
        model: the quantized network, with float inputs and outputs.
        ends: how its inputs and outputs are rounded, by name.
        feeds, expected: the source's inputs and answers, as it takes and gives them.
        runtime: that gave the answers.

    Raises:
        BrokenPromiseError: the root mean square over an output is above `PARITY_STEPS`, or an output that is not
            rounded is off by more than `PARITY_LIMIT`.
    """
    seen, steps = _with_inner_outputs(model, expected)
    steps = {**{name: params for name, params in ends.items() if name in expected}, **steps}
    answers = run(seen, {name: _float(value, ends.get(name)) for name, value in feeds.items()})
    wanted = {name: _float(value, steps.get(name)) for name, value in expected.items()}
    exact = {name for name in wanted if name not in steps and before_activation(name) not in wanted}
    difference = max_relative({k: answers[k] for k in exact if k in answers}, {k: wanted[k] for k in exact})
    if not difference <= PARITY_LIMIT:
        raise _broken(f"{difference:.2g} (relative) off {runtime}; {PARITY_LIMIT:g} is allowed")
    off = [
        (answers[name] - wanted[name]) / params.scale
        for name, params in steps.items()
        if before_activation(name) not in wanted
    ]
    root_mean_square = max((float(np.sqrt(np.mean(each**2))) for each in off), default=0.0)
    if not root_mean_square <= PARITY_STEPS:
        raise _broken(f"{root_mean_square:.1f} int8 steps off {runtime} (root mean square); {PARITY_STEPS} are allowed")
    return {
        "runtime": runtime,
        "rms_steps": root_mean_square,
        "max_steps": max((float(np.abs(each).max()) for each in off), default=0.0),
        "samples": _count(feeds),
    }


def _with_inner_outputs(model: Model, expected: Arrays) -> tuple[Model, dict[str, QuantParams]]:
    """The model with what the source tells of its inside among the outputs, and how that is stored."""
    seen, steps = model.clone(), {}
    for name, value, params in list(_inner(seen)):
        if name in expected:
            rounded = ir.node("Identity", [value], name=name)
            rounded.outputs[0].name, rounded.outputs[0].dtype = name, ir.DataType.FLOAT
            seen.graph.append(rounded)
            seen.graph.outputs.append(rounded.outputs[0])
            steps[name] = params
    return seen, steps


def _inner(model: Model) -> Iterator[tuple[str, ir.Value, QuantParams]]:
    """For each output that ends in an activation: what its input is called, the input, and how it is stored."""
    for output in model.graph.outputs:
        node = output.producer()
        while node is not None and node.op_type in {"DequantizeLinear", "QuantizeLinear"}:
            node = node.inputs[0].producer() if node.inputs[0] is not None else None
        source = node.inputs[0] if node is not None and node.op_type in _SATURATING else None
        rounding = source.producer() if source is not None else None
        if source is not None and rounding is not None and rounding.op_type == "DequantizeLinear":
            yield before_activation(output.name or ""), source, params_of(rounding)


def _float(value: np.ndarray[Any, Any], params: QuantParams | None) -> np.ndarray[Any, Any]:
    return value if params is None else as_float(value, params)


def _count(feeds: Arrays) -> int:
    return len(next(iter(feeds.values())))


def _broken(how: str) -> BrokenPromiseError:
    return BrokenPromiseError(
        f"the imported model is {how}",
        blame="edgekit",
        remedy="Report this with the model, or with the smallest part of it that shows it.",
    )
