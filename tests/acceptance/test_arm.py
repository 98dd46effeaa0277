"""What is built for a Raspberry Pi runs on ARM and answers as it does here: real aarch64 and armv7 runtimes, emulated.

Each different artifact runs once on each device. The float ones take most of the time: qemu needs 8 ns for a product.
"""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.digest import digest_file
from edgekit.core.evidence import EvidenceKind
from edgekit.devices.bench import measure
from edgekit.devices.opening import open_device
from tests.acceptance.conftest import Build

pytestmark = pytest.mark.usefixtures("emulated_arm")

_TARGETS = ("raspberry-pi-zero-2w", "raspberry-pi-4", "raspberry-pi-5")
_DIGITS = Path(__file__).parents[2] / "models" / "digits-cnn"
_BOTH = ("qemu://cortex-a53", "qemu://cortex-a76")  # the second has dot products, so its runtime takes other kernels
_OLD = "qemu://cortex-a53?runtime=tflite_runtime"
_ARMV7 = "qemu://armv7"  # which has the old runtime only

Artifacts = Callable[[str], set[Path]]


@pytest.fixture(scope="module")
def digits(build: Build, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifacts, Path]:
    """Makes the artifacts of a precision; and the 450 digits that neither training nor calibration saw."""
    out = tmp_path_factory.mktemp("digits")
    with np.load(_DIGITS / "eval.npz") as data:
        np.savez(out / "x.npz", x=data["x"])
    return functools.cache(lambda precision: _artifacts(build, "digits-cnn", precision, out)), out / "x.npz"


@pytest.fixture(scope="module")
def resnet(build: Build, tmp_path_factory: pytest.TempPathFactory, acceptance_data: Path) -> tuple[Artifacts, Path]:
    """The same of ResNet-8, with 1,000 photos, a hundred of each class."""
    out = tmp_path_factory.mktemp("resnet")
    with tarfile.open(acceptance_data / "cifar10_jpeg_test5k.tar.gz") as archive:
        archive.extractall(out, filter="data")
    classes = sorted(folder for folder in (out / "test").iterdir())
    images = [sorted(folder.iterdir())[index] for index in range(100) for folder in classes]
    np.savez(out / "x.npz", x=np.stack([np.asarray(Image.open(image)) for image in images]))
    model = acceptance_data / "mlperf_tiny_models" / "pretrainedResnet.h5"
    return functools.cache(
        lambda precision: _artifacts(build, model, precision, out, "--data", out / "test")
    ), out / "x.npz"


def _artifacts(build: Build, model: str | Path, precision: str, out: Path, *data: object) -> set[Path]:
    """The different artifacts that the targets get: one, as long as their CPUs like the same."""
    targets = [word for target in _TARGETS for word in ("--target", target)]
    arguments = (*targets, *data, "--precision", precision, "--out", out / precision, "--device", "local")
    document = build(model, *arguments)
    assert document["exit_code"] == 0, document["targets"]
    files = [out / precision / target / "model.tflite" for target in _TARGETS]
    return set({digest_file(file): file for file in files}.values())


def _classes(model: Path, samples: Path, *devices: str) -> list[np.ndarray]:
    """The class that each device gives each sample."""
    return [scores.argmax(axis=1) for scores in _scores(model, samples, *devices)]


def _scores(model: Path, samples: Path, *devices: str) -> list[np.ndarray]:
    """The scores that each device gives each sample; two devices work at a time."""

    def run(uri: str) -> np.ndarray:
        out = model.with_name(f"{open_device(uri).uri.translate(str.maketrans('/:?', '---'))}.npz")
        (measurement,), _ = measure(
            model, device=open_device(uri), inputs=samples, outputs=out, digest=digest_file(model), timing=False
        )
        assert measurement.kind is (EvidenceKind.MEASURED if uri == "local" else EvidenceKind.EMULATED)
        (scores,) = np.load(out).values()
        assert scores.shape == (len(np.load(samples)["x"]), 10)
        return np.asarray(scores)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, devices))


@pytest.mark.parametrize("precision", ["int8", "fp32"])
@pytest.mark.parametrize("devices", [_BOTH, (_ARMV7, _OLD)], ids=["aarch64", "tflite-runtime on both"])
def test_at_most_one_digit_is_read_otherwise_than_here(digits, precision, devices):
    make, samples = digits
    for artifact in make(precision):
        here, *there = _classes(artifact, samples, "local", *devices)
        assert len(here) == 450
        assert [int((classes != here).sum()) <= 1 for classes in there] == [True] * len(devices)


@pytest.mark.acceptance
def test_at_most_two_photos_of_a_thousand_are_seen_otherwise_in_int8_than_here(resnet):
    make, samples = resnet
    for artifact in make("int8"):
        here, *there = _classes(artifact, samples, "local", *_BOTH)
        assert len(here) == 1000
        assert [int((classes != here).sum()) <= 2 for classes in there] == [True] * len(_BOTH)


@pytest.mark.acceptance
def test_the_old_runtime_sees_int8_photos_on_armv7_as_on_aarch64(resnet):
    """Its int8 kernels round otherwise than XNNPACK's, on any CPU: this host's answers are no measure for them."""
    make, samples = resnet
    for artifact in make("int8"):
        one, other = _classes(artifact, samples, _ARMV7, _OLD)
        assert (one != other).sum() <= 2


@pytest.mark.acceptance
def test_every_photo_gets_the_scores_in_float_that_it_gets_here(resnet):
    """Scores that are the same say of a few photos what classes say of a thousand, in five minutes less of CPU."""
    make, samples = resnet
    some = samples.with_name("some.npz")
    np.savez(some, x=np.load(samples)["x"][:150])
    for artifact in make("fp32"):
        here, *there = _scores(artifact, some, "local", *_BOTH, _ARMV7)
        for scores in there:
            np.testing.assert_allclose(scores, here, rtol=0, atol=1e-4)
            assert (scores.argmax(axis=1) == here.argmax(axis=1)).all()
