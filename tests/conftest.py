"""What every test shares: a store of its own, the command line, and the way to the acceptance data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Tests import ONNX Runtime by itself too, and it reports home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the user's store."""
    os.environ["EDGEKIT_CACHE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def edgekit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit code, stdout, stderr)."""
    from edgekit.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgekit", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def acceptance_data() -> Path:
    """The folder of real models and data; the test is skipped, saying so, without it."""
    folder = os.environ.get("EDGEKIT_ACCEPTANCE_DATA")
    if not folder:
        pytest.skip("EDGEKIT_ACCEPTANCE_DATA is not set")
    return Path(folder).resolve()
