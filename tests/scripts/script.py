"""The bench script for its tests: as a module, and as a program."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "bench_on_device.py"


def load_script() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("bench_on_device", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bench(
    *arguments: object, env: dict[str, str] | None = None, python: str | Path = sys.executable
) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Run the script with --json; the document, and how the process ended."""
    process = subprocess.run(
        [str(python), str(SCRIPT), *map(str, arguments), "--json"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout, process.stderr
    return json.loads(process.stdout), process
