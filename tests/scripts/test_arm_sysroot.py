"""The script that makes the emulated ARM boards: killed, without what it needs, and called again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "arm-sysroot"


def run(*arguments: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGEKIT_ARM_SYSROOT": str(home), **settings}
    return subprocess.run([SCRIPT, *arguments], env=environment, check=False, capture_output=True, text=True)


def layers(home: Path) -> dict[str, int]:
    """Name of each layer, without its digest → inode."""
    return {path.name.rpartition("-")[0]: path.stat().st_ino for path in home.glob("*-*")}


def path_without(folder: Path, *missing: str) -> str:
    """A PATH with every program of this machine's but some."""
    folder.mkdir()
    for place in reversed(os.environ["PATH"].split(":")):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            if program.name not in missing:
                (folder / program.name).unlink(missing_ok=True)
                (folder / program.name).symlink_to(program)
    return str(folder)


def test_killed_half_way_it_goes_on_and_made_it_needs_no_network(tmp_path: Path) -> None:
    home = tmp_path / "a cache"
    environment = {**os.environ, "EDGEKIT_ARM_SYSROOT": str(home)}
    process = subprocess.Popen([SCRIPT, "armv7"], env=environment, stderr=subprocess.PIPE, start_new_session=True)
    while not (home / "scratch" / "layer").exists() or not layers(home):  # the second layer is begun
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = layers(home)
    assert set(before) == {"qemu"}
    assert run("--find", "armv7", home=home).returncode == 10

    done = run("armv7", home=home)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    made = layers(home)
    assert set(made) == {"qemu", "armv7-root", "armv7-tflite_runtime"}
    assert made["qemu"] == before["qemu"], "what was made is kept"
    assert {path.name for path in home.iterdir() if "-" not in path.name} == {"lock"}

    without = path_without(tmp_path / "bin", "apt-get", "python3", "python3.11", "python", "flock")
    again = run("armv7", home=home, PATH=without)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    found = dict(line.split("=") for line in run("--find", "armv7", home=home, PATH=without).stdout.splitlines())
    assert set(found) == {"qemu", "root", "tflite_runtime"}
    assert all(Path(place).exists() for place in found.values())


@pytest.mark.parametrize("program", ["apt-get", "dpkg-deb", "flock"])
def test_a_missing_program_is_named(program: str, tmp_path: Path) -> None:
    done = run(home=tmp_path / "arm", PATH=path_without(tmp_path / "bin", program))
    assert done.returncode == 10
    assert f"{program} is missing" in done.stderr
    assert layers(tmp_path / "arm") == {}


def test_without_a_mirror_of_debian_it_says_how_to_name_one(tmp_path: Path) -> None:
    (tmp_path / "apt.conf").write_text(f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{tmp_path}/none";')
    done = run(home=tmp_path / "arm", APT_CONFIG=str(tmp_path / "apt.conf"))
    assert done.returncode == 10
    assert "EDGEKIT_DEBIAN_MIRROR=" in done.stderr


def test_a_mirror_out_of_reach_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    done = run(home=tmp_path / "arm", EDGEKIT_DEBIAN_MIRROR="http://127.0.0.1:9/debian")
    assert done.returncode == 10
    assert "apt could not get what is needed" in done.stderr
    assert [path.name for path in (tmp_path / "arm").iterdir()] == ["lock"]


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(home=tmp_path / "file" / "arm")
    assert done.returncode == 2
    assert "EDGEKIT_ARM_SYSROOT=/some/folder" in done.stderr


@pytest.mark.parametrize("arguments", [("x86",), ("--find",), ("--find", "mips"), ("--help",)])
def test_a_wrong_call_shows_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert "usage: scripts/arm-sysroot" in done.stderr
