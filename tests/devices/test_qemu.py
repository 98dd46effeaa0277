"""Emulated ARM CPUs: real ARM wheels under a real qemu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import InvalidInputError, MissingToolError, UsageError
from edgekit.core.evidence import EvidenceKind
from edgekit.devices.bench import measure
from edgekit.devices.opening import open_device

MODEL = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"
# What the CPU is, and whether it has the dot products that the int8 kernels of newer boards are made of.
CPUS = {
    "cortex-a53": ("aarch64", "Cortex-A53", False),
    "cortex-a72": ("aarch64", "Cortex-A72", False),
    "cortex-a76": ("aarch64", "Cortex-A76", True),
    "armv7": ("armv7l", "Cortex-A7", False),
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "x.npz"
    with np.load(MODEL.parent / "eval.npz") as data:
        np.savez(path, x=data["x"][:40])
    return path


@pytest.fixture(scope="module")
def host(digits: Path) -> np.ndarray:
    return answers(digits, "local")


def answers(digits: Path, uri: str) -> np.ndarray:
    out = digits.with_name("y.npz")
    measurements, _ = measure(MODEL, device=open_device(uri), inputs=digits, outputs=out, repeats=1, runs=1)
    assert measurements[0].kind is (EvidenceKind.MEASURED if uri == "local" else EvidenceKind.EMULATED)
    assert (measurements[0].timing is None) == (uri != "local")  # an emulator has no speed
    (array,) = np.load(out).values()
    return np.asarray(array)


@pytest.mark.usefixtures("emulated_arm")
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
def test_it_answers_as_this_machine_does(cpu: str, digits: Path, host: np.ndarray) -> None:
    there = answers(digits, f"qemu://{cpu}")
    assert (there.argmax(axis=1) == host.argmax(axis=1)).all()
    np.testing.assert_allclose(there, host, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("emulated_arm")
@pytest.mark.parametrize("cpu", CPUS)
def test_it_says_what_it_is(cpu: str) -> None:
    facts = open_device(f"qemu://{cpu}").probe()
    machine, part, dot_products = CPUS[cpu]
    assert facts["kind"] == "emulated"
    assert (facts["device"]["machine"], facts["device"]["cpu_part"]) == (machine, part)
    assert ("asimddp" in facts["device"]["features"]) == dot_products
    runtimes = {runtime["name"] for runtime in facts["runtimes"] if runtime["version"]}
    assert runtimes == ({"tflite_runtime"} if cpu == "armv7" else {"ai_edge_litert", "onnxruntime"})


@pytest.mark.usefixtures("emulated_arm")
def test_the_runtime_can_be_chosen() -> None:
    facts = open_device("qemu://cortex-a53?runtime=tflite_runtime").probe()
    (runtime,) = [each for each in facts["runtimes"] if each["version"]]
    assert (runtime["name"], runtime["version"]) == ("tflite_runtime", "2.14.0")
    assert int(facts["numpy"].split(".")[0]) < 2
    with pytest.raises(UsageError, match="no runtime 'ncnn'"):
        open_device("qemu://cortex-a53?runtime=ncnn").probe()


@pytest.mark.usefixtures("emulated_arm")
def test_settings_for_this_machines_programs_stay_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(1)")
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "QEMU_LD_PREFIX"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("QEMU_STRACE", "1")
    assert open_device("qemu://cortex-a72").probe()["device"]["cpu_part"] == "Cortex-A72"


@pytest.mark.usefixtures("emulated_arm")
def test_a_broken_artifact_is_the_artifacts_doing(tmp_path: Path) -> None:
    broken = tmp_path / "model.onnx"
    broken.write_bytes(MODEL.read_bytes()[:1000])
    with pytest.raises(InvalidInputError) as caught:
        measure(broken, device=open_device("qemu://cortex-a76"), blame="your model")
    assert caught.value.blame == "your model"


def test_without_a_sysroot_the_error_has_the_line_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_ARM_SYSROOT", str(tmp_path))
    device = open_device("qemu://armv7")
    with pytest.raises(MissingToolError) as caught:
        device.probe()
    assert caught.value.remedy.endswith("scripts/arm-sysroot armv7")


@pytest.mark.parametrize(
    "uri",
    ["qemu://", "qemu://cortex-a15", "qemu://cortex-a76/x", "qemu://cortex-a76?cores=2", "qemu://pi@cortex-a76"],
)
def test_what_is_no_emulated_cpu_is_refused_with_those_that_are(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_device(uri)
    assert "qemu://cortex-a76" in caught.value.remedy
