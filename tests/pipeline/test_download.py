"""The size of a download: what travels, not what lies on the disk."""

from __future__ import annotations

import numpy as np

from edgekit.core.digest import digest_files
from edgekit.core.types import Artifact, Precision, QuantPlan
from edgekit.pipeline.download import download_bytes
from edgekit.pipeline.store import Store


def test_zeros_travel_for_nothing_and_noise_as_it_is(tmp_path):
    store = Store(tmp_path / "store")
    zeros, noise = np.zeros(100_000, np.uint8), np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)

    def artifact(*contents):
        files = tuple(tmp_path / f"{len(contents)}-{index}.bin" for index in range(len(contents)))
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content.tobytes())
        return Artifact("tflite", files, digest_files(files), QuantPlan(Precision.FP32))

    of_zeros = download_bytes(store, artifact(zeros))
    of_both = download_bytes(store, artifact(zeros, noise))
    assert of_zeros < 100
    assert 100_000 < of_both - of_zeros < 100_200
