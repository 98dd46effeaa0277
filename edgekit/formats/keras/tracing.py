"""From a live Keras model to ONNX: BatchNorm stays BatchNormalization, and nodes bear the names of their layers.

Keras' own export folds BatchNorm into arithmetic, and its scopes are renamed by TensorFlow (`conv2d` becomes
`conv2d_1`, beside a layer of that very name). So the model is traced while each layer opens a scope that is exactly its
own, and each BatchNormalization computes its inference form as one op.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.types import TensorSpec
from edgekit.formats.conversion import convert_function
from edgekit.formats.keras.gru import GRU_CONVERTERS, gru_as_one_op

if TYPE_CHECKING:
    import onnx

__all__ = ["trace"]


def trace(
    library: Any, model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[str]
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The model's inference graph in ONNX, and the paths of the layers that its nodes' names begin with.

    Args:
        library: keras or tf_keras, whichever made the model.
        model: the model.
        inputs: the inputs, in the model's order.
        outputs: names for the model's outputs, in order.

    Raises:
        UnsupportedOpError: an op has no ONNX form.
    """
    import tensorflow as tf

    layers = dict(_layer_paths(model))
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=f"input_{i}") for i, spec in enumerate(inputs)]

    def inference(*arguments: Any) -> list[Any]:
        answer = model(arguments[0] if len(arguments) == 1 else list(arguments), training=False)
        # One identity an output: the same tensor may be two outputs, or an input.
        return [tf.identity(tensor, name=f"output_{i}") for i, tensor in enumerate(tf.nest.flatten(answer))]

    with _scoped_calls(layers, library.layers.BatchNormalization), gru_as_one_op(library):
        concrete = tf.function(inference, input_signature=specs, autograph=False).get_concrete_function()
    proto = convert_function(concrete, [spec.name for spec in inputs], list(outputs), GRU_CONVERTERS)
    return proto, tuple(layers.values())


def _layer_paths(model: Any, prefix: str = "") -> Iterator[tuple[Any, str]]:
    """Every layer with its name, those of nested models behind the nested model's: "encoder/conv1"."""
    for layer in model.layers:
        path = prefix + layer.name
        if hasattr(layer, "layers"):
            yield from _layer_paths(layer, f"{path}/")
        else:
            yield layer, path


@contextlib.contextmanager
def _scoped_calls(layers: Mapping[Any, str], batch_norm: type) -> Iterator[None]:
    """While this is open, calling a layer opens its scope; the classes are as before afterwards."""
    import tensorflow as tf

    paths = {id(layer): path for layer, path in layers.items()}
    kinds: set[Any] = {type(layer) for layer in layers}

    def scoped(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(self: Any, *arguments: Any, **keywords: Any) -> Any:
            path = paths.get(id(self))
            # The slash at the end: this very scope, not a new one of a similar name.
            with tf.name_scope(f"{path}/") if path else contextlib.nullcontext():
                return call(self, *arguments, **keywords)

        return wrapper

    own = {kind: kind.__dict__.get("call") for kind in kinds}
    try:
        for kind in kinds:
            call = _normalise_batch(kind) if issubclass(kind, batch_norm) else kind.call
            kind.call = scoped(call)
        yield
    finally:
        for kind, call in own.items():
            if call is None:
                del kind.call
            else:
                kind.call = call


def _normalise_batch(kind: Any) -> Callable[..., Any]:
    """The inference form of a BatchNormalization layer as the one TensorFlow op that ONNX knows as such."""
    import tensorflow as tf

    general: Callable[..., Any] = kind.call

    @functools.wraps(general)
    def call(self: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        axis = self.axis[0] if isinstance(self.axis, list | tuple) else self.axis
        rank = len(inputs.shape)
        axis %= rank
        if inputs.dtype != tf.float32 or rank not in (2, 4) or axis not in (1, rank - 1):
            return general(self, inputs, *arguments, **keywords)
        channels = inputs.shape[axis]
        image = inputs if rank == 4 else tf.reshape(inputs, (-1, channels, 1, 1))
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=image,
            scale=self.gamma if self.scale else tf.ones(channels),
            offset=self.beta if self.center else tf.zeros(channels),
            mean=self.moving_mean,
            variance=self.moving_variance,
            epsilon=self.epsilon,
            data_format="NCHW" if axis == 1 else "NHWC",
            is_training=False,
        )[0]
        return outputs if rank == 4 else tf.reshape(outputs, (-1, channels))

    return call
