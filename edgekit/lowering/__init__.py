"""The TensorFlow lowering: a Model becomes a `tf.Module` with variables for weights, ready to train or to convert.

`unsupported` answers without TensorFlow; `lower` imports it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.lowering.naming import scope_names
from edgekit.lowering.registry import Unsupported, lowers, operators, unsupported

if TYPE_CHECKING:
    from edgekit.ir import Model
    from edgekit.lowering.module import LoweredModule

__all__ = ["Unsupported", "lower", "lowers", "operators", "scope_names", "unsupported"]


def lower(model: Model) -> LoweredModule:
    """`model` as a callable `tf.Module`; see `LoweredModule`.

    Raises:
        UnsupportedOpError: an op without a lowering; raised before TensorFlow is imported.
    """
    from edgekit.lowering.registry import require_supported

    require_supported(model)
    from edgekit.lowering.module import LoweredModule

    return LoweredModule(model)
