"""The bench script alone, under the oldest and the newest Python that a board may have: no packages at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.script import ROOT, SCRIPT

MODEL = ROOT / "models" / "digits-cnn" / "digits-cnn.onnx"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["3.8", "3.13"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs the script, copied away from this checkout, under that Python without any packages."""
    name = f"python{request.param}"
    program = shutil.which(name)
    # A shim of pyenv's is one only with a version chosen.
    environment = {**os.environ, "PYENV_VERSION": request.param, "TMPDIR": str(tmp_path)}
    if program is None or subprocess.run([program, "-V"], env=environment, capture_output=True, check=False).returncode:
        pytest.skip(f"not on this machine: {name}")
    script = shutil.copy(SCRIPT, tmp_path / "bench.py")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [program, "-I", "-S", "-W", "error", str(script), *map(str, arguments)]
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )

    return run


def test_it_says_what_the_device_is(run: Run) -> None:
    done = run("--probe")
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts["device"]["machine"] == os.uname().machine
    assert {each["error"] for each in facts["runtimes"]} == {"not installed"}


def test_it_keeps_a_folder(run: Run, tmp_path: Path) -> None:
    done = run("--keep")  # whose stdin has ended
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("edgekit-ready {")
    assert [path.name for path in tmp_path.iterdir()] == ["bench.py"]


def test_it_says_what_is_missing(run: Run) -> None:
    done = run(MODEL, "--json")
    assert done.returncode == 10
    error = json.loads(done.stdout)["error"]
    assert error["cause"] == "numpy is not installed on this device"
    assert error["install"] == "numpy"
    assert "pip install numpy" in error["remedy"]


def test_its_help_shows_lines_to_paste(run: Run) -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "python3 bench_on_device.py model.tflite" in done.stdout
