"""The real tflite-runtime, in an environment of its own: reached by its Python and by files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.resources import resource

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The Python that has tflite-runtime 2.14: see scripts/side-environment tflite-runtime."""
    checkout = Path(__file__).parents[2]
    folder = os.environ.get("EDGEKIT_TFLITE_RUNTIME_VENV", checkout / ".venv-tflite-runtime")
    python = Path(folder, "bin", "python")
    if not python.exists():
        pytest.skip(f"there is no tflite-runtime ({python}): run scripts/side-environment tflite-runtime")
    return python


@pytest.fixture(scope="session")
def run_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Array]]:
    """Run a file in a runtime with the bench script, and give its answers.

    It takes the runtime's Python and module, the file, the samples, and "none" for no delegate; a runtime that refuses
    is an AssertionError with what it said.
    """

    def run(python: Path, runtime: str, file: Path, samples: Path, delegate: str = "") -> dict[str, Array]:
        outputs = tmp_path_factory.mktemp("answers") / "answers.npz"
        script = resource("scripts/bench_on_device.py")
        command = [python, script, file, "--runtime", runtime, "--inputs", samples, "--outputs", outputs, "--no-timing"]
        command += ["--delegate", delegate] if delegate else []
        finished = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        with np.load(outputs) as answers:
            return dict(answers)

    return run


@pytest.fixture
def plugin(tmp_path):
    """Run the command line with a package beside edgekit whose module `my_package` has the given source."""
    site = tmp_path / "site"
    dist = site / "my_package-1.0.dist-info"
    dist.mkdir(parents=True)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[edgekit.backends]\nonnx = my_package:OnnxBackend\n")

    def run(source, *arguments):
        (site / "my_package.py").write_text(source)
        paths = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": paths, "EDGEKIT_CACHE": str(tmp_path / "store")}
        return subprocess.run(
            [sys.executable, "-m", "edgekit", *map(str, arguments), "--out", tmp_path / "out"],
            capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip

    return run
