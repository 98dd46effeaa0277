"""`edgekit devices`: what is listed, what a device says of itself, and what is said of one that is out of reach."""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.cli.devices import _state
from edgekit.devices.answer import parse_state
from edgekit.devices.bench import LOCAL

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A device that is out of reach: nothing listens on its port, and no other program can take it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"ssh://nobody@127.0.0.1:{held.getsockname()[1]}"


def test_what_is_at_hand_is_listed_and_adb_is_told_how_to_come(
    edgekit: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = edgekit("devices", "--json")
    found = {each["device"]: each for each in json.loads(out)["devices"]}
    assert code == 0
    assert found["local"]["ready"]
    assert platform.machine() in found["local"]["detail"]
    for cpu in ("cortex-a53", "cortex-a72", "cortex-a76", "armv7"):
        emulated = found[f"qemu://{cpu}"]
        assert emulated["ready"] or "arm-sysroot" in emulated["remedy"]
    assert not found["adb://SERIAL"]["ready"]
    assert "apt install adb" in found["adb://SERIAL"]["remedy"]
    code, out, _ = edgekit("devices")
    assert code == 0
    assert "this machine has no adb" in out


def test_a_device_says_what_it_is_and_what_it_has(edgekit: Cli) -> None:
    code, out, err = edgekit("devices", "local", "--json")
    (device,) = json.loads(out)["devices"]
    assert (code, device["error"]) == (0, None)
    assert device["probe"]["device"]["machine"] == platform.machine()
    assert device["probe"]["kind"] == "measured"
    assert "onnxruntime" in {each["name"] for each in device["probe"]["runtimes"] if not each["error"]}
    assert not err


def test_a_board_that_is_slowed_down_says_why() -> None:
    answer = LOCAL.probe()
    answer["state"] = {
        "governor": "ondemand",
        "frequency": {"min": 6e8, "max": 1.2e9, "limit": 1.8e9},
        "temperature": 82.4,
        "throttling": {"now": ["the clock is capped"], "since": ["the voltage is too low"], "events": 0},
        "load": 0.52,
    }
    assert _state(parse_state(answer)) == (
        "ondemand, 1.20 of 1.80 GHz, 82 °C, slowed down: the clock is capped,"
        " slowed down before: the voltage is too low, load 0.5"
    )


def test_one_that_is_out_of_reach_is_exit_code_6_and_the_others_answer(
    edgekit: Cli, nowhere: str, tmp_path: Path
) -> None:
    file = tmp_path / "boards.toml"
    file.write_text(
        f'[boards.desk]\ndevice = "local"\ntarget = "raspberry-pi-5"\n[boards.attic]\ndevice = "{nowhere}"\n'
    )
    code, out, err = edgekit("devices", "--boards", file)
    assert code == 6
    assert "desk" in out
    assert "desk: this is no raspberry-pi-5, as its file says" in err
    assert "error: attic: 127.0.0.1 refused the connection" in err
    code, out, _ = edgekit("devices", "attic", "--boards", file, "--json")
    (attic,) = json.loads(out)["devices"]
    assert code == json.loads(out)["exit_code"] == attic["error"]["exit_code"] == 6
    assert (attic["name"], attic["device"], attic["probe"]) == ("attic", nowhere, None)


@pytest.mark.parametrize("wrong", ["attic", "ssh://", "adb://a b", "qemu://no-such-cpu"])
def test_what_names_no_device_is_refused_before_any_is_asked(edgekit: Cli, wrong: str) -> None:
    code, out, err = edgekit("devices", "local", wrong)
    assert (code, out) == (2, "")
    assert "next:" in err
