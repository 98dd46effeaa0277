"""The one door to OpenVINO and NNCF: they come in without their telemetry and without their chatter."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["import_nncf", "import_openvino", "silence"]


def import_openvino() -> Any:
    """The module `openvino`.

    Importing it reports home unless the package that does so can't be imported: OpenVINO and NNCF then both take a
    stub of their own.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def import_nncf() -> Any:
    """The module `nncf`, logging errors only."""
    import_openvino()
    import nncf

    nncf.set_log_level("ERROR")
    return nncf


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep progress bars off the standard output, which belongs to the caller."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
