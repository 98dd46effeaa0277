"""The bootstrap of a fresh machine, on a small stand-in for the checkout: real bash, venv and pip, packages of our own.

The stand-in's packages are wheels in a folder, so nothing is downloaded; its `edgekit` prints how it was called.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHELL_SCRIPTS = [
    "scripts/edgekit",
    "scripts/test",
    "scripts/lock",
    "scripts/environment.sh",
    "scripts/side-environment",
    "scripts/arm-sysroot",
    "scripts/private-apt.sh",
    "scripts/test-tools",
    ".ci/run",
]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

# A build back end in twenty lines: an editable wheel of the stand-in's edgekit.
BACKEND = """
import pathlib, zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name, here = "edgekit-1.0-py3-none-any.whl", pathlib.Path(__file__).parent
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        wheel.writestr("edgekit_editable.pth", str(here))
        info = "edgekit-1.0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: edgekit\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "entry_points.txt", "[console_scripts]\\nedgekit = edgekit:main\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""

EDGEKIT = """
import json, os, sys
import alpha

def main():
    print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "alpha": alpha.VERSION}))
"""

TOOL = "import os, sys; print('{name}', *sys.argv[1:]); sys.exit(os.environ.get('FAILING') == '{name}')"


@dataclass
class Machine:
    """A fresh machine with a checkout on it."""

    checkout: Path
    wheels: Path
    environment: dict[str, str]

    @property
    def venv(self) -> Path:
        return Path(self.environment.get("EDGEKIT_VENV", self.checkout / ".venv"))

    def start(self, script: str, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.checkout / "scripts" / script, *arguments],
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        process = self.start(script, *arguments, cwd=cwd)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def publish(self, name: str, version: str, files: dict[str, str]) -> str:
        """Put a wheel where pip finds it; its line for a lock."""
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        content = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        with zipfile.ZipFile(path, "w") as wheel:
            records = []
            for file, text in content.items():
                wheel.writestr(file, text)
                digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
                records.append(f"{file},sha256={digest},{len(text)}")
            wheel.writestr(f"{info}/RECORD", "\n".join([*records, f"{info}/RECORD,,"]))
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"

    def lock(self, name: str, *lines: str) -> None:
        (self.checkout / "envs" / f"{name}.lock").write_text("# a lock\n" + "".join(lines))

    def alpha(self, version: str) -> str:
        return self.publish("alpha", version, {"alpha.py": f"VERSION = {version!r}\n"})

    def shadow_python(self, folder: Path) -> None:
        """Every Python on PATH is an old one from now on."""
        folder.mkdir()
        for name in ("python3.11", "python3", "python"):
            (folder / name).write_text("#!/bin/sh\necho Python 3.9.1\nexit 1\n")
            (folder / name).chmod(0o755)
        self.environment["PATH"] = f"{folder}:{self.environment['PATH']}"


def fresh_machine(root: Path) -> Machine:
    checkout, wheels = root / "a checkout", root / "wheels"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    for folder in (checkout / "envs", checkout / "edgekit", wheels):
        folder.mkdir(parents=True)
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    (checkout / "backend.py").write_text(BACKEND)
    (checkout / "edgekit" / "__init__.py").write_text(EDGEKIT)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "EDGEKIT_", "VIRTUAL_ENV"))}
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri()}
    machine = Machine(checkout, wheels, {**inherited, **settings})
    machine.lock("edgekit", machine.alpha("1.0"))
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return fresh_machine(tmp_path)


@pytest.fixture(scope="module")
def machine_with_tools(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """With stand-ins for what scripts/test runs; the one that $FAILING names fails."""
    machine = fresh_machine(tmp_path_factory.mktemp("tools"))
    tools = [machine.publish(n, "1.0", {f"{n}.py": TOOL.format(name=n)}) for n in ("ruff", "mypy", "pytest")]
    machine.lock("dev", machine.alpha("1.0"), *tools)
    return machine


def test_the_first_call_makes_the_environment_and_runs_edgekit(machine: Machine, tmp_path: Path) -> None:
    done = machine.run("edgekit", "build", "a model", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # stdout is edgekit's alone.
    said = json.loads(done.stdout)
    assert said == {"arguments": ["build", "a model", "--json"], "folder": str(tmp_path), "alpha": "1.0"}
    assert "first call" in done.stderr
    assert list(machine.venv.rglob("alpha*.pyc"))


def test_the_second_call_starts_at_once_and_needs_neither_python_nor_pip(machine: Machine, tmp_path: Path) -> None:
    assert machine.run("edgekit").returncode == 0
    machine.shadow_python(tmp_path / "old")
    before = os.times()
    done = machine.run("edgekit")
    spent = os.times()
    assert (done.returncode, done.stderr) == (0, "")
    # Python's own start is most of it.
    assert (spent.children_user + spent.children_system) - (before.children_user + before.children_system) < 0.5


def test_it_works_through_a_link_and_in_the_folder_that_the_user_names(machine: Machine, tmp_path: Path) -> None:
    machine.environment["EDGEKIT_VENV"] = str(tmp_path / "elsewhere")
    link = tmp_path / "edgekit"
    link.symlink_to(machine.checkout / "scripts" / "edgekit")
    done = subprocess.run([link, "x"], env=machine.environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["arguments"] == ["x"]
    assert not (machine.checkout / ".venv").exists()


@pytest.mark.parametrize("stage", ["made-by", "packages"])
def test_killed_half_way_the_next_call_starts_again(machine: Machine, stage: str) -> None:
    process = machine.start("edgekit")
    while not (machine.venv / ".edgekit-environment" / stage).exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (machine.venv / ".edgekit-environment" / "edgekit").exists()
    done = machine.run("edgekit")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["alpha"] == "1.0"


def test_of_two_calls_at_once_one_makes_the_environment_and_both_run(machine: Machine) -> None:
    calls = [machine.start("edgekit", str(number)) for number in range(2)]
    answers = [call.communicate(timeout=120) for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert [json.loads(out)["arguments"] for out, _ in answers] == [["0"], ["1"]]
    assert sum("first call" in err for _, err in answers) == 1


def test_a_changed_lock_makes_a_fresh_environment(machine: Machine) -> None:
    machine.lock("edgekit", machine.alpha("1.0"), machine.publish("gone", "1.0", {"gone.py": ""}))
    assert machine.run("edgekit").returncode == 0
    assert list(machine.venv.rglob("gone.py"))
    machine.lock("edgekit", machine.alpha("2.0"))
    assert json.loads(machine.run("edgekit").stdout)["alpha"] == "2.0"
    assert not list(machine.venv.rglob("gone.py"))


def test_a_moved_checkout_installs_only_itself_again(machine: Machine, tmp_path: Path) -> None:
    machine.environment["EDGEKIT_VENV"] = str(tmp_path / "elsewhere")
    assert machine.run("edgekit").returncode == 0
    machine.checkout = machine.checkout.rename(tmp_path / "moved")
    done = machine.run("edgekit")
    assert done.returncode == 0, done.stderr
    assert "first call" not in done.stderr


def test_a_package_that_is_not_the_locked_one_is_refused(machine: Machine) -> None:
    line = machine.alpha("1.0")
    machine.lock("edgekit", line.replace(line[-20:-1], "0" * 19))
    done = machine.run("edgekit")
    assert done.returncode == 10
    assert "HASHES" in done.stderr
    assert not (machine.venv / ".edgekit-environment" / "edgekit").exists()


def test_a_folder_that_is_not_ours_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    machine.environment["EDGEKIT_VENV"] = str(theirs)
    done = machine.run("edgekit")
    assert done.returncode == 2
    assert "EDGEKIT_VENV" in done.stderr
    assert [file.name for file in theirs.iterdir()] == ["thesis.txt"]


def test_without_python_3_11_it_says_so(machine: Machine, tmp_path: Path) -> None:
    machine.shadow_python(tmp_path / "old")
    done = machine.run("edgekit")
    assert done.returncode == 10
    assert "Python 3.11 is needed" in done.stderr
    assert "3.9.1" in done.stderr
    assert not machine.venv.exists()


def test_a_side_environment_holds_its_own_list_and_nothing_else(machine: Machine, tmp_path: Path) -> None:
    machine.publish("beta", "2.0", {"beta.py": "VERSION = '2.0'\n"})
    (machine.checkout / "envs" / "be-ta.txt").write_text("# a list\nbeta==2.0\n")
    done = machine.run("side-environment", "be-ta")
    assert done.returncode == 0, done.stderr
    python = machine.checkout / ".venv-be-ta" / "bin" / "python"
    told = subprocess.run(
        [python, "-c", "import beta; print(beta.VERSION)"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "2.0\n"
    machine.shadow_python(tmp_path / "old")
    assert machine.run("side-environment", "be-ta").stderr == ""  # found at once
    machine.environment["EDGEKIT_BE_TA_VENV"] = str(tmp_path / "elsewhere")
    assert machine.run("side-environment", "be-ta").returncode == 10  # it would be made there, with a Python


@pytest.mark.parametrize("arguments", [[], ["gamma"], ["../be-ta"], ["be-ta", "be-ta"]])
def test_a_side_environment_of_another_name_is_refused(machine: Machine, arguments: list[str]) -> None:
    (machine.checkout / "envs" / "be-ta.txt").write_text("beta==2.0\n")
    done = machine.run("side-environment", *arguments)
    assert (done.returncode, "NAME is one of: be-ta" in done.stderr) == (2, True)


def test_scripts_test_hands_its_arguments_to_pytest_alone(machine_with_tools: Machine) -> None:
    done = machine_with_tools.run("test", "-k", "some name")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["pytest -k some name"]


@pytest.mark.parametrize("failing", ["", "ruff", "mypy", "pytest"])
def test_scripts_test_runs_every_check_and_fails_with_any(machine_with_tools: Machine, failing: str) -> None:
    environment = {**machine_with_tools.environment, "FAILING": failing}
    done = dataclasses.replace(machine_with_tools, environment=environment).run("test")
    assert done.returncode == (1 if failing else 0), done.stderr
    ran = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith("──")]
    assert ran == ["ruff", "ruff", "mypy", "pytest"]
    assert failing in done.stderr


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_a_script_is_well_formed(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK) is not script.endswith(".sh")


def locked(name: str) -> dict[str, str]:
    """Package → version of a lock; each must carry at least one hash."""
    text = (ROOT / "envs" / f"{name}.lock").read_text().replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split()
            assert hashes
            assert all(each.startswith("--hash=sha256:") for each in hashes), line
            package, _, version = pin.partition("==")
            pins[package] = version
    return pins


def test_the_locks_name_no_place_to_load_from() -> None:
    for name in ("edgekit", "dev"):
        text = (ROOT / "envs" / f"{name}.lock").read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert "--find-links" not in text


def test_the_dev_lock_is_the_edgekit_lock_and_more() -> None:
    assert locked("edgekit").items() < locked("dev").items()


@pytest.mark.parametrize(("name", "extras"), [("edgekit", ("all",)), ("dev", ("all", "dev"))])
def test_a_lock_holds_what_pyproject_asks_for(name: str, extras: tuple[str, ...]) -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    todo = list(extras)
    while todo:
        for line in project["optional-dependencies"][todo.pop()]:
            requirement = Requirement(line)
            if requirement.name == "edgekit":
                todo += requirement.extras
            else:
                wanted.append(line)
    pins = locked(name)
    for requirement in map(Requirement, wanted):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


RESULTS = """<testsuites><testsuite>
<testcase classname="a" name="ran"/>
<testcase classname="a" name="xfailed"><skipped type="pytest.xfail" message="known"/></testcase>
<testcase classname="a" name="elsewhere"><skipped type="pytest.skip" message="not on this machine: no GPU"/></testcase>
<testcase classname="a" name="data"><skipped type="pytest.skip" message="no EDGEKIT_ACCEPTANCE_DATA"/></testcase>
{more}</testsuite></testsuites>"""
QUIET_SKIP = '<testcase classname="a" name="quiet"><skipped type="pytest.skip" message="no onnx"/></testcase>'


@pytest.mark.parametrize(
    ("more", "data", "named"),
    [("", None, []), (QUIET_SKIP, None, ["a::quiet"]), ("", "/data", ["a::data"])],
    ids=["excused", "quiet", "data-there"],
)
def test_ci_accepts_only_skips_that_say_why(tmp_path: Path, more: str, data: str | None, named: list[str]) -> None:
    results = tmp_path / "results.xml"
    results.write_text(RESULTS.format(more=more))
    environment = {k: v for k, v in os.environ.items() if k != "EDGEKIT_ACCEPTANCE_DATA"}
    if data:
        environment["EDGEKIT_ACCEPTANCE_DATA"] = data
    script = str(ROOT / ".ci" / "skipped.py")
    done = subprocess.run(
        [sys.executable, script, results], env=environment, capture_output=True, text=True, check=False
    )
    assert bool(done.returncode) is bool(named)
    assert all(name in done.stderr for name in named)
