"""What edgekit asks of the OpenVINO compiler, answered: the `Backend` protocol. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

from edgekit.backends.base import CompileRequest
from edgekit.backends.example import run_and_print
from edgekit.core.errors import MissingToolError
from edgekit.core.evidence import Account, PrecisionProof
from edgekit.core.types import Artifact, Integers, Precision, QuantPlan

__all__ = ["OpenVINOBackend"]

_EXAMPLE = '''\
"""Runs {file} in OpenVINO."""

from pathlib import Path

import numpy as np
import openvino as ov

model = ov.Core().compile_model(Path(__file__).with_name("{file}"), "CPU", {options})
inputs = {{
{inputs}
}}
{running}'''


class OpenVINOBackend:
    """Compiles for OpenVINO's CPU plugin, but for its dynamic int8, which no account of it tells from float."""

    name: ClassVar[str] = "openvino"
    version: ClassVar[str] = "4"
    runtime: ClassVar[str] = "openvino"
    precisions: ClassVar[tuple[Precision, ...]] = (
        Precision.INT8, Precision.MIXED, Precision.FP16, Precision.FP32,
    )  # fmt: skip
    extra: ClassVar[str] = "openvino"

    def tools(self) -> Mapping[str, str]:
        """Versions of OpenVINO and NNCF.

        Raises:
            MissingToolError: one of them is not installed.
        """
        try:
            return {package: version(package) for package in ("openvino", "nncf")}
        except PackageNotFoundError as error:
            raise MissingToolError(
                f"the openvino back end needs the package {error.name}, which is not installed",
                blame="this machine",
                remedy="Run: pip install 'edgekit[openvino]'",
            ) from error

    def unsupported(self, model: Path) -> list[tuple[str, str, str]]:
        """The ops for which OpenVINO's ONNX front end has no rule: (layer, op type, remedy) each."""
        from edgekit.backends.openvino.support import unsupported_ops

        return unsupported_ops(model)

    def compile(self, request: CompileRequest) -> Artifact:
        """Write `model.xml` and `model.bin` into `request.workdir`.

        Raises:
            UnsupportedOpError: an op that OpenVINO can't take.
            InvalidInputError: int8 without calibration samples, or with samples that don't fit.
            UsageError: integer inputs, or a mix of precisions that OpenVINO can't store.
        """
        from edgekit.backends.openvino.compiler import compile_model

        return compile_model(request)

    def integers(self, *, saturates: bool) -> Integers:  # noqa: ARG002
        """As NNCF is asked to, in `edgekit.backends.openvino.quantize`."""
        from edgekit.backends.saturation import HALF_RANGE

        return Integers(top=HALF_RANGE, symmetric=True)

    def prove(self, plan: QuantPlan, account: Account) -> PrecisionProof:
        """Hold OpenVINO's own account against the plan."""
        from edgekit.backends.openvino.proof import prove

        return prove(plan, account)

    def example(self, artifact: Artifact) -> str:
        """The shortest program that runs the artifact; its input is noise, and state begins at zero."""
        states = dict(artifact.states)
        inputs = "\n".join(
            f'    "{spec.name}": np.zeros({spec.shape}, "{spec.dtype}"),'
            if spec.name in states
            else f'    "{spec.name}": np.random.rand{spec.shape}.astype("{spec.dtype}"),'
            for spec in artifact.inputs
        )
        shown = "output.any_name, value.shape, value.ravel()[:10]"
        running = run_and_print("model(inputs)", "output, value", shown, artifact.states)
        options = dict(artifact.runtime_options)
        return _EXAMPLE.format(file=artifact.path.name, options=options, inputs=inputs, running=running)
