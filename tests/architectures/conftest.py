"""Networks made by scripts of their own, in the environment that their framework lives in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architectures.parity import Built, build

_HERE = Path(__file__).parent


def _torch_python() -> Path:
    """The Python that has PyTorch: see scripts/side-environment torch."""
    checkout = _HERE.parents[1]
    return Path(os.environ.get("EDGEKIT_TORCH_VENV", checkout / ".venv-torch"), "bin", "python")


@pytest.fixture(scope="session")
def keras_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _made(Path(sys.executable), "keras_networks.py", tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="session")
def torch_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python = _torch_python()
    if not python.exists():
        pytest.skip(f"there is no PyTorch ({python}): run scripts/side-environment torch")
    return _made(python, "torch_networks.py", tmp_path_factory.mktemp("torch"))


@pytest.fixture
def built(tmp_path: Path) -> Callable[[Path], Built]:
    return lambda source: build(source, tmp_path / "built")


def _made(python: Path, script: str, folder: Path) -> Path:
    done = subprocess.run([python, _HERE / script, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder
