"""What doctor finds: a sound machine, and packages, runtimes and stores that are not."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.core.plain import to_json
from edgekit.pipeline.doctor import Check, examine


def named(checks: list[Check], name: str) -> Check:
    (check,) = [check for check in checks if check.name == name]
    return check


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return examine()


def test_the_environment_of_the_tests_is_sound(checks: list[Check]) -> None:
    assert {check.name for check in checks if check.state != "ok"} == set()


def test_runtimes_are_really_opened(checks: list[Check]) -> None:
    assert "CPU" in named(checks, "runtime openvino").detail
    assert named(checks, "runtime ai_edge_litert").detail == metadata.version("ai-edge-litert")


def test_the_packages_of_an_extra_include_those_of_its_extras(checks: list[Check]) -> None:
    assert "tensorflow 2." in named(checks, "packages for tflite").detail


def test_it_is_plain_data(checks: list[Check]) -> None:
    assert json.loads(json.dumps(to_json(checks)))[0]["name"] == "Python"


def test_a_target_needs_only_its_own_back_end() -> None:
    names = {check.name for check in examine("intel-cpu")}
    assert {"target intel-cpu", "runtime openvino"} <= names
    assert not any("tflite" in name for name in names)


def test_an_unknown_target_is_the_callers_doing() -> None:
    with pytest.raises(UsageError):
        examine("no-such-board")


def test_a_missing_and_an_old_package_come_with_the_line_to_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def without_nncf(name: str) -> str:
        if name == "nncf":
            raise metadata.PackageNotFoundError(name)
        return "2023.1" if name == "openvino" else real(name)

    monkeypatch.setattr(metadata, "version", without_nncf)
    check = named(examine("intel-cpu"), "packages for openvino")
    assert (check.state, check.detail) == ("missing", "not installed: nncf")
    assert "pip install 'nncf" in check.remedy
    assert "'openvino" in check.remedy


def test_a_store_that_cannot_be_written_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file" / "store"))
    check = named(examine("intel-cpu"), "store")
    assert check.state == "broken"
    assert "EDGEKIT_CACHE" in check.remedy
