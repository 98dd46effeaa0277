"""TensorFlow's graphs and TFLite's to ONNX through tf2onnx, without its fusions into Conv: ours come later."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import EdgekitError, UnsupportedOpError
from edgekit.formats.tflite.ops import TFLITE_CONVERTERS

if TYPE_CHECKING:
    import onnx

__all__ = ["Converters", "convert_function", "convert_graph", "convert_tflite", "inline_functions"]

# What tf2onnx takes as `custom_op_handlers`: op type → (converter, its arguments).
Converters = Mapping[str, tuple[Callable[..., None], list[str]]]
_NONE: Converters = MappingProxyType({})
# The newest that tf2onnx writes; the normal form is made from it.
_OPSET = 18


def convert_function(
    concrete: Any, inputs: Sequence[str], outputs: Sequence[str], converters: Converters
) -> onnx.ModelProto:
    """The ONNX graph of a concrete TensorFlow function, its variables frozen.

    Args:
        concrete: the function.
        inputs, outputs: what its inputs and outputs shall be called, in order.
        converters: of ops that tf2onnx does not know.

    Raises:
        UnsupportedOpError: an op has no ONNX form.
    """
    from tf2onnx import tf_loader

    own_inputs = [tensor.name for tensor in concrete.inputs[: len(inputs)]]  # what it captured comes behind
    own_outputs = [tensor.name for tensor in concrete.outputs]
    renamed = dict(zip([*own_inputs, *own_outputs], [*inputs, *outputs], strict=True))

    def convert() -> Any:
        frozen = tf_loader.from_function(concrete, own_inputs, own_outputs)
        return _process(frozen, own_inputs, own_outputs, renamed, converters)

    return _converted(convert)


def inline_functions(graph_def: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A graph without variables with the functions that it calls put in their places.

    Args:
        graph_def: the graph (`GraphDef`).
        inputs, outputs: names of tensors ("node:0").
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
    from tensorflow.python.framework.convert_to_constants import disable_lower_using_switch_merge
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    # No folding of constants, which would fold a scale into a convolution under another layer's name.
    options.optimizers[:] = ["function", "dependency"]
    options.function_optimization = rewriter_config_pb2.RewriterConfig.AGGRESSIVE
    # With a second implementation for another device, a function would stay a call.
    for function in graph_def.library.function:
        function.attr.pop("api_implements", None)
    # Branches and loops stay whole: tf2onnx knows recurrent layers by them.
    with tf.Graph().as_default():
        meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=disable_lower_using_switch_merge(graph_def))
    ends = meta_graph_pb2.CollectionDef()
    ends.node_list.value.extend([*inputs, *outputs])
    meta_graph.collection_def["train_op"].CopyFrom(ends)
    return tf_optimizer.OptimizeGraph(config, meta_graph)


def convert_graph(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> onnx.ModelProto:
    """The ONNX graph of a TensorFlow graph without variables and function calls.

    Args:
        graph_def: the graph (`GraphDef`).
        inputs, outputs: names of tensors ("node:0") → what they shall be called.

    Raises:
        UnsupportedOpError: an op has no ONNX form.
    """
    return _converted(lambda: _process(graph_def, list(inputs), list(outputs), {**inputs, **outputs}))


def convert_tflite(content: bytes) -> onnx.ModelProto:
    """The ONNX graph of a .tflite file; quantized tensors have QuantizeLinear and DequantizeLinear around them.

    Args:
        content: the file's; tensors have names of their own, which the graph's inputs, outputs and nodes get.

    Raises:
        UnsupportedOpError: an op has no ONNX form.
    """
    from tf2onnx import tfonnx

    def convert() -> Any:
        # tf2onnx takes a path; a file in memory leaves nothing behind, however this process ends.
        memory = os.memfd_create("model.tflite")
        try:
            with open(memory, "wb", closefd=False) as stream:
                stream.write(content)
            path = f"/proc/self/fd/{memory}"
            return tfonnx.process_tf_graph(
                None, opset=_OPSET, tflite_path=path, custom_op_handlers=dict(TFLITE_CONVERTERS)
            )
        finally:
            os.close(memory)

    return _converted(convert)


def _process(
    graph_def: Any,
    inputs: list[str],
    outputs: list[str],
    renamed: dict[str, str],
    converters: Converters = _NONE,
) -> Any:
    import tensorflow as tf
    from tf2onnx import tfonnx

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        return tfonnx.process_tf_graph(
            graph,
            opset=_OPSET,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=renamed,
            custom_op_handlers={**converters, "Erfc": (_convert_erfc, [])},
        )


def _converted(convert: Callable[[], Any]) -> onnx.ModelProto:
    """What `convert` gives, optimised; whatever tf2onnx stumbles over is an op that it can't express."""
    import onnx
    from tf2onnx import optimizer

    from edgekit.passes.normalise.support import refuse_foreign_ops

    stages = {name: stage for name, stage in optimizer._get_optimizers().items() if name != "remove_back_to_back"}  # noqa: SLF001
    stages["optimize_transpose"] = _plain_transpose_optimizer
    try:
        graph = optimizer.optimize_graph(convert(), catch_errors=False, optimizers=stages)
        proto: onnx.ModelProto = graph.make_model("edgekit")
        refuse_foreign_ops(proto)
        onnx.checker.check_model(proto, full_check=True)
    except EdgekitError:
        raise
    except Exception as error:
        raise UnsupportedOpError(
            f"the model has an op without an ONNX form: {' '.join(str(error).split())[:300]}",
            blame="your model",
            remedy="Replace the layer by ones that export, like convolutions, Dense, pooling and activations.",
        ) from error
    return proto


def _plain_transpose_optimizer() -> Any:
    """tf2onnx's optimizer of Transposes, but an Add stays one: it takes any constant for a bias, a scalar too."""
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    class Plain(TransposeOptimizer):  # type: ignore[misc]
        def _add_handler(self, trans: Any, node: Any) -> Any:
            return self._handle_node_having_branches(trans, node)

    return Plain()


def _convert_erfc(graph: Any, node: Any, _name: str, _arguments: Any) -> None:
    """tf2onnx's converter of Erfc, which ONNX has not: 1 − erf(x)."""
    import numpy as np
    from tf2onnx import utils

    one = graph.make_const(utils.make_name("one"), np.array(1, np.float32))
    erf = graph.make_node("Erf", [node.input[0]], name=f"{node.name}/erf")
    rest = graph.make_node("Sub", [one.output[0], erf.output[0]])
    graph.replace_all_inputs(node.output[0], rest.output[0])
    graph.remove_node(node.name)
