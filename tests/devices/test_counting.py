"""Instructions of an inference, counted by a real plugin in a real qemu."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.bench import measure
from edgekit.devices.opening import open_device
from edgekit.devices.sysroot import find_sysroot

MODEL = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"
SCRIPT = Path(__file__).parents[2] / "scripts" / "arm-sysroot"


@pytest.fixture(scope="module")
def counting(emulated_arm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An emulated board with a counter, beside the user's, which need have none."""
    if shutil.which("cc") is None:
        pytest.skip("not on this machine: a C compiler")
    board, folder = find_sysroot("aarch64"), tmp_path_factory.mktemp("boards")
    for layer in (board.qemu.parent, board.root, *board.sites.values()):
        (folder / layer.name).symlink_to(layer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_ARM_SYSROOT", str(folder))
        subprocess.run([SCRIPT, "--count", "aarch64"], check=True)
        yield


def count(model: Path, cpu: str) -> list[int | None]:
    measurements, _ = measure(model, against=[(model, ())], device=open_device(f"qemu://{cpu}"))
    return [measurement.instructions for measurement in measurements]


@pytest.mark.usefixtures("counting")
def test_a_count_repeats() -> None:
    first, again = count(MODEL, "cortex-a76"), count(MODEL, "cortex-a76")
    # 1.1 million products, four to a vector instruction, and what stands around them.
    assert all(each is not None and 300_000 < each < 5_000_000 for each in first)
    assert again == pytest.approx(first, rel=1e-3)


@pytest.mark.acceptance
@pytest.mark.usefixtures("counting")
def test_dot_products_save_most_instructions_of_an_int8_network(acceptance_data: Path) -> None:
    model = acceptance_data / "mlperf_tiny_models" / "pretrainedResnet_quant.tflite"
    (old, _), (new, _), (again, _) = (count(model, cpu) for cpu in ("cortex-a53", "cortex-a76", "cortex-a76"))
    assert old is not None
    assert new is not None
    assert 0.2 < new / old < 0.5
    assert again == pytest.approx(new, rel=3e-5)  # the runtime of most boards repeats better than ONNX Runtime


@pytest.mark.usefixtures("emulated_arm")
def test_this_machine_counts_nothing() -> None:
    (measurement,), _ = measure(MODEL, timing=False)
    assert measurement.instructions is None
