"""A fleet: the file that names boards, and what becomes of work that several boards do side by side."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edgekit.core import events
from edgekit.core.errors import DeviceError, InvalidInputError, UsageError
from edgekit.core.process import Limits, run_limited
from edgekit.devices.base import Device
from edgekit.devices.fleet import Board, fleet_exit_code, gather_boards, load_boards, run_fleet

BOARDS = """# Ours
[boards.kitchen]
device = "local"
target = "raspberry-pi-4"

[boards."on the roof"]
device = "adb://roof:5555"
"""
# Opening one does nothing, so the work can be anything.
FOUR = tuple(Board(name, f"adb://{name}") for name in ("a", "b", "c", "d"))
TOGETHER = 30.0  # a limit for what would else wait for ever


def test_boards_are_read_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text(BOARDS)
    assert load_boards(tmp_path / "boards.toml") == (
        Board("kitchen", "local", "raspberry-pi-4"),
        Board("on the roof", "adb://roof:5555"),
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('target = "raspberry-pi-4"', 'targt = "x"', "line 4: there is no key 'boards.kitchen.targt'; did you mean"),
        ('device = "adb', 'devise = "adb', "line 7: there is no key 'boards.on the roof.devise'"),
        ('device = "local"', "device = 3", "line 3: boards.kitchen.device: Input should be a valid string"),
        ('device = "local"', 'device = "pi@kitchen"', "line 3: 'pi@kitchen' names no device"),
        ('device = "local"\n', "", "line 2: boards.kitchen.device: Field required"),
        ("adb://roof:5555", "local", "line 7: on the roof is the same device as kitchen"),
        ("[boards.kitchen]", "[bords.kitchen]", "line 2: there is no key 'bords'; did you mean 'boards'"),
        ("[boards.kitchen]", "[boards.kitchen", "at line 2"),
    ],
)
def test_a_file_that_is_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = tmp_path / "boards.toml"
    file.write_text(BOARDS.replace(old, new))
    with pytest.raises(InvalidInputError, match="the file of boards") as caught:
        load_boards(file)
    assert words in caught.value.cause
    file.write_text("")
    with pytest.raises(InvalidInputError, match="boards: Field required"):
        load_boards(file)


def test_a_command_line_names_boards_by_name_or_uri_each_once(tmp_path: Path) -> None:
    (tmp_path / "boards.toml").write_text(BOARDS)
    file = tmp_path / "boards.toml"
    kitchen, roof = load_boards(file)
    assert gather_boards([]) == ()
    assert gather_boards([], file) == (kitchen, roof)
    assert gather_boards(["on the roof", "adb://x", "adb://x", "adb://roof:5555"], file) == (
        roof,
        Board("adb://x", "adb://x"),
    )
    with pytest.raises(UsageError, match=r"'attic' is neither a board of .* nor a device") as caught:
        gather_boards(["attic"], file)
    assert "kitchen, on the roof" in caught.value.remedy
    with pytest.raises(UsageError, match="'attic' names no device"):
        gather_boards(["attic"])
    with pytest.raises(UsageError, match="there is no file of boards"):
        gather_boards([], tmp_path / "none.toml")


def test_boards_work_side_by_side_and_answer_in_their_order() -> None:
    all_here = threading.Barrier(4)

    def work(board: Board, device: Device) -> str:
        all_here.wait(TOGETHER)
        return device.uri + board.name

    outcomes = run_fleet(FOUR, work)
    assert [outcome.result for outcome in outcomes] == ["adb://aa", "adb://bb", "adb://cc", "adb://dd"]
    assert max(outcome.began for outcome in outcomes) < min(outcome.ended for outcome in outcomes)
    assert fleet_exit_code(outcomes) == 0


def test_devices_of_this_machine_work_one_after_another() -> None:
    here = (Board("x", "local"), Board("y", "local"), *FOUR[:1])
    outcomes = run_fleet(here, lambda _board, _device: time.sleep(0.05))
    assert outcomes[0].ended <= outcomes[1].began


def test_a_board_that_fails_has_its_own_error_and_the_others_their_results() -> None:
    def work(board: Board, _device: Device) -> str:
        if board.name == "b":
            raise DeviceError("gone", blame="the board", remedy="Plug it in.")
        if board.name == "c":
            raise FileNotFoundError(2, "No such file", "x.npz")
        return board.name

    outcomes = run_fleet(FOUR, work)
    assert [outcome.result for outcome in outcomes] == ["a", None, None, "d"]
    assert [type(outcome.error) for outcome in outcomes] == [type(None), DeviceError, UsageError, type(None)]
    assert fleet_exit_code(outcomes) == 2


def test_the_listener_hears_who_says_what() -> None:
    heard: list[events.Event] = []

    def work(board: Board, _device: Device) -> None:
        events.emit(events.Event("stage", "run"))
        events.progress("timing", 0.5)
        if board.name == "b":
            raise DeviceError("gone", blame="the board", remedy="Plug it in.")

    with events.listening(heard.append):
        run_fleet(FOUR[:2], work)
    for name, end in (("a", ("done", "a")), ("b", ("failed", "b"))):
        of_board = [(event.kind, event.text) for event in heard if event.source == name]
        assert of_board == [("stage", name), ("progress", "run"), ("progress", "timing"), end]
    heard.clear()
    with events.listening(heard.append):
        run_fleet(FOUR[:1], work)
    assert [(event.kind, event.source) for event in heard] == [("stage", ""), ("progress", "")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_a_defect_ends_every_boards_work(error: type[BaseException]) -> None:
    """Whoever waits for a process sees it; the work's own clean-up runs."""
    started, cleaned = threading.Barrier(4), []

    def work(board: Board, _device: Device) -> None:
        started.wait(TOGETHER)
        if board.name == "d":
            raise error
        try:
            run_limited(["sleep", "600"], limits=Limits())
        finally:
            cleaned.append(board.name)

    with pytest.raises(error):
        run_fleet(FOUR, work)
    assert sorted(cleaned) == ["a", "b", "c"]
