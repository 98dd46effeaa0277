"""ONNX's own backend node tests, through import, normalisation, lowering and TFLite.

A node test is a graph of one node with its inputs and expected outputs. Two things are changed, so that it looks like
a trained network:

- Inputs that a network has as constants (weights, shapes, axes, indices, scales: `CONSTANTS`) become initializers.
- The others get an axis of size 1 in front, which the graph squeezes away again and adds to its outputs: a Model's
  inputs are samples, and a node test knows no batch.

Many cases go into one TFLite file, because a call of the converter costs more than a node; where a file can't be made
or run, its cases are halved until the one that is to blame is alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import EdgekitError
from edgekit.ir import Model
from edgekit.lowering import lower
from edgekit.passes.normalise import normalise

__all__ = ["CONSTANTS", "Case", "collect", "run"]

Array = np.ndarray[Any, Any]

_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
# Positions of the inputs that a trained network has as constants.
CONSTANTS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "CumSum": (1,),
    "Dropout": (1, 2),
    "Expand": (1,),
    "EyeLike": (0,),
    "GRU": (1, 2, 3, 4, 5),
    "Gather": (1,),
    "GatherElements": (1,),
    "GatherND": (1,),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 4, 5, 6, 7),
    "LayerNormalization": (1, 2),
    "OneHot": (1, 2),
    "PRelu": (1,),
    "Pad": (1, 2, 3),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3, 4, 5),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "ReverseSequence": (1,),
    "ScatterElements": (1,),
    "ScatterND": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    **{f"Reduce{name}": (1,) for name in _REDUCTIONS},
}
_TYPES = {TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}
_TOGETHER = 32


@dataclass(frozen=True)
class Case:
    """A node test.

    Attributes:
        name: as ONNX calls it.
        op: the operator.
        proto: the graph, with constants as initializers and a leading axis on inputs and outputs.
        inputs: by name, with the leading axis.
        outputs: what is expected, with the leading axis, in order.
        rtol, atol: how far off an answer may be.
    """

    name: str
    op: str
    proto: onnx.ModelProto
    inputs: dict[str, Array]
    outputs: list[Array]
    rtol: float
    atol: float


def collect(ops: set[str]) -> tuple[list[Case], dict[str, list[str]]]:
    """The node tests of the operators `ops` in Models' types, and by operator the names of those in other types.

    Left out are `_expanded` tests, which spell an operator in simpler ones, and training.
    """
    cases: list[Case] = []
    foreign: dict[str, list[str]] = {op: [] for op in ops}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, about the test data that onnx makes
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    for test in found:
        assert test.model is not None
        nodes = test.model.graph.node
        if len(nodes) != 1 or nodes[0].op_type not in ops or nodes[0].domain or "_expanded" in test.name:
            continue
        if all(_has_known_type(value) for value in (*test.model.graph.input, *test.model.graph.output)):
            cases.append(_case(test))
        else:
            foreign[nodes[0].op_type].append(test.name)
    return sorted(cases, key=lambda case: case.name), foreign


def run(cases: Sequence[Case], alone: Collection[str] = ()) -> dict[str, str]:
    """Why each of the `cases` fails, by name; those that pass are not in it.

    Args:
        cases: what to run.
        alone: names of those that are likely to fail: each gets a file of its own, so that others needn't be halved.
    """
    failures: dict[str, str] = {}
    ready: list[tuple[Case, Model]] = []
    for case in cases:
        try:
            model = normalise(case.proto)
            lower(model)
            ready.append((case, model))
        except EdgekitError as error:
            failures[case.name] = f"refused: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a step raises is reported
            failures[case.name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    together = [each for each in ready if each[0].name not in alone]
    groups = [together[at : at + _TOGETHER] for at in range(0, len(together), _TOGETHER)]
    for group in (*groups, *([each] for each in ready if each[0].name in alone)):
        failures |= _failures(group)
    return failures


def _has_known_type(value: onnx.ValueInfoProto) -> bool:
    return value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in _TYPES


def _case(test: Any) -> Case:
    inputs, outputs = test.data_sets[0]
    graph = test.model.graph
    node = graph.node[0]
    arrays = {value.name: np.asarray(array) for value, array in zip(graph.input, inputs, strict=True)}
    constants = {node.input[at] for at in CONSTANTS.get(node.op_type, ()) if at < len(node.input)}
    fed = [name for name in arrays if name not in constants]
    body = onnx.NodeProto()
    body.CopyFrom(node)
    ends = dict(zip((value.name for value in graph.output), map(np.asarray, outputs), strict=True))
    opset = max(entry.version for entry in test.model.opset_import if not entry.domain)
    axes: tuple[list[str], dict[str, Any]] = (["front"], {}) if opset >= 13 else ([], {"axes": [0]})
    proto = helper.make_model(
        helper.make_graph(
            [
                *(helper.make_node("Squeeze", [f"{name}:1", *axes[0]], [name], **axes[1]) for name in fed),
                body,
                *(helper.make_node("Unsqueeze", [name, *axes[0]], [f"{name}:1"], **axes[1]) for name in ends),
            ],
            test.name,
            [_end(name, arrays[name]) for name in fed],
            [_end(name, array) for name, array in ends.items()],
            [
                *(numpy_helper.from_array(arrays[name], name) for name in arrays if name in constants),
                numpy_helper.from_array(np.array([0]), "front"),
            ],
        ),
        opset_imports=test.model.opset_import,
        ir_version=test.model.ir_version,
    )
    return Case(
        test.name,
        node.op_type,
        proto,
        {f"{name}:1": arrays[name][None] for name in fed},
        [array[None] for array in ends.values()],
        test.rtol,
        test.atol,
    )


def _end(name: str, array: Array) -> onnx.ValueInfoProto:
    """An input or output of the graph that holds `array` behind its leading axis."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(f"{name}:1", kind, (1, *array.shape))


def _failures(ready: Sequence[tuple[Case, Model]]) -> dict[str, str]:
    """Convert and run the Models as one file; by halves where that fails."""
    try:
        answers = _answers(ready)
    except Exception as error:  # noqa: BLE001 - converter and interpreter raise whatever they like; it is reported
        if len(ready) == 1:
            return {ready[0][0].name: " ".join(str(error).split())[:200]}
        middle = len(ready) // 2
        return _failures(ready[:middle]) | _failures(ready[middle:])
    return {
        case.name: problem
        for (case, _), found in zip(ready, answers, strict=True)
        if (problem := _problem(case, found))
    }


def _problem(case: Case, answers: Sequence[Array]) -> str:
    for answer, wanted in zip(answers, case.outputs, strict=True):
        try:
            np.testing.assert_allclose(answer, wanted, case.rtol, case.atol)
        except AssertionError as error:
            return " ".join(str(error).split())[:200]
        if answer.dtype != wanted.dtype:
            return f"{answer.dtype} instead of {wanted.dtype}"
    return ""


def _answers(ready: Sequence[tuple[Case, Model]]) -> list[list[Array]]:
    """What each Model answers, out of one TFLite file for all."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    modules = [lower(model) for _, model in ready]
    specs = [spec for module in modules for spec in module.inputs]

    def together(*arguments: Any) -> list[Any]:
        results: list[Any] = []
        left = list(arguments)
        for module in modules:
            taken, left = left[: len(module.inputs)], left[len(module.inputs) :]
            results += module(*taken)
        return results

    signature = [tf.TensorSpec(spec.with_batch(1), spec.dtype, name=f"in_{i}") for i, spec in enumerate(specs)]
    function = tf.function(together, input_signature=signature, autograph=False).get_concrete_function()
    holder = tf.Module()
    holder.modules = modules
    content = tf.lite.TFLiteConverter.from_concrete_functions([function], holder).convert()
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner()
    feeds = [case.inputs[spec.name] for (case, _), module in zip(ready, modules, strict=True) for spec in module.inputs]
    found = runner(**{f"in_{i}": value for i, value in enumerate(feeds)})
    answers = iter([found[f"output_{i}"] for i in range(len(found))])
    return [[next(answers) for _ in module.outputs] for module in modules]
