"""What a teacher shows of its inside, besides its answers.

Features (Romero et al., 2015, arXiv:1412.6550), and attention maps (Zagoruyko and Komodakis, 2017, arXiv:1612.03928),
which can be compared whatever channels a layer has lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.core.errors import UsageError
from edgekit.ir.model import Model
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid, channels_last
from edgekit.passes.recover.losses import relative_error
from edgekit.passes.recover.settings import Hint

__all__ = ["hint_loss", "matching_layers"]

_FLOOR = 1e-12
# What only arranges numbers shows nothing that was learnt; and a weighted layer's own output is no layer to compare
# where one of the networks has the normalisation behind it folded in.
_LEFT_OUT = frozenset(
    {"Conv", "ConvTranspose", "Flatten", "Gemm", "Identity", "MatMul", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


def matching_layers(student: Model, teacher: Model, hint: Hint) -> tuple[str, ...]:
    """The values to compare: of each height and width, the last activations that both networks have by name.

    Features want the same channels, attention maps only the same height and width.

    Raises:
        UsageError: there is none.
    """
    if hint is Hint.NONE:
        return ()
    taught = _images(teacher)
    found: dict[tuple[int, ...], str] = {}
    for name, shape in _images(student).items():
        if taught.get(name, ())[hint is Hint.ATTENTION :] == shape[hint is Hint.ATTENTION :]:
            found[shape[1:]] = name
    if not found:
        raise UsageError(
            f"no layer of the network matches one of the original's for the hint {hint}",
            blame="the settings",
            remedy="Recover without hints, from the outputs alone.",
        )
    return tuple(found.values())


def hint_loss(hint: Hint, layers: tuple[str, ...], student: Mapping[str, Laid], teacher: Mapping[str, Laid]) -> Any:
    """The mean over `layers` of how far the student's are from the teacher's, relative to the teacher's."""
    losses = []
    for name in layers:
        own, taught = (values[name].to(channels_last(4)).value for values in (student, teacher))
        if hint is Hint.ATTENTION:
            own, taught = _attention(own), _attention(taught)
        losses.append(relative_error(own, tf.stop_gradient(taught)))
    return tf.add_n(losses) / len(losses)


def _attention(image: Any) -> Any:
    """Where the layer looks: the energy at each place (n, H · W), of norm 1."""
    energy = tf.reduce_sum(tf.square(image), -1)
    flat = tf.reshape(energy, (tf.shape(energy)[0], -1))
    return flat * tf.math.rsqrt(tf.reduce_sum(tf.square(flat), 1, keepdims=True) + _FLOOR)


def _images(model: Model) -> dict[str, tuple[int, ...]]:
    """(channels, height, width) of the activations with more than one pixel, by name, in order."""
    found: dict[str, tuple[int, ...]] = {}
    for node in model.graph:
        shape = node.outputs[0].shape
        sizes = tuple(size for size in (shape or ())[1:] if isinstance(size, int))
        if len(sizes) == 3 and node.op_type not in _LEFT_OUT and sizes[1] * sizes[2] > 1:
            found[str(node.outputs[0].name)] = sizes
    return found
