"""ncnn behind the bench script: the real one, in the environment that scripts/side-environment makes for it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.scripts.files import save_npz
from tests.scripts.script import ROOT, bench

CHANNELS, SIZE = 8, 16
# ncnn's text form: magic number; how many layers and blobs; then each layer's kind, name, numbers of inputs and
# outputs, their names, and its numbered parameters.
NETWORK = """7767517
4 5
Input data 0 1 data {shape}
Convolution conv 1 1 data features 0={channels} 1=3 4=1 5=1 6={weights}
Split split 1 2 features left right
BinaryOp sum 2 1 left right doubled 0=0
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has ncnn."""
    path = Path(os.environ.get("EDGEKIT_NCNN_VENV", ROOT / ".venv-ncnn"), "bin", "python")
    if not path.exists():
        pytest.skip(f"there is no ncnn ({path}): run scripts/side-environment ncnn")
    return path


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(CHANNELS, CHANNELS, 3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, weights: np.ndarray) -> Path:
    """Twice a convolution, for images of 8 channels."""
    folder = tmp_path_factory.mktemp("ncnn")
    shape = f"0={SIZE} 1={SIZE} 2={CHANNELS}"
    (folder / "net.param").write_text(NETWORK.format(shape=shape, channels=CHANNELS, weights=weights.size))
    (folder / "open.param").write_text(NETWORK.format(shape="", channels=CHANNELS, weights=weights.size))
    bias = np.arange(CHANNELS, dtype=np.float32)
    content = bytes(4) + weights.tobytes() + bias.tobytes()  # four zero bytes: float32 follows
    for name in ("net.bin", "open.bin"):
        (folder / name).write_bytes(content)
    return folder / "net.param"


def convolve(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of images (n, channels, height, width), padded by one, with the bias 0, 1, 2, …."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    answer: np.ndarray = np.einsum("nchwij,ocij->nohw", windows, weights)
    return answer + np.arange(CHANNELS)[:, None, None]


def test_its_answers_are_the_networks(python: Path, network: Path, weights: np.ndarray) -> None:
    x = np.random.default_rng(1).normal(size=(3, CHANNELS, SIZE, SIZE)).astype(np.float32)
    inputs, outputs = save_npz(network.with_name("x.npz"), data=x), network.with_name("y.npz")
    document, process = bench(network, "--inputs", inputs, "--outputs", outputs, "--runs", 5, python=python)
    assert process.returncode == 0, process.stderr
    (artifact,) = document["artifacts"]
    assert document["runtime"]["name"] == "ncnn"
    assert artifact["bytes"] == network.stat().st_size + network.with_suffix(".bin").stat().st_size
    assert artifact["inputs"] == [{"name": "data", "shape": [1, CHANNELS, SIZE, SIZE], "dtype": "float32"}]
    assert artifact["outputs"] == [{"name": "doubled", "shape": [1, CHANNELS, SIZE, SIZE], "dtype": "float32"}]
    ops = {op["op"]: op for op in artifact["account"]["compute"]}
    assert set(ops) == {"Input", "Convolution", "Split", "BinaryOp"}
    assert artifact["delegate"] == {"asked": None, "applied": {}, "nodes": 4}
    assert artifact["timing"]["runs"] == 25
    # In float16 where the CPU computes in it, as ncnn then chooses to.
    tolerance = 1e-4 if ops["Convolution"]["precision"] == "float32" else 1e-1
    np.testing.assert_allclose(np.load(outputs)["doubled"], 2 * convolve(x, weights), atol=tolerance, rtol=tolerance)


def test_a_network_without_a_shape_gets_one_behind_its_name(python: Path, network: Path) -> None:
    model = network.with_name("open.param")
    document, process = bench(model, "--no-timing", python=python)
    assert process.returncode == 9
    assert "the input 'data'" in document["error"]["cause"]
    assert f"{model}?data=" in document["error"]["remedy"]
    document, process = bench(f"{model}?data=8x20x12&use_packing_layout=0", "--no-timing", python=python)
    assert process.returncode == 0, process.stderr
    assert document["artifacts"][0]["outputs"][0]["shape"] == [1, 8, 20, 12]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["{network}?use_magic=1"], 2, "ncnn takes no options (use_magic)"),
        (["{network}?data=big"], 2, "big is no shape"),
        (["{network}", "--delegate", "metal"], 2, "ncnn has no delegate metal"),
        (["{folder}/text.param"], 9, "is no .param file"),
        (["{folder}/alone.param"], 9, "there is no file"),
    ],
)
def test_each_failure_is_told(python: Path, network: Path, arguments: list[str], code: int, told: str) -> None:
    network.with_name("text.param").write_text("hello\nworld\nyes\n")
    network.with_name("text.bin").write_bytes(b"")
    network.with_name("alone.param").write_text(network.read_text())
    placed = [argument.format(network=network, folder=network.parent) for argument in arguments]
    document, process = bench(*placed, "--no-timing", python=python)
    assert process.returncode == code, process.stderr
    assert told in document["error"]["cause"]
    assert "Traceback" not in process.stderr


def test_vulkan_runs_something_or_is_an_error(python: Path, network: Path) -> None:
    document, process = bench(network, "--no-timing", "--delegate", "vulkan", python=python)
    if process.returncode:
        assert process.returncode == 11
        assert "ncnn finds no Vulkan device here" in document["error"]["cause"]
    else:
        assert document["artifacts"][0]["delegate"]["applied"]["vulkan"] > 0
