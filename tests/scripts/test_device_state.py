"""What the bench script reads of a board's own files, and when it doubts its times."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scripts.script import load_script

script = load_script()

CPU = "sys/devices/system/cpu/cpu{}/"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
A76 = "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n"
A55 = A76.replace("0xd0b", "0xd05")
ARM_FEATURES = (
    "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp\n"
)


@dataclass(frozen=True)
class Tree:
    """A board's files, by their path: those that the script reads, as that board has them."""

    files: dict[str, str] = field(default_factory=dict)

    def having(self, **changed: str) -> Tree:
        """With these keys of `files` replaced; a key may be the last part of a path."""
        files = {path: changed.get(path.rpartition("/")[2], text) for path, text in self.files.items()}
        return dataclasses.replace(self, files=files)

    def write(self, root: Path) -> str:
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return str(root)


def clocks(count: int, governor: str, now: int, limit: int) -> dict[str, str]:
    """The files of the CPUs 0, 1, … that tell their clock, in kHz."""
    return {
        CPU.format(cpu) + f"cpufreq/{name}": f"{value}\n"
        for cpu in range(count)
        for name, value in (
            ("scaling_governor", governor),
            ("scaling_cur_freq", now),
            ("scaling_max_freq", limit),
            ("cpuinfo_max_freq", limit),
        )
    }


RASPBERRY_PI_5 = Tree(
    {
        "proc/cpuinfo": "".join(f"processor\t: {cpu}\nBogoMIPS\t: 108.00\n{ARM_FEATURES}{A76}\n" for cpu in range(4))
        + "Revision\t: d04170\nSerial\t\t: 0\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        "proc/meminfo": "MemTotal:        8256128 kB\nMemFree:         7260192 kB\n",
        "proc/loadavg": "0.21 0.10 0.03 1/201 1234\n",
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "51850\n",
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "1\n",
        FIRMWARE: "0\n",
        **clocks(4, "ondemand", 2400000, 2400000),
    }
)

# Four small and four large cores; no firmware that tells, but a cooling device for each cluster.
ROCK_5B = Tree(
    {
        "proc/cpuinfo": "".join(f"processor\t: {cpu}\n{ARM_FEATURES}{A55 if cpu < 4 else A76}\n" for cpu in range(8)),
        "proc/meminfo": "MemTotal:       16215040 kB\n",
        "proc/device-tree/model": "Radxa ROCK 5B\0",
        "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
        "sys/class/thermal/thermal_zone0/temp": "41615\n",
        "sys/class/thermal/thermal_zone1/temp": "44384\n",
        "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0\n",
        "sys/class/thermal/cooling_device0/cur_state": "0\n",
        "sys/class/thermal/cooling_device1/type": "thermal-devfreq-0\n",
        "sys/class/thermal/cooling_device1/cur_state": "2\n",
        **clocks(4, "schedutil", 1800000, 1800000),
        **{path.replace("cpu0", "cpu4"): text for path, text in clocks(1, "performance", 2256000, 2304000).items()},
    }
)

LAPTOP = Tree(
    {
        "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\n"
        "model name\t: Intel(R) Core(TM) i7-1165G7 @ 2.80GHz\n"
        "flags\t\t: fpu sse4_1 sse4_2 avx avx2 fma f16c avx512f avx512_vnni\n\n",
        "sys/devices/virtual/dmi/id/product_name": "XPS 13 9310\n",
        CPU.format(0) + "thermal_throttle/core_throttle_count": "12\n",
        CPU.format(0) + "thermal_throttle/package_throttle_count": "30\n",
        CPU.format(0) + "thermal_throttle/core_throttle_max_time_ms": "4\n",
        **clocks(1, "powersave", 4100000, 4700000),
    }
)


@pytest.mark.parametrize(
    ("tree", "facts"),
    [
        (
            RASPBERRY_PI_5,
            {
                "model": "Raspberry Pi 5 Model B Rev 1.0",
                "soc": "brcm,bcm2712",
                "cpu": "Cortex-A76",
                "cpu_part": "Cortex-A76",
                "vendor": "",
                "features": ["asimd", "asimddp", "asimdhp", "fphp"],
                "memory_bytes": 8256128 * 1024,
                "os": "Debian GNU/Linux 12 (bookworm)",
            },
        ),
        (ROCK_5B, {"model": "Radxa ROCK 5B", "soc": "rockchip,rk3588", "cpu": "Cortex-A55 + Cortex-A76"}),
        (
            LAPTOP,
            {
                "model": "XPS 13 9310",
                "soc": "",
                "cpu": "Intel(R) Core(TM) i7-1165G7 @ 2.80GHz",
                "cpu_part": "",
                "vendor": "GenuineIntel",
                "features": ["avx", "avx2", "avx512_vnni", "avx512f", "f16c", "fma", "sse4_1", "sse4_2"],
            },
        ),
        (Tree(), {"model": "", "soc": "", "cpu_part": "", "memory_bytes": 0}),
    ],
    ids=["raspberry-pi-5", "rock-5b", "laptop", "nothing"],
)
def test_a_board_is_named_by_its_own_files(tree: Tree, facts: dict[str, Any], tmp_path: Path) -> None:
    found = script.describe_device(tree.write(tmp_path))
    assert {key: found[key] for key in facts} == facts


def test_a_core_without_a_name_has_its_numbers() -> None:
    apple = {"CPU implementer": "0x61", "CPU part": "0x022"}
    assert script.arm_core(apple) == "implementer 0x61 part 0x022"
    assert script.arm_core({"CPU implementer": "0x41", "CPU part": "0xd03"}) == "Cortex-A53"


def test_the_state_of_a_board(tmp_path: Path) -> None:
    assert script.device_state(RASPBERRY_PI_5.write(tmp_path)) == {
        "governor": "ondemand",
        "frequency": {"min": 2_400_000_000, "max": 2_400_000_000, "limit": 2_400_000_000},
        "temperature": 51.85,
        "throttling": {"now": [], "since": [], "events": 0},
        "load": 0.21,
    }


def test_clusters_and_zones_are_taken_together(tmp_path: Path) -> None:
    state = script.device_state(ROCK_5B.write(tmp_path))
    assert state["governor"] == "performance + schedutil"
    assert state["frequency"] == {"min": 1_800_000_000, "max": 2_256_000_000, "limit": 2_304_000_000}
    assert state["temperature"] == 44.384


def test_a_machine_that_says_nothing_has_a_state_of_nones(tmp_path: Path) -> None:
    unknown = {"governor": None, "frequency": None, "temperature": None, "throttling": None, "load": None}
    assert script.device_state(str(tmp_path)) == unknown


@pytest.mark.parametrize(
    ("tree", "changed", "told"),
    [
        (RASPBERRY_PI_5, {}, []),
        (RASPBERRY_PI_5, {"get_throttled": "50005\n"}, ["the board throttled: the voltage is too low, throttled"]),
        # It is over again, and yet was so at some time since the last read, which was before the timing.
        (RASPBERRY_PI_5, {"get_throttled": "20000\n"}, ["the board throttled: the clock is capped"]),
        (
            RASPBERRY_PI_5,
            {"get_throttled": "80008\n"},
            ["the board throttled: the soft limit of temperature is reached"],
        ),
        (
            RASPBERRY_PI_5,
            {"scaling_max_freq": "1500000\n"},
            ["the system lowered the highest clock from 2400 MHz to 1500 MHz"],
        ),
        (ROCK_5B, {}, []),
        (LAPTOP, {}, []),
        (LAPTOP, {"core_throttle_count": "15\n"}, ["the CPU throttled for its heat, 3 times"]),
    ],
)
def test_a_board_that_throttled_is_told(tree: Tree, changed: dict[str, str], told: list[str], tmp_path: Path) -> None:
    roots = [tree.write(tmp_path / "before"), tree.having(**changed).write(tmp_path / "after")]
    assert seen_at(*roots) == told


def seen_at(*roots: str) -> list[str]:
    """The doubts about a timing that began at the first root and had a look at each of the others."""
    first, *others = roots
    glances = [script.glance(root) for root in others]
    doubts: list[str] = script.doubts(
        script.Timed([], script.device_state(first), script.device_state(others[-1]), glances, 0)
    )
    return doubts


def test_a_cooling_device_of_the_cpu_that_is_on_is_told(tmp_path: Path) -> None:
    roots = [ROCK_5B.write(tmp_path / "before"), ROCK_5B.write(tmp_path / "after")]
    (tmp_path / "after/sys/class/thermal/cooling_device0/cur_state").write_text("3\n")
    assert seen_at(*roots) == ["the board throttled: thermal-cpufreq-0 caps the clock"]


def test_what_throttled_between_two_looks_is_told_though_it_is_over_at_the_last(tmp_path: Path) -> None:
    """The kernel's own look at the firmware, every two seconds, makes that forget."""
    words = ["0\n", "40004\n", "0\n"]
    roots = [RASPBERRY_PI_5.having(get_throttled=w).write(tmp_path / str(i)) for i, w in enumerate(words)]
    assert seen_at(*roots) == ["the board throttled: throttled"]


def test_what_vcgencmd_said_before_the_run_is_no_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells what happened since the start of the board. The program is a stand-in, its words are a board's."""
    program = tmp_path / "bin" / "vcgencmd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n[ $1 = get_throttled ] && cat {tmp_path}/words\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def doubts(*words: str) -> list[str]:
        seen = []
        for said in words:
            (tmp_path / "words").write_text(said)
            seen.append(script.throttling(str(tmp_path)))
        found: list[str] = script.throttling_doubts(seen)
        return found

    hot, well = "throttled=0x80000\n", "throttled=0x0\n"
    assert doubts(hot, hot, hot) == []
    assert doubts(well, hot, hot) == ["the board throttled: the soft limit of temperature is reached"]


def timed(series: list[np.ndarray[Any, Any]], clocks: list[int], faults: int = 0) -> Any:
    nothing = script.device_state("/nowhere")
    timings = [script.Timing(list(each), list(each)) for each in series]
    return script.Timed(timings, nothing, nothing, [script.Glance(clock, None) for clock in clocks], faults)


def noisy(level: Any, seed: int) -> np.ndarray[Any, Any]:
    return np.asarray(level * np.random.default_rng(seed).normal(1, 0.02, 500))


STEADY = np.ones(500)
# As a shared machine gives them: another program came, went, or stays.
CAME = np.repeat([1.0, 1.05, 1.75, 1.95, 1.84], 100)
WENT = np.repeat([1.0, 0.98, 1.00, 1.39, 0.99], 100)
WARMER = np.linspace(1, 1.4, 500)


@pytest.mark.parametrize(
    ("levels", "clocks", "told"),
    [
        ([STEADY, STEADY], [], ""),
        ([CAME, CAME], [], ""),
        ([WENT, WENT], [], ""),
        ([WARMER, STEADY], [], ""),  # that is the artifact's own affair
        ([WARMER, WARMER], [], "the CPU time of an inference went steadily by +2"),
        ([1 / WARMER], [], "the CPU time of an inference went steadily by -2"),
        ([WARMER, WARMER], [2_400_000_000] * 6, ""),  # the kernel knows better
        ([STEADY], [2_400_000_000, 2_390_000_000, 2_350_000_000], ""),
        ([STEADY], [2_400_000_000, 2_400_000_000, 1_800_000_000], "the clock went 2400 MHz, 2400 MHz, 1800 MHz"),
    ],
)
def test_a_clock_that_drifts_is_told_from_other_programs(levels: list[Any], clocks: list[int], told: str) -> None:
    doubts = script.doubts(timed([noisy(level, seed) for seed, level in enumerate(levels)], clocks))
    assert len(doubts) == bool(told)
    assert all(doubt.startswith(told) for doubt in doubts)


def test_a_few_inferences_show_no_trend() -> None:
    assert script.doubts(timed([np.linspace(1, 2, 40)], [])) == []


def test_waiting_for_the_disk_is_told() -> None:
    assert script.doubts(timed([STEADY], [], faults=5)) == []
    assert script.doubts(timed([STEADY], [], faults=6)) == ["it waited 6 times for the disk: the memory is too small"]


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("under", "kind"),
    [("/usr/bin/python3.11", "measured"), ("/usr/bin/qemu-aarch64", "emulated"), (None, "measured")],
)
def test_emulation_shows_in_the_program_that_the_kernel_runs(tmp_path: Path, under: str | None, kind: str) -> None:
    """As qemu-user 10.0 leaves these links: it answers for /proc/self/exe alone."""
    if under:
        link(tmp_path / "proc" / "self" / "exe", "/usr/bin/python3.11")
        link(tmp_path / "proc" / "thread-self" / "exe", under)
    assert script.evidence_kind(str(tmp_path)) == kind


def test_this_machine_is_measured() -> None:
    assert script.evidence_kind() == "measured"
