"""A build for a Raspberry Pi, proven on a board behind SSH: a real sshd, whose Python is the emulated ARM one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.sysroot import find_sysroot
from tests.acceptance.conftest import Build
from tests.devices.sshd import Board, client, running_board


@pytest.fixture
def board(
    emulated_arm: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Board]:
    sysroot = find_sysroot("aarch64")
    settings = [f"{name}={value}" for name, value in sysroot.environment("cortex-a76", None, {}).items()]
    with running_board(tmp_path_factory.mktemp("pi")) as board:
        monkeypatch.setenv("PATH", f"{client([board], tmp_path_factory.mktemp('ssh'))}:{os.environ['PATH']}")
        board.program("python3", f'#!/bin/sh\nexec env {shlex.join(settings)} {shlex.join(sysroot.python)} "$@"\n')
        yield board


def test_a_build_is_judged_by_what_the_board_answered(board: Board, build: Build, tmp_path: Path) -> None:
    built = build("digits-cnn", "-t", "raspberry-pi-5", "--device", board.uri, "--out", tmp_path / "out")
    assert built["exit_code"] == 0
    (target,) = built["targets"]
    assert (target["passed"], target["precision"]) == (True, "int8")
    gated = target["metrics"][0]
    assert (gated["name"], gated["kind"], gated["where"]) == ("top1", "emulated", "aarch64, Cortex-A76")
    (there,) = target["devices"]
    assert there["device"] == board.uri
    assert there["latency"] is None  # an emulator has no speed
    agreement = there["agreement"][0]
    assert agreement["n"] == 450
    assert agreement["artifact"] >= 100 * 449 / 450
    assert board.left() == []
    assert board.still_running() == []
