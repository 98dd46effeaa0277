"""What edgekit asks of the ONNX Runtime compiler, answered: the `Backend` protocol. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime.example import example
from edgekit.backends.proof import prove
from edgekit.core.errors import MissingToolError
from edgekit.core.evidence import Account, PrecisionProof
from edgekit.core.types import Artifact, Integers, Precision, QuantPlan

__all__ = ["OnnxRuntimeBackend"]


class OnnxRuntimeBackend:
    """Compiles for ONNX Runtime's CPU provider. It has no fp16: that provider computes in float32 or in integers."""

    name: ClassVar[str] = "onnxruntime"
    version: ClassVar[str] = "2"
    runtime: ClassVar[str] = "onnxruntime"
    precisions: ClassVar[tuple[Precision, ...]] = (
        Precision.INT8, Precision.MIXED, Precision.DYNAMIC, Precision.FP32,
    )  # fmt: skip
    extra: ClassVar[str] = "onnxruntime"

    def tools(self) -> Mapping[str, str]:
        """Versions of the packages that write the file, and of the one that measures ranges.

        Raises:
            MissingToolError: one of them is not installed.
        """
        try:
            return {package: version(package) for package in ("onnxruntime", "onnx", "onnx-ir")}
        except PackageNotFoundError as error:
            raise MissingToolError(
                f"the onnxruntime back end needs the package {error.name}, which is not installed",
                blame="this machine",
                remedy=f"Run: pip install 'edgekit[{self.extra}]'",
            ) from error

    def unsupported(self, model: Path) -> list[tuple[str, str, str]]:  # noqa: ARG002 - the protocol's
        """Nothing: a Model is ONNX, and its import ran it in ONNX Runtime."""
        return []

    def compile(self, request: CompileRequest) -> Artifact:
        """Write `model.onnx` into `request.workdir`.

        Raises:
            InvalidInputError: int8 without calibration samples, with samples that don't fit, or a plan about layers
                that aren't there.
            UsageError: integer inputs, fp16, int8 beside dynamic, or options.
            UnsupportedOpError: dynamic without a matrix product.
        """
        from edgekit.backends.onnxruntime.compiler import compile_model

        return compile_model(request)

    def integers(self, *, saturates: bool) -> Integers:
        """As `edgekit.passes.quantize.qdq` writes it."""
        from edgekit.backends.saturation import HALF_RANGE

        return Integers(top=HALF_RANGE if saturates else 127)

    def prove(self, plan: QuantPlan, account: Account) -> PrecisionProof:
        """See `edgekit.backends.proof`."""
        return prove(plan, account)

    def example(self, artifact: Artifact) -> str:
        """See `edgekit.backends.onnxruntime.example`."""
        return example(artifact)
