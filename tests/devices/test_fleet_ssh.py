"""A fleet of eight boards, each a real sshd with a folder of its own, two of them broken."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.evidence import Measurement
from edgekit.devices.base import Device
from edgekit.devices.bench import measure
from edgekit.devices.fleet import Board, fleet_exit_code, gather_boards, run_fleet
from tests.devices.sshd import Board as SshBoard
from tests.devices.sshd import client, running_board

MODEL = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"
OFF, STRANGE = 2, 5  # one is not on, one shows a host key that nobody knows


@pytest.fixture
def eight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SshBoard]]:
    with contextlib.ExitStack() as stack:
        boards = []
        for index in range(8):
            folder = tmp_path / f"board-{index}"
            folder.mkdir()
            boards.append(stack.enter_context(running_board(folder)))
        monkeypatch.setenv("PATH", f"{client(boards, tmp_path)}{os.pathsep}{os.environ['PATH']}")
        yield boards


def test_six_of_eight_boards_answer_side_by_side_and_two_say_what_is_wrong(
    eight: list[SshBoard], tmp_path: Path
) -> None:
    eight[OFF].kill()
    (eight[STRANGE].folder / "known_hosts").write_text("")
    file, samples = tmp_path / "boards.toml", tmp_path / "x.npz"
    file.write_text("".join(f"[boards.bench-{i}]\ndevice = '{board.uri}'\n" for i, board in enumerate(eight)))
    with np.load(MODEL.parent / "eval.npz") as data:
        np.savez(samples, x=data["x"][:50])
    measure(MODEL, inputs=samples, outputs=tmp_path / "here.npz", timing=False)

    def work(board: Board, device: Device) -> Measurement:
        outputs = tmp_path / f"{board.name}.npz"
        return measure(MODEL, device=device, inputs=samples, outputs=outputs, repeats=1, runs=20)[0][0]

    outcomes = run_fleet(gather_boards([], file), work)
    sound = [outcome for index, outcome in enumerate(outcomes) if index not in {OFF, STRANGE}]
    assert [outcome.board.name for outcome in outcomes] == [f"bench-{index}" for index in range(8)]
    assert all(outcome.result and outcome.result.timing and not outcome.error for outcome in sound)
    for index, words in ((OFF, "refused the connection"), (STRANGE, "a host key that this machine doesn't know yet")):
        assert outcomes[index].error is not None
        assert words in str(outcomes[index].error)
    assert fleet_exit_code(outcomes) == 6
    # As long as the slowest: the last began before the first was done.
    assert max(outcome.began for outcome in sound) < min(outcome.ended for outcome in sound)
    here = dict(np.load(tmp_path / "here.npz"))
    for outcome in sound:
        there = dict(np.load(tmp_path / f"{outcome.board.name}.npz"))
        assert all(np.array_equal(here[name], there[name]) for name in here)
    assert [board.left() for board in eight] == [[]] * 8
