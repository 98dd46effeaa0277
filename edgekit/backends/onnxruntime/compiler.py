"""Model → .onnx: as it is for fp32; with QuantizeLinear and DequantizeLinear for int8, or DynamicQuantizeLinear."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime.onnx_file import write
from edgekit.backends.onnxruntime.realised import check_realised
from edgekit.backends.promise import MULTIPLYING, promised
from edgekit.backends.saturation import HALF_RANGE, spare_first_layers
from edgekit.core.digest import digest_file
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.plain import to_json
from edgekit.core.types import Artifact, Precision, QuantPlan, TensorSpec
from edgekit.ir.model import Model
from edgekit.ir.quantization import QuantParams, made_for, recorded_params
from edgekit.ir.run import Arrays
from edgekit.passes.quantize import (
    Placement,
    dynamic_layers,
    gemm_form,
    measure_ranges,
    params_of_range,
    place,
    write_dynamic,
    write_qdq,
)

__all__ = ["compile_model"]

# The first that reads opset 24.
_OLDEST = "onnxruntime 1.24"


def compile_model(request: CompileRequest) -> Artifact:
    """Compile as `OnnxRuntimeBackend.compile` promises."""
    source = Model.load(request.model)
    _check(request, source)
    plan, model, integer = request.plan, source, frozenset[str]()
    wanted = _precisions(plan)
    if Precision.DYNAMIC in wanted:
        integer = dynamic_layers(source, plan)
        plan = promised(plan, source, _left_out(source, integer))
        model = write_dynamic(source, integer, top=HALF_RANGE if request.saturates else 127)
    elif Precision.INT8 in wanted:
        model = gemm_form(source)
        recorded = recorded_params(model)
        own = made_for(model)
        if recorded and own is None and request.saturates:
            plan = spare_first_layers(plan, model)
        placement = _placement(request, model, plan, recorded)
        top = own or (HALF_RANGE if request.saturates and not recorded else 127)
        integer = placement.layers
        plan, model = promised(plan, model, _left_out(model, integer)), write_qdq(model, placement, top=top)
    path = request.workdir / "model.onnx"
    notes = {"preprocess": to_json(request.preprocess), **({"labels": request.labels} if request.labels else {})}
    write(model, path, batch=request.batch, notes=notes)
    if wanted != {Precision.FP32}:
        check_realised(path, integer)
    return Artifact(
        backend="onnxruntime",
        files=(path,),
        digest=digest_file(path),
        plan=plan,
        min_runtime=_OLDEST,
        inputs=_static(source.inputs, request.batch),
        outputs=_static(source.outputs, request.batch),
    )


def _check(request: CompileRequest, source: Model) -> None:
    if request.io != "float32":
        raise UsageError(
            f"an ONNX model takes and gives float32, not {request.io}",
            blame="your --io",
            remedy="Leave --io out for this back end; the model quantizes its inputs itself.",
        )
    wanted = _precisions(request.plan)
    if strange := wanted - {Precision.INT8, Precision.DYNAMIC, Precision.FP32}:
        raise UsageError(
            f"ONNX Runtime's CPU kernels have no {', '.join(sorted(strange))}",
            blame="your recipe",
            remedy="Use int8 or dynamic, and fp32.",
        )
    if {Precision.INT8, Precision.DYNAMIC} <= wanted:
        raise UsageError(
            "a network for ONNX Runtime is int8 or dynamic, and not both",
            blame="your recipe",
            remedy="Use one of the two, and fp32.",
        )
    absent = {layer for layer, _ in request.plan.layers} - {node.name for node in source.graph}
    if absent:
        raise InvalidInputError(
            f"the precision plan names layers that the model hasn't got: {', '.join(sorted(absent))}",
            blame="your recipe",
            remedy="Take the layers' names from: edgekit inspect MODEL",
        )


def _precisions(plan: QuantPlan) -> set[Precision]:
    return {plan.default, *(precision for _, precision in plan.layers)}


def _placement(
    request: CompileRequest, source: Model, plan: QuantPlan, recorded: Mapping[str, QuantParams]
) -> Placement:
    """Where to round: as the source recorded it, and elsewhere for the ranges of the calibration samples."""
    ranges = measure_ranges(source, _samples(request.calibration)) if request.calibration else {}

    def storing(name: str) -> QuantParams:
        if name in recorded:
            return recorded[name]
        if name not in ranges:
            raise InvalidInputError(
                "int8 needs calibration samples, and there are none",
                blame="your command",
                remedy="Give data with --data, or synthetic calibration with --no-data.",
            )
        return params_of_range(ranges[name])

    return place(source, plan, storing, rounded=() if made_for(source) else recorded)


def _samples(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def _left_out(source: Model, integer: Collection[str]) -> list[str]:
    """The layers that stay float because there is no int8 for them."""
    return [str(n.name) for n in source.graph if n.op_type in MULTIPLYING and n.name not in integer]


def _static(specs: tuple[TensorSpec, ...], batch: int) -> tuple[TensorSpec, ...]:
    return tuple(dataclasses.replace(spec, shape=spec.with_batch(batch)) for spec in specs)
