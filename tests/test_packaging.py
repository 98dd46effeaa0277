"""The built wheel, installed in an environment of its own, brings all that a build needs."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

import edgekit

CHECKOUT = Path(edgekit.__file__).resolve().parent.parent
TARGETS = {file.name for file in (CHECKOUT / "targets").glob("*.toml")}
EXTRAS = {"tensorflow", "tflite", "openvino", "onnxruntime", "all", "dev"}


@dataclass(frozen=True)
class Installed:
    """A fresh environment with nothing but the wheel of its own; other packages are lent by the running one."""

    wheel: Path
    folder: Path

    def run(self, *command: str) -> str:
        """Run a program of the environment, from a folder that is no checkout; its stdout."""
        program, *arguments = command
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        argv = [str(self.folder / "bin" / program), *arguments]
        done = subprocess.run(argv, cwd=self.folder, env=clean, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(archive.read(name))

    def names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("packaging")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(root)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = root.glob("*.whl")
    folder = root / "environment"
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    install = ["install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([str(base), "-m", "pip", "--python", str(folder / "bin" / "python"), *install], check=True)
    own = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (own / "lent.pth").write_text(sysconfig.get_path("purelib"))
    return Installed(wheel, folder)


def test_targets_come_along_and_are_found(installed: Installed) -> None:
    shown = json.loads(installed.run("edgekit", "targets", "--json"))
    assert {f"{target['name']}.toml" for target in shown["targets"]} == TARGETS


@pytest.mark.parametrize(
    "name",
    ["targets", "models/digits-cnn/edgekit.toml", "scripts/bench_on_device.py", "scripts/arm-sysroot"],
)
def test_resources_are_read_from_the_environment_not_from_the_checkout(installed: Installed, name: str) -> None:
    code = f"from edgekit.core.resources import resource; print(resource({name!r}))"
    path = Path(installed.run("python", "-c", code).strip())
    assert path.exists()
    assert path.is_relative_to(installed.folder)


def test_the_script_of_the_emulated_boards_comes_with_what_it_reads_and_can_be_run(installed: Installed) -> None:
    code = "from edgekit.devices.opening import open_device; open_device('qemu://cortex-a53').probe()"
    command = [str(installed.folder / "bin" / "python"), "-c", code]
    environment = {**os.environ, "EDGEKIT_ARM_SYSROOT": str(installed.folder / "none"), "PYTHONPATH": ""}
    failed = subprocess.run(command, cwd=installed.folder, env=environment, check=False, capture_output=True, text=True)
    assert "MissingToolError: the emulated aarch64 board isn't made yet" in failed.stderr
    script = installed.run(
        "python", "-c", "from edgekit.core.resources import resource; print(resource('scripts/arm-sysroot'))"
    )
    assert os.access(script.strip(), os.X_OK)


@pytest.mark.parametrize("model", ["digits-cnn", "digits-mlp"])
def test_the_zoo_comes_along_with_its_data(installed: Installed, model: str) -> None:
    expected = {f"{model}.keras", f"{model}.onnx", "train.npz", "eval.npz", "edgekit.toml", "train.py"}
    assert {f"edgekit/_resources/models/{model}/{name}" for name in expected} <= installed.names()


def test_the_back_ends_are_found_by_entry_point(installed: Installed) -> None:
    code = "from edgekit.backends.base import backend_names; print(*backend_names())"
    assert installed.run("python", "-c", code).split() == ["onnxruntime", "openvino", "tflite"]


def test_the_metadata_names_version_extras_and_licence(installed: Installed) -> None:
    metadata = installed.metadata()
    assert metadata["Version"] == edgekit.__version__
    assert set(metadata.get_all("Provides-Extra") or ()) == EXTRAS
    assert metadata["License-Expression"] == "Apache-2.0"
    assert installed.run("edgekit", "--version").split() == ["edgekit", edgekit.__version__]


def test_nothing_else_comes_along(installed: Installed) -> None:
    names = installed.names()
    assert {name.split("/")[0] for name in names} == {"edgekit", f"edgekit-{edgekit.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/tests/" in name]
    assert "edgekit/py.typed" in names
    assert installed.wheel.stat().st_size < 8_000_000
