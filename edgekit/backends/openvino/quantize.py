"""int8 through NNCF: weights symmetric per channel, activations from the calibration samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino.quiet import import_nncf
from edgekit.core.errors import InvalidInputError
from edgekit.core.types import Precision

__all__ = ["quantize"]

_MOVING = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def quantize(model: Any, request: CompileRequest, layers: Collection[str]) -> Any:
    """The int8 form of an fp32 `openvino.Model`.

    Args:
        model: with a static batch; the layers that the plan keeps in float are found by their names in it.
        layers: of the network; OpenVINO may have made nothing of one, or given its op another name.

    Raises:
        InvalidInputError: no calibration samples, samples that don't fit, or a plan about layers that aren't there.
    """
    if request.calibration is None:
        raise InvalidInputError(
            "int8 needs calibration samples, and there are none",
            blame="your command",
            remedy="Give data with --data, or synthetic calibration with --no-data.",
        )
    nncf = import_nncf()
    shapes = {port.get_any_name(): tuple(port.get_shape()) for port in model.inputs}
    samples = list(_batches(request.calibration, shapes, request.batch))
    kept = [layer for layer, precision in request.plan.layers if precision is not Precision.INT8]
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        # Symmetric activations: MobileNetV2 takes 0.72x the time it takes with asymmetric ones, and no model loses.
        preset=nncf.QuantizationPreset.PERFORMANCE,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(samples),
        # Both against NNCF's defaults, which clip activations to the mean of the samples' ranges and correct biases
        # from means alone: on ResNet-8, with whole-range weights, the answers
        # are 26 dB from float instead of 14, on VWW 31 instead of 16.
        fast_bias_correction=False,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=_min_max(),
            # Half the range of weights: CPUs without VNNI add pairs of int8 products in 16 bits, which would saturate
            # (a small two-input classifier: 79.6 % right instead of 98.3 % on an AVX2 machine).
            overflow_fix=_half_range(),
            activations_quantization_params=_one_scale() if _moves_channels(model) else None,
        ),
        ignored_scope=nncf.IgnoredScope(names=_ops_of(model, kept, layers)) if kept else None,
    )


def _half_range() -> Any:
    from nncf.quantization.advanced_parameters import OverflowFix

    return OverflowFix.ENABLE


def _moves_channels(model: Any) -> bool:
    """Whether a depthwise convolution reads what is only now put into its layout.

    NNCF gives what it reads a scale a channel and rounds in front of such layers, along the axis that the channels will
    be on: in an input that ends in its channels, along time. OpenVINO then has to compute the convolution in float.
    """
    return any(
        op.get_type_name() == "GroupConvolution" and op.input_value(0).get_node().get_type_name() in _MOVING
        for op in model.get_ordered_ops()
    )


def _one_scale() -> Any:
    from nncf.quantization.advanced_parameters import QuantizationParameters

    return QuantizationParameters(per_channel=False)


def _min_max() -> Any:
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return RangeEstimatorParametersSet.MINMAX


def _batches(
    source: Path, shapes: Mapping[str, tuple[int, ...]], batch: int
) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """The calibration samples, `batch` at a time; a last, short batch is left out unless it is the only one."""
    with np.load(source, allow_pickle=False) as archive:
        missing = set(shapes) - set(archive.files)
        if missing:
            raise InvalidInputError(
                f"the calibration samples lack the input {', '.join(sorted(missing))} (they have {archive.files})",
                blame="your data",
                remedy="Give one array an input, under the input's name.",
            )
        arrays = {name: archive[name] for name in shapes}
    count = min(len(array) for array in arrays.values())
    if count < batch:
        arrays = {name: np.repeat(array[:1], batch, axis=0) for name, array in arrays.items() if count}
        count = batch if arrays else 0
    for start in range(0, count - batch + 1, batch):
        # A state that has its layers in front, and no batch, comes whole.
        yield {name: array[start : start + batch].reshape(shapes[name]) for name, array in arrays.items()}


def _ops_of(model: Any, layers: list[str], known: Collection[str]) -> list[str]:
    """The names of the model's ops that make up `layers`: "conv" is now "conv" (its bias) and "conv/WithoutBiases"."""
    names = [
        op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() not in {"Constant", "Result"}
    ]
    found = {layer: [name for name in names if name == layer or name.startswith(f"{layer}/")] for layer in layers}
    absent = [layer for layer, ops in found.items() if not ops and layer not in known]
    if absent:
        raise InvalidInputError(
            f"the precision plan names layers that the model hasn't got: {', '.join(absent)}",
            blame="your recipe",
            remedy="Take the layers' names from: edgekit inspect MODEL",
        )
    return sorted({name for ops in found.values() for name in ops})
