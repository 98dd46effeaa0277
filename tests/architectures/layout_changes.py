"""How many changes of layout each network really asks for, which is how many TRANSPOSE ops its TFLite file may have.

TFLite computes in NHWC, so a Transpose between that and NCHW moves nothing. What is left is asked for by the network:

- attention: queries, keys and values go from (tokens, heads) to (heads, tokens), three a block, and the answer goes
  back. That the keys are multiplied transposed costs nothing: BATCH_MATMUL does that itself.
"""

from __future__ import annotations

__all__ = ["LAYOUT_CHANGES"]

_BLOCKS = 3
LAYOUT_CHANGES = {
    "efficientnet_b0": 0,
    "gru": 0,
    "lstm": 0,
    "mobilenet_v3": 0,
    "two_in_three_out": 0,
    "unet": 0,
    "vit": 4 * _BLOCKS,
    "yolo": 0,
}
