"""Target files: the shipped ones, the user's own, what is said about a broken one, and which machine is a target."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.backends.base import load_backend
from edgekit.core import machine
from edgekit.core.errors import InvalidInputError, UsageError
from edgekit.core.types import Precision
from edgekit.pipeline.targets import Target, is_here, list_targets, load_target

SHIPPED = ("arm32-linux", "arm64-linux", "intel-cpu", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2w")
BOARD = """description = "My board"
backend = "tflite"
architecture = "aarch64"
cpu = "cortex-a55"
precisions = ["int8", "fp32"]
"""


def test_the_shipped_targets_are_listed() -> None:
    assert list_targets() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_target_fits_its_back_end(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert set(target.precisions) <= set(load_backend(target.backend).precisions)
    assert Precision.FP32 in target.precisions  # what is left when nothing smaller is good enough


@pytest.mark.parametrize(
    ("name", "cpu", "clock_mhz", "dot_products"),
    [
        ("raspberry-pi-zero-2w", "cortex-a53", 1000, False),
        ("raspberry-pi-4", "cortex-a72", 1800, False),
        ("raspberry-pi-5", "cortex-a76", 2400, True),
    ],
)
def test_a_raspberry_pi_is_what_its_maker_says(name: str, cpu: str, clock_mhz: int, dot_products: bool) -> None:
    target = load_target(name)
    assert (target.cpu, target.cores, target.clock_mhz) == (cpu, 4, clock_mhz)
    assert ("asimddp" in target.features) is dot_products


@pytest.mark.parametrize(
    ("target", "saturates"),
    [
        (load_target("intel-cpu"), True),
        (load_target("intel-cpu").model_copy(update={"features": ("avx2", "avx_vnni")}), False),
        (load_target("arm64-linux"), False),
    ],
)
def test_only_an_x86_without_vnni_cuts_off_sums_of_products(target: Target, saturates: bool) -> None:
    assert target.saturates is saturates


def test_a_target_file_of_ones_own_is_taken_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-board.toml").write_text(BOARD)
    monkeypatch.chdir(tmp_path)
    assert (
        load_target("my-board.toml") == load_target("./my-board.toml") == load_target(str(tmp_path / "my-board.toml"))
    )
    assert load_target("my-board.toml").name == "my-board"


def test_the_digest_follows_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "my-board.toml"
    digests = []
    for text in (BOARD, "# a remark\n" + BOARD, BOARD + "cores = 4\n"):
        file.write_text(text)
        digests.append(load_target(str(file)).digest)
    assert digests[0] == digests[1] != digests[2]


def test_an_unknown_name_brings_close_ones() -> None:
    with pytest.raises(UsageError) as error:
        load_target("rasberry-pi5")
    assert "raspberry-pi-5" in error.value.remedy
    assert "edgekit targets" in error.value.remedy


def test_a_missing_file_is_the_callers_doing() -> None:
    with pytest.raises(UsageError, match=r"no target file \./nowhere\.toml"):
        load_target("./nowhere.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOARD + "cores = \n", "line 6"),
        (BOARD + "colour = 'red'\n", "line 6: there is no key 'colour'"),
        (BOARD + "\n[here]\nbord = 'x'\n", "line 8: there is no key 'here.bord'; did you mean 'board'?"),
        (BOARD.replace('"int8"', '"int3"'), "line 5: precisions"),
        (BOARD.replace('"int8"', '"fp32"'), "line 5: precisions: each precision stands once"),
        (BOARD + "cores = 0\n", "line 6: cores"),
        (BOARD + "name = 'other'\n", "line 6"),
        (BOARD.replace("backend", "# backend"), "backend: Field required"),
        ("", "description: Field required"),
        ("\xff", "utf-8"),
    ],
    ids=["syntax", "key", "inner-key", "precision", "twice", "cores", "name", "no-backend", "empty", "encoding"],
)
def test_a_broken_file_is_told_where_it_is_broken(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInputError) as error:
        load_target(str(file))
    assert said in error.value.cause
    assert str(file) in error.value.cause


def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "-rf *.toml"
    file.write_text(BOARD)
    with pytest.raises(InvalidInputError, match="name"):
        load_target(str(file))


def on(monkeypatch: pytest.MonkeyPatch, *, architecture: str, board: str = "", vendor: str = "") -> None:
    """Let the machine say other things about itself."""
    monkeypatch.setattr(machine, "architecture", lambda: architecture)
    monkeypatch.setattr(machine, "board_name", lambda: board)
    monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"architecture": "aarch64", "board": "Raspberry Pi 5 Model B Rev 1.0"}, {"arm64-linux", "raspberry-pi-5"}),
        (
            {"architecture": "aarch64", "board": "Raspberry Pi Zero 2 W Rev 1.0"},
            {"arm64-linux", "raspberry-pi-zero-2w"},
        ),
        ({"architecture": "aarch64", "vendor": "ARM"}, {"arm64-linux"}),
        ({"architecture": "armv7l", "board": "Raspberry Pi 4 Model B Rev 1.4"}, {"arm32-linux"}),
        ({"architecture": "x86_64", "vendor": "GenuineIntel"}, {"intel-cpu"}),
        ({"architecture": "x86_64", "vendor": "AuthenticAMD"}, set()),
    ],
    ids=["pi-5", "zero", "server", "32-bit", "intel", "amd"],
)
def test_a_machine_is_only_the_target_that_it_can_prove(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, str], expected: set[str]
) -> None:
    on(monkeypatch, **facts)
    assert {name for name in SHIPPED if is_here(load_target(name))} == expected


def test_a_target_crosses_json_unchanged() -> None:
    target = load_target("raspberry-pi-5")
    assert Target.model_validate(target.model_dump(mode="json")) == target
