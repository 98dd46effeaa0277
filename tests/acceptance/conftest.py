"""Builds through the real command line, and the acceptance data as a user would have it on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
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
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Run `edgekit build … --json` to its end; the document it prints, with its exit code under "exit_code"."""
    store = tmp_path_factory.mktemp("acceptance-store")

    def run(*arguments: object) -> dict[str, Any]:
        process = start("build", *arguments, "--json", store=store)
        out, err = process.communicate()
        assert out, err
        document: dict[str, Any] = json.loads(out)
        assert document["exit_code"] == process.returncode
        return document

    return run


@pytest.fixture(scope="session")
def jpegs(acceptance_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two JPEG sets as class folders ("train", "test"), and the test images in one flat folder ("flat")."""
    home = tmp_path_factory.mktemp("jpegs")
    for name in ("cifar10_jpeg_train20k", "cifar10_jpeg_test5k"):
        with tarfile.open(acceptance_data / f"{name}.tar.gz") as archive:
            archive.extractall(home, filter="data")
    flat = home / "flat"
    flat.mkdir()
    for image in (home / "test").rglob("*.jpg"):
        (flat / f"{image.parent.name}_{image.name}").hardlink_to(image)
    return {"train": home / "train", "test": home / "test", "flat": flat}
