"""Model → OpenVINO IR: fp32 from the Model, the other precisions from that fp32 IR."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino.ir_file import write
from edgekit.backends.openvino.quantize import quantize
from edgekit.backends.openvino.quiet import import_openvino, silence
from edgekit.backends.openvino.recorded import quantized_form
from edgekit.backends.openvino.support import unsupported_ops
from edgekit.backends.promise import promised
from edgekit.backends.saturation import spare_first_layers
from edgekit.core.digest import digest_files
from edgekit.core.errors import InvalidInputError, UnsupportedOpError, UsageError
from edgekit.core.plain import to_json
from edgekit.core.types import Artifact, Precision, TensorSpec
from edgekit.ir.model import Model
from edgekit.ir.quantization import made_for, recorded_params

__all__ = ["compile_model"]

# OpenVINO computes in bfloat16 by itself where the CPU has it: nothing of ours runs in a precision nobody named.
_FLOAT32 = (("INFERENCE_PRECISION_HINT", "f32"),)
# These hand on the numbers of their first input, or scale them as stored weights are.
_MOVING = frozenset(
    {"Convert", "Gather", "Multiply", "Reshape", "Slice", "Split", "Squeeze", "StridedSlice", "Subtract", "Transpose",
     "Unsqueeze", "VariadicSplit"}
)  # fmt: skip
# OpenVINO 2026.4 on one thread compiles a chain of int8 matrix products into one kernel, and that kernel answers
# garbage where a product is scaled channel by channel.
_PLAIN_KERNELS = (("SNIPPETS_MODE", "DISABLE"),)


def compile_model(request: CompileRequest) -> Artifact:
    """Compile as `OpenVINOBackend.compile` promises."""
    _check(request)
    source = Model.load(request.model)
    with silence():
        plan = request.plan
        if plan.default is Precision.INT8 and recorded_params(source):
            plan = plan if made_for(source) else spare_first_layers(plan, source)
            model = _convert(request, quantized_form(source, plan), source)
        else:
            model = _float_model(request, source)
            if plan.default is Precision.INT8:
                model = quantize(model, request, {str(node.name) for node in source.graph})
        plan = promised(plan, source, _float_products(model, source))
        options = (*_FLOAT32, *(_PLAIN_KERNELS if _scales_products(model) else ()))
        path = request.workdir / "model.xml"
        min_runtime = write(
            model,
            path,
            layers=frozenset(node.name or "" for node in source.graph.all_nodes()),
            notes={
                "preprocess": to_json(request.preprocess),
                **({"labels": list(request.labels)} if request.labels else {}),
            },
            fp16=request.plan.default is Precision.FP16,
            halved={layer for layer, precision in plan.layers if precision is Precision.FP16},
        )
    files = (path, path.with_suffix(".bin"))
    return Artifact(
        backend="openvino",
        files=files,
        digest=digest_files(files),
        plan=plan,
        runtime_options=options,
        min_runtime=min_runtime,
        inputs=_static(source.inputs, request.batch),
        outputs=_static(source.outputs, request.batch),
    )


def _check(request: CompileRequest) -> None:
    if request.io != "float32":
        raise UsageError(
            f"an OpenVINO model takes and gives float32, not {request.io}",
            blame="your --io",
            remedy="Leave --io out for this target; OpenVINO quantizes inputs inside the model.",
        )
    mixed = {precision for _, precision in request.plan.layers} - {request.plan.default}
    if mixed and (request.plan.default is not Precision.INT8 or not mixed <= {Precision.FP16, Precision.FP32}):
        raise UsageError(
            f"OpenVINO can keep single layers of an int8 model in fp16 or fp32, but not {', '.join(sorted(mixed))} in "
            f"{request.plan.default}",
            blame="your recipe",
            remedy="Name such layers with fp16 or fp32, in a plan whose default is int8.",
        )
    missing = unsupported_ops(request.model)
    if missing:
        layer, op, remedy = missing[0]
        raise UnsupportedOpError(
            f"OpenVINO has no {op} (layer {layer}{f', and {len(missing) - 1} more' if missing[1:] else ''})",
            blame="your model",
            remedy=remedy,
        )


def _float_model(request: CompileRequest, source: Model) -> Any:
    """The fp32 `openvino.Model`; the baseline where there is one, so that precisions differ in nothing else."""
    if request.baseline is not None:
        return import_openvino().Core().read_model(request.baseline.path)
    return _convert(request, request.model, source)


def _convert(request: CompileRequest, onnx: Path | io.BytesIO, source: Model) -> Any:
    """The `openvino.Model` of an ONNX file, for the batch of the request, its layers called as in `source`."""
    ov = import_openvino()
    try:
        model = ov.convert_model(onnx)
    except ov.frontend.OpConversionFailure as error:
        raise UnsupportedOpError(
            f"OpenVINO can't convert the model: {_gist(str(error))}",
            blame="your model",
            remedy="Run: edgekit inspect MODEL, or build for a tflite target.",
        ) from error
    except RuntimeError as error:
        raise InvalidInputError(
            f"OpenVINO refuses the model: {_gist(str(error))}",
            blame="your model",
            remedy="Check it with onnx.checker; if it is sound, run again with --debug and report the log.",
        ) from error
    model.reshape({spec.name: list(spec.with_batch(request.batch)) for spec in source.inputs})
    _restore_layer_names(model, source)
    return model


def _restore_layer_names(model: Any, source: Model) -> None:
    """Call the layers that give the outputs by their own names again: OpenVINO called them as the outputs.

    Where another layer is called as an output is, the op at the end of the network is the one that was renamed.
    """
    layers = {value.name: node.name for value in source.graph.outputs if (node := value.producer()) and node.name}
    taken = {node.name for node in source.graph}
    for op in model.get_ordered_ops():
        name = op.get_friendly_name()
        output = next((output for output in layers if f"{name}/".startswith(f"{output}/")), None)
        if output is None or op.get_type_name() in {"Parameter", "Result"}:
            continue
        if output not in taken or _ends(op):
            op.set_friendly_name(layers[output] + name.removeprefix(output))


def _ends(op: Any) -> bool:
    """Whether an output of the network is an op's."""
    readers = (reader.get_node() for port in op.outputs() for reader in port.get_target_inputs())
    return any(reader.get_type_name() == "Result" for reader in readers)


def _float_products(model: Any, source: Model) -> list[str]:
    """The products of two computed values that are not both rounded: there are no weights that int8 would save."""
    ops = {op.get_friendly_name(): op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul"}
    named = ((str(node.name), ops.get(str(node.name))) for node in source.graph if node.op_type == "MatMul")
    return [name for name, op in named if op is not None and _is_float(op)]


def _is_float(product: Any) -> bool:
    origins = [_origin(value) for value in product.input_values()]
    stored = [_origin(node.input_value(0)) if node.get_type_name() == "FakeQuantize" else node for node in origins]
    return not any(node.get_type_name() == "Constant" for node in stored) and any(
        node.get_type_name() != "FakeQuantize" for node in origins
    )


def _origin(value: Any) -> Any:
    """What gives a value its numbers, but for their order, place and scale."""
    while (node := value.get_node()).get_type_name() in _MOVING:
        value = node.input_value(0)
    return node


def _scales_products(model: Any) -> bool:
    """Whether an int8 matrix product goes straight into a multiplication."""
    ops = model.get_ordered_ops()
    return any(op.get_type_name() == "FakeQuantize" for op in ops) and any(
        reader.get_node().get_type_name() == "Multiply"
        for op in ops
        if op.get_type_name() == "MatMul"
        for reader in op.output(0).get_target_inputs()
    )


def _gist(message: str) -> str:
    """The lines of an OpenVINO exception that say something: not the C++ file, the check, or the headings."""
    lines = [line.strip() for line in message.splitlines()]
    telling = [
        line for line in lines if line and not line.startswith(("Check ", "FrontEnd API", "Summary", "Exception"))
    ]
    return " ".join(telling)[:300]


def _static(specs: tuple[TensorSpec, ...], batch: int) -> tuple[TensorSpec, ...]:
    return tuple(dataclasses.replace(spec, shape=spec.with_batch(batch)) for spec in specs)
