"""Verbs on devices: one answers as ever, several in one table and one document, and none keeps the others waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.devices import opening
from tests.devices.here import SCHEMES

DIGITS = Path(__file__).parents[2] / "models" / "digits-cnn" / "digits-cnn.onnx"
Edgekit = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme, device in SCHEMES.items():
        monkeypatch.setitem(opening._SCHEMES, scheme, device)


def test_a_device_alone_answers_the_scripts_document(edgekit: Edgekit) -> None:
    code, out, _ = edgekit("bench", DIGITS, "--device", "here://pi", "--max-seconds", "0.2", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["artifacts"][0]["timing"]["p50_ms"] > 0
    code, out, err = edgekit("bench", DIGITS, "--device", "gone://pi", "--json")
    assert code == json.loads(out)["exit_code"] == 6
    assert "ping pi" in err


def test_several_devices_give_one_document_with_an_answer_or_an_error_each(edgekit: Edgekit, tmp_path: Path) -> None:
    boards = tmp_path / "boards.toml"
    boards.write_text('[boards.kitchen]\ndevice = "here://kitchen"\n[boards.cellar]\ndevice = "gone://cellar"\n')
    code, out, _ = edgekit("bench", DIGITS, "--boards", boards, "--max-seconds", "0.2", "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 6
    kitchen, cellar = document["devices"]
    assert (kitchen["name"], kitchen["device"]) == ("kitchen", "here://kitchen")
    assert kitchen["answer"]["artifacts"][0]["timing"]["p50_ms"] > 0
    assert (cellar["name"], cellar["error"]["error"], "answer" in cellar) == ("cellar", "DeviceError", False)


def test_the_table_of_several_shows_no_milliseconds_of_an_emulated_one(edgekit: Edgekit) -> None:
    devices = ("--device", "here://kitchen", "--device", "emulated://a76", "--device", "gone://cellar")
    code, out, _ = edgekit("bench", DIGITS, *devices, "--max-seconds", "0.2")
    assert code == 6
    rows = {line.split("  ")[0]: line for line in out.splitlines()}
    assert rows["device"].split()[1:3] == ["p50", "ms"]
    assert float(rows["here://kitchen"].split()[1]) > 0
    assert "emulated: no latency" in rows["emulated://a76"]
    assert "0." not in rows["emulated://a76"].partition("onnxruntime")[0]
    assert "gone://cellar does not answer" in out
    assert "ping cellar" in out


def test_a_run_that_the_script_calls_invalid_is_shown_as_such(edgekit: Edgekit) -> None:
    code, out, _ = edgekit("bench", DIGITS, "--device", "throttled://pi", "--max-seconds", "0.2")
    assert code == 0
    assert "proves no latency: the clock fell from 1.5 to 0.6 GHz" in out


def test_a_comparison_on_several_devices_has_a_verdict_for_each(edgekit: Edgekit) -> None:
    devices = ("--device", "emulated://a53", "--device", "emulated://a76", "--device", "gone://cellar")
    code, out, _ = edgekit("compare", DIGITS, DIGITS, *devices, "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 6
    for device in document["devices"][:2]:
        (comparison,) = device["answer"]["comparisons"]
        assert comparison["device"] == device["device"]
        assert (comparison["verdict"], comparison["ratio"]) == ("not resolved", None)
    code, out, _ = edgekit("compare", DIGITS, DIGITS, "--device", "emulated://a76")
    assert code == 0
    assert "not resolved\nnote: emulated: no latency" in out


def test_a_uri_that_names_nothing_is_refused_before_anything_runs(edgekit: Edgekit) -> None:
    for verb in (("bench", DIGITS), ("compare", DIGITS, DIGITS)):
        code, _, err = edgekit(*verb, "--device", "local", "--device", "carrier-pigeon://coo")
        assert code == 2
        assert "carrier-pigeon" in err
