"""Builds through the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Build = Callable[..., dict[str, Any]]


def start(*arguments: object, store: Path, **options: Any) -> subprocess.Popen[str]:
    """Start `edgekit` with a store of its own."""
    environment = {**os.environ, "EDGEKIT_CACHE": str(store)}
    return subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture(scope="session")
def store() -> Path:
    """The store that all builds of the tests share."""
    return Path(os.environ["EDGEKIT_CACHE"])


@pytest.fixture(scope="session")
def build(store: Path) -> Build:
    """Run `edgekit build … --json` to its end; the document it prints, with its exit code under "exit_code"."""

    def run(*arguments: object) -> dict[str, Any]:
        process = start("build", *arguments, "--json", store=store)
        out, err = process.communicate()
        assert out, err
        document: dict[str, Any] = json.loads(out)
        assert document["exit_code"] == process.returncode
        return document

    return run
