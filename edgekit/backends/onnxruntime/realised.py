"""Layer by layer: what ONNX Runtime makes of a file's QuantizeLinear and DequantizeLinear when it loads it.

It fuses them into integer kernels by patterns of its own; what fits none of them computes in float, without a word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir

from edgekit.backends.onnxruntime.kernels import is_integer_kernel
from edgekit.core.errors import BrokenPromiseError

__all__ = ["check_realised"]


def check_realised(path: Path, layers: Collection[str]) -> None:
    """Hold the kernels that ONNX Runtime chooses on this machine against the plan.

    Args:
        path: the file.
        layers: those whose weights are to be int8; no other is.

    Raises:
        BrokenPromiseError: a layer got another kind of kernel.
    """
    kernels = _kernels(path)
    float_ones = sorted(layer for layer in layers if not is_integer_kernel(kernels.get(layer, "")))
    integer_ones = sorted(name for name, op in kernels.items() if name not in layers and is_integer_kernel(op))
    for wrong, kind in ((float_ones, "float"), (integer_ones, "int8")):
        if wrong:
            named = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if wrong[5:] else "")
            raise BrokenPromiseError(
                f"ONNX Runtime computes {named} in {kind}, and the plan promises otherwise",
                blame="edgekit's onnxruntime back end with this version of ONNX Runtime",
                remedy="Report it with the model; until then build with --precision fp32, or for another back end.",
            )


def _kernels(path: Path) -> dict[str, str]:
    """The operator that computes each layer. Layouts, which change names, come later and change no precision."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder, "optimised.onnx")
        options.optimized_model_filepath = str(optimised)
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return {str(node.name): node.op_type for node in ir.load(optimised).graph}
