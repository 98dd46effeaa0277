"""TFLiteBackend: edgekit's Backend protocol for TFLite files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite.example import example
from edgekit.backends.tflite.proof import prove
from edgekit.backends.tflite.runtimes import int8_gaps, oldest_runtime, require, require_known
from edgekit.core.digest import digest_file
from edgekit.core.errors import InvalidInputError, MissingToolError
from edgekit.core.evidence import Account, PrecisionProof
from edgekit.core.plain import to_json
from edgekit.core.types import INT4_TOP, Artifact, Integers, Precision, QuantPlan, TensorSpec, permutation

if TYPE_CHECKING:
    from edgekit.backends.tflite.calibrate import Samples
    from edgekit.ir import Model

__all__ = ["TFLiteBackend"]

_FILE = "model.tflite"
_PACKAGES = ("tensorflow", "ai-edge-litert", "ai-edge-quantizer")


class TFLiteBackend:
    """TFLite files for LiteRT (CPU, XNNPACK), or for an older runtime, as the target's option `runtime` names it."""

    name: ClassVar[str] = "tflite"
    version: ClassVar[str] = "6"
    runtime: ClassVar[str] = "ai_edge_litert"
    precisions: ClassVar[tuple[Precision, ...]] = (
        Precision.INT8, Precision.MIXED, Precision.DYNAMIC, Precision.FP16, Precision.FP32,
    )  # fmt: skip
    extra: ClassVar[str] = "tflite"

    def tools(self) -> Mapping[str, str]:
        """The packages that decide the bytes."""
        try:
            return {package: version(package) for package in _PACKAGES}
        except PackageNotFoundError as error:
            raise MissingToolError(
                f"the tflite back end needs {error.name}, which is not installed",
                blame="this machine",
                remedy=f"Run: pip install 'edgekit[{self.extra}]'",
            ) from error

    def unsupported(self, model: Path) -> list[tuple[str, str, str]]:
        """Ops without a TensorFlow lowering, found without TensorFlow."""
        from edgekit.ir import Model
        from edgekit.lowering import unsupported

        return [(item.layer, item.op, item.remedy) for item in unsupported(Model.load(model))]

    def compile(self, request: CompileRequest) -> Artifact:
        """fp32 through TensorFlow; the others from the fp32 file in `request.baseline`, without TensorFlow."""
        from edgekit.ir import Model

        _runtime(request)
        model = Model.load(request.model)
        if request.plan == QuantPlan(Precision.FP32):
            return _compile_float(model, request)
        return _quantize(model, request)

    def integers(self, *, saturates: bool) -> Integers:  # noqa: ARG002
        """As ai-edge-quantizer does; every result is int8, but for a last softmax."""
        return Integers(answers=True, pools_rescale=False)

    def prove(self, plan: QuantPlan, account: Account) -> PrecisionProof:
        """See `edgekit.backends.tflite.proof`."""
        return prove(plan, account)

    def example(self, artifact: Artifact) -> str:
        """See `edgekit.backends.tflite.example`."""
        return example(artifact)


def _compile_float(model: Model, request: CompileRequest) -> Artifact:
    from edgekit.backends.tflite.convert import convert

    _require_batch(model, request.batch)
    content, module = convert(model, request.batch)
    inputs = tuple(replace(spec, shape=spec.with_batch(request.batch)) for spec in module.inputs)
    outputs = tuple(replace(spec, shape=spec.with_batch(request.batch)) for spec in module.outputs)
    return _write(content, request, inputs, outputs)


def _quantize(model: Model, request: CompileRequest) -> Artifact:
    from edgekit.backends.promise import promised
    from edgekit.backends.tflite.float_layers import with_float_layers
    from edgekit.backends.tflite.quantize import quantize
    from edgekit.backends.tflite.recorded import recorded_ranges
    from edgekit.ir.quantization import made_for
    from edgekit.lowering import scope_names

    baseline = request.baseline
    assert baseline is not None, "a quantized file is made from the float one"
    io = request.io if request.plan.default is Precision.INT8 else "float32"
    samples = _samples(model, baseline, request.calibration) if request.calibration else None
    float_file, scopes = baseline.path.read_bytes(), scope_names(model)
    recorded = recorded_ranges(float_file, model, baseline.inputs, scopes)
    runtime = _runtime(request)
    plan = with_float_layers(request.plan, float_file, scopes)
    content = quantize(
        float_file,
        plan,
        scopes=scopes,
        samples=samples,
        io=io,
        recorded=recorded,
        weight_bits=4 if made_for(model) == INT4_TOP else 8,
        float_ops=int8_gaps(runtime) if runtime else (),
    )
    inputs, outputs = (
        tuple(replace(spec, dtype=io) if spec.dtype == "float32" else spec for spec in specs)
        for specs in (baseline.inputs, baseline.outputs)
    )
    return replace(_write(content, request, inputs, outputs), plan=promised(plan, model))


def _write(
    content: bytes, request: CompileRequest, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> Artifact:
    from edgekit.formats.tflite import flatbuffer

    file = flatbuffer.read(content)
    if runtime := _runtime(request):
        require(file, runtime)
    oldest = oldest_runtime(file)
    package, _, release = oldest.partition(" ")
    entries = {
        # The converter's own entry, in TensorFlow's numbers, knows nothing of int8. LiteRT counts otherwise.
        "min_runtime_version": f"{release}.0" if package == "tflite-runtime" else None,
        "edgekit.preprocess": json.dumps(to_json(request.preprocess), sort_keys=True),
    }
    if request.labels:
        entries["edgekit.labels"] = "\n".join(request.labels)
    flatbuffer.set_metadata(file, entries)
    path = request.workdir / _FILE
    path.write_bytes(flatbuffer.write(file))
    return Artifact(
        backend=TFLiteBackend.name,
        files=(path,),
        digest=digest_file(path),
        plan=request.plan,
        device_runtime=_runtime(request).partition(" ")[0].replace("-", "_"),
        min_runtime=oldest,
        inputs=inputs,
        outputs=outputs,
    )


def _runtime(request: CompileRequest) -> str:
    """The runtime that the target says its device has, or "" for the newest.

    Raises:
        InvalidInputError: there is no such option, or no such runtime.
    """
    options = dict(request.options)
    runtime = options.pop("runtime", "")
    if options:
        raise InvalidInputError(
            f"the tflite back end has no option {next(iter(options))!r}",
            blame="your target file",
            remedy='Under [options] it takes: runtime = "tflite-runtime 2.14"',
        )
    if runtime:
        require_known(runtime)
    return runtime


def _samples(model: Model, baseline: Artifact, path: Path) -> Samples:
    """The calibration samples in the layout that the float file takes.

    Raises:
        InvalidInputError: an input has none, or of another shape.
    """
    import numpy as np

    from edgekit.passes.quantize.ranges import check_samples

    with np.load(path) as stored:
        samples = {spec.name: stored[spec.name] for spec in model.inputs if spec.name in stored}
    check_samples(model, samples)
    return {
        spec.name: samples[spec.name].transpose(permutation(spec.layout, own.layout, samples[spec.name].ndim))
        for spec, own in zip(model.inputs, baseline.inputs, strict=True)
    }


def _require_batch(model: Model, batch: int) -> None:
    """Refuse a batch that the network fixes otherwise; a batch of 1 stands for the network's own."""
    fixed = [spec for spec in model.inputs if spec.shape[:1] not in ((None,), (batch,))]
    if fixed and batch != 1:
        raise InvalidInputError(
            f"input {fixed[0].name!r} is fixed to the shape {fixed[0].shape}, which is no batch of {batch}",
            blame="your model",
            remedy="Leave --batch out, or export the model with an open batch.",
        )
