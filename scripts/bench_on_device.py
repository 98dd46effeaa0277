#!/usr/bin/env python3
"""Measures artifacts on the device it runs on: one file, Python >= 3.8, standard library + numpy + one runtime.

    python3 bench_on_device.py model.tflite                            latency, memory, precisions
    python3 bench_on_device.py int8.xml --against fp32.xml             the ratio of two, interleaved
    python3 bench_on_device.py model.onnx --inputs x.npz --outputs y.npz --no-timing
                                                                       the answers of the device, for accuracy
    python3 bench_on_device.py model.tflite --delegate none            without XNNPACK
    python3 bench_on_device.py model.tflite --profile 50 --no-timing   how long each operator takes
    python3 bench_on_device.py model.param --threads 4 --affinity 0-3  an ncnn model, model.bin beside it
    python3 bench_on_device.py --probe                                 what this device is and has

Runtime options stand behind the file: "model.xml?INFERENCE_PRECISION_HINT=f32", "model.param?data=3x224x224" (the shape
of an input that the .param gives none). Inputs are .npz files with a leading sample axis, one array an input (by name,
else by order), float32 as the original model takes them; an artifact with integer inputs or outputs gets and gives
them through its own scale and zero point. With --state h=h_out, the output h_out feeds the input h at the next step:
samples are then sequences, (sequences, steps, ...), answers too, and an array h, if there is one, says what each
sequence starts from.

--delegate is, for TensorFlow Lite, "none", "xnnpack" or a library, "libedgetpu.so.1?device=usb"; for OpenVINO a device
("GPU"); for ONNX Runtime a provider ("CUDAExecutionProvider"); for ncnn "none" or "vulkan". One that was asked for and
runs nothing is an error.

With --profile N, "profile" in the answer has what each operator took, on average over the faster half of N inferences,
as the runtime itself accounts for it, with the names that the artifact keeps; "note" says what to know of that.

A run under emulation never times. "valid" is false in the answer, and "invalid" says why, when the board throttled
while it timed, or its clock drifted. Everything that goes wrong is one line on stderr, the same as JSON on stdout, and
an exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import gc
import glob
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import warnings
from typing import Any, Callable, Collection, Iterable, Iterator, NamedTuple, Sequence

try:
    import fcntl
    import resource
except ImportError:  # not on Windows: it can measure, and not keep
    fcntl = resource = None  # type: ignore[assignment]
try:
    import numpy as np
except ImportError:  # --probe and --keep work without, and the rest says what to install
    np = None  # type: ignore[assignment]

MARK = 0x4D41524B  # as in count_instructions.c
SCHEMA_VERSION = 2
# What pip is told to install for a runtime, where that is not its name.
PIP_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime 'numpy<2'"}
RUNTIMES_BY_SUFFIX = {
    ".tflite": ("ai_edge_litert", "tflite_runtime", "tensorflow"),
    ".xml": ("openvino",),
    ".onnx": ("onnxruntime",),
    ".param": ("ncnn",),
}
RUNTIMES = tuple(name for names in RUNTIMES_BY_SUFFIX.values() for name in names)
EXIT_CODES = {
    "DefectError": 1,
    "UsageError": 2,
    "IntegrityError": 8,
    "InvalidInputError": 9,
    "MissingToolError": 10,
    "BrokenPromiseError": 11,
}
DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO)
# CPU features that kernels are chosen by.
FEATURES = {
    *("sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("neon", "vfpv4", "asimd", "asimdhp", "asimddp", "fphp", "bf16", "i8mm", "sve", "sve2"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do as the command line says; print the result; return the exit code."""
    arguments = parse_arguments(argv)
    try:
        if arguments.keep:
            keep()
            return 0
        with within(arguments.within):
            result = act(arguments)
            print(as_text(result) if arguments.artifact and not arguments.json else json.dumps(result, allow_nan=False))
            sys.stdout.flush()
    except BenchError as error:
        return report_error(error, arguments)
    except MemoryError:
        return report_error(invalid("out of memory", "your artifact", "Use a smaller model or batch."), arguments)
    except BrokenPipeError:  # whoever asked has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to write goes there, without another error
        return EXIT_CODES["DefectError"]
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it was, the caller must hear of it
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            cause = "the answers can't be written: %s" % error.strerror
            return report_error(BenchError("UsageError", cause, "this machine", "Free some space there."), arguments)
        traceback.print_exc()
        cause = "%s: %s" % (type(error).__name__, one_line(error))
        remedy = "Report it with the lines above."
        return report_error(BenchError("DefectError", cause, "edgekit or the runtime", remedy), arguments)
    return 0


def act(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, as JSON."""
    if arguments.probe:
        return {**facts(), "runtimes": list(probe_runtimes())}
    if arguments.inventory:
        return inventory(arguments.within)
    return measure(arguments)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("artifact", nargs="?", metavar="FILE[?OPTION=VALUE&...]", help="what to run")
    add("--against", action="append", default=[], metavar="FILE", help="time this one too, interleaved")
    add("--runtime", choices=RUNTIMES, help="the first that is installed for the kind of file, unless named")
    add("--delegate", metavar="NAME", help="what to hand the work to, see above; the runtime's own choice if not given")
    add("--threads", type=positive, default=1, metavar="N")
    add("--affinity", type=cpu_list, metavar="CPUS", help="run on these CPUs alone, like 0,2-3")
    data = parser.add_argument_group("answers")
    add = data.add_argument
    add("--inputs", metavar="NPZ", help="samples for the first artifact")
    add("--outputs", metavar="NPZ", help="where its answers go")
    add("--golden", metavar="NPZ", help="samples for every artifact")
    add("--golden-outputs", metavar="DIR", help="where their answers go: DIR/<index>.npz")
    add("--state", action="append", default=[], metavar="IN=OUT", help="this output feeds that input at the next step")
    add("--digest", metavar="SHA256", help="refuse the first artifact if its content is another")
    timing = parser.add_argument_group("timing")
    add = timing.add_argument
    add("--no-timing", action="store_true")
    add("--warmup", type=positive, default=10, metavar="N", help="inferences before the clock counts (10)")
    add("--repeats", type=positive, default=5, metavar="N", help="rounds (5)")
    add("--runs", type=positive, default=100, metavar="N", help="inferences in each round (100)")
    add("--profile", type=positive, metavar="N", help="the time of each operator, from N inferences")
    add("--max-seconds", type=float, default=20.0, metavar="S", help="end the timing then (20)")
    talk = parser.add_argument_group("for programs")
    add = talk.add_argument
    add("--mark", type=positive, metavar="N", help="make N inferences between two marks for a counter outside")
    add("--json", action="store_true", help="one JSON document on stdout")
    add("--progress", action="store_true", help="lines 'progress FRACTION TEXT' on stderr")
    add("--probe", action="store_true", help="say what this device is and can run; no file")
    add("--keep", action="store_true", help="hold this device, and a folder on it, until stdin ends; no file")
    add("--within", metavar="DIR", help="work in a keeper's folder, and end when the keeper does")
    add("--inventory", action="store_true", help="say what files are in the folder, by digest; no file")
    arguments = parser.parse_args(argv)
    if not (arguments.artifact or arguments.probe or arguments.keep or arguments.inventory):
        parser.error("name a file to run, or --probe")
    if arguments.inventory and not arguments.within:
        parser.error("--inventory needs --within")
    return arguments


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Load, run and time the artifacts.

    Raises:
        BenchError: anything that is not as it should be.
    """
    need_numpy()
    report, kind = reporter(arguments), evidence_kind()
    requests = [parse_artifact(text) for text in (arguments.artifact, *arguments.against)]
    check_files(requests, arguments)
    affinity = set_affinity(arguments.affinity)
    loaded = [load(request, arguments) for request in requests]
    first = loaded[0].session
    for item in loaded:
        item.session.states = find_states(arguments.state, item.session)
    outputs, golden = None, []
    if arguments.inputs:
        outputs = answer(first, arguments.inputs, arguments.outputs, report)
    if arguments.golden:
        for index, item in enumerate(loaded):
            target = arguments.golden_outputs and os.path.join(arguments.golden_outputs, "%d.npz" % index)
            golden.append(answer(item.session, arguments.golden, target, report))
    for item in loaded:
        feed_for_timing(item.session, arguments.inputs or arguments.golden)
        if arguments.mark:
            run_between_marks(item.session, arguments.mark)
    if arguments.no_timing or kind == "emulated":  # what an emulator takes says nothing about any device
        timed = untimed(len(loaded))
    else:
        timed = interleave([item.session for item in loaded], arguments, report)
    reasons = doubts(timed)
    profile = profiled(first, arguments.profile, kind) if arguments.profile else None
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "valid": not reasons,
        "invalid": reasons,
        "device": describe_device(),
        "state": {"before": timed.before, "after": timed.after, "clocks": [glance.clock for glance in timed.glances]},
        "runtime": {
            "name": first.runtime,
            "version": first.version,
            "threads": arguments.threads,
            "affinity": affinity,
        },
        "batch": first.batch,
        "artifacts": [
            describe_artifact(item, timing, ratio(timed.timings[0], timing) if index else None, kind)
            for index, (item, timing) in enumerate(zip(loaded, timed.timings))
        ],
        "profile": profile,
        "outputs": outputs,
        "golden": golden,
    }


# ---------------------------------------------------------------------------------------------------- failures


class BenchError(Exception):
    """What went wrong, whose doing it is, and what to do; `install` is what pip should be told, where that helps."""

    def __init__(self, kind: str, cause: str, blame: str, remedy: str, install: str | None = None) -> None:
        super().__init__(cause)
        self.kind, self.cause, self.blame, self.remedy, self.install = kind, cause, blame, remedy, install


def report_error(error: BenchError, arguments: argparse.Namespace) -> int:
    """Say it on stderr, and on stdout for a program; return the exit code."""
    print("error: %s (%s). %s" % (error.cause, error.blame, error.remedy), file=sys.stderr)
    if arguments.json:
        described = {
            "error": error.kind,
            "cause": error.cause,
            "blame": error.blame,
            "remedy": error.remedy,
            "install": error.install,
            "python": sys.executable,
        }
        print(json.dumps({"schema_version": SCHEMA_VERSION, "error": described}))
    return EXIT_CODES[error.kind]


def missing(cause: str, packages: str) -> BenchError:
    """Something that pip would install, in an environment of its own where the system keeps its Python to itself."""
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    if sys.prefix == sys.base_prefix and os.path.exists(marker):
        line = "%s -m venv --system-site-packages ~/edgekit && ~/edgekit/bin/pip install %s" % (
            sys.executable,
            packages,
        )
        remedy = "Run: %s; then use ~/edgekit/bin/python." % line
    else:
        remedy = "Run: %s -m pip install %s" % (sys.executable, packages)
    return BenchError("MissingToolError", cause, "this device", remedy, install=packages)


def need_numpy() -> None:
    """Nothing runs without."""
    if np is None:
        raise missing("numpy is not installed on this device", "numpy")


def invalid(cause: str, blame: str, remedy: str) -> BenchError:
    """An artifact or data that can't be used."""
    return BenchError("InvalidInputError", cause, blame, remedy)


# ---------------------------------------------------------------------------------------------------- artifacts


class Request(NamedTuple):
    """An artifact file and the runtime options to load it with."""

    path: str
    options: dict[str, str]


class Loaded(NamedTuple):
    """An artifact that is ready to run."""

    request: Request
    digest: str
    bytes: int
    session: Session
    account: dict[str, Any]
    load_ms: float
    first_ms: float
    peak_bytes: int | None


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def cpu_list(text: str) -> set[int]:
    """CPU numbers in the kernel's way to write them, like 0,2-3, for argparse."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    if not cpus:
        raise argparse.ArgumentTypeError("names no CPU")
    return cpus


def set_affinity(wanted: set[int] | None) -> list[int] | None:
    """Run on these CPUs alone, the runtime's threads too; the CPUs that we may use, None where the system can't say."""
    if not hasattr(os, "sched_setaffinity"):
        if wanted:
            raise BenchError(
                "UsageError", "this system binds no process to CPUs", "this device", "Leave --affinity out."
            )
        return None
    allowed = os.sched_getaffinity(0)
    if wanted:
        if not wanted <= allowed:
            cause = "--affinity names CPUs that are not there: this process may use %s" % sorted(allowed)
            raise BenchError("UsageError", cause, "your command", "Name some of these.")
        os.sched_setaffinity(0, wanted)
    return sorted(os.sched_getaffinity(0))


def parse_artifact(text: str) -> Request:
    """`FILE?KEY=VALUE&KEY=VALUE` taken apart."""
    # A path may hold a question mark itself.
    path, _, query = (text, "", "") if os.path.exists(text) else text.rpartition("?") if "?" in text else (text, "", "")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return Request(path, {key: value for key, _, value in pairs})


def files_of(path: str) -> list[str]:
    """The files of an artifact: OpenVINO's and ncnn's weights lie beside the .xml or .param."""
    stem, suffix = os.path.splitext(path)
    weights = stem + ".bin"
    return [path, weights] if suffix in (".xml", ".param") and os.path.exists(weights) else [path]


def digest_of(path: str) -> str:
    """SHA-256 over the files of an artifact, in edgekit's way: of the one, or of the digests in order."""
    digests = [file_digest(file) for file in files_of(path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_digest(path: str) -> str:
    """SHA-256 of a file."""
    content = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            content.update(block)
    return content.hexdigest()


def check_files(requests: Sequence[Request], arguments: argparse.Namespace) -> None:
    """Refuse what is missing or altered before any runtime is loaded."""
    for request in requests:
        if not os.path.isfile(request.path):
            raise invalid("there is no file %s" % request.path, "your command", "Check the path.")
        if request.path.endswith(".param") and len(files_of(request.path)) == 1:
            raise invalid("there is no file %s.bin" % request.path[:-6], "your command", "Put it beside the .param.")
    for path in (arguments.inputs, arguments.golden):
        if path and not os.path.isfile(path):
            raise invalid("there is no file %s" % path, "your command", "Check the path.")
    if arguments.digest and digest_of(requests[0].path) != arguments.digest:
        raise BenchError(
            "IntegrityError",
            "%s is not the file that was sent: its digest differs" % requests[0].path,
            "the copy on this device",
            "Copy it again.",
        )


def load(request: Request, arguments: argparse.Namespace) -> Loaded:
    """Load an artifact and run it once, taking time and memory; its account shows that the delegate works."""
    module = import_runtime(request.path, arguments.runtime)
    name = module.__name__.partition(".")[0]
    gc.collect()
    resident = resident_bytes_after_reset()
    started = time.perf_counter()
    try:
        session = SESSIONS[name](module, request, arguments.threads, arguments.delegate)
        loaded = time.perf_counter()
        session.feed([np.zeros(tensor.shape, np.float32) for tensor in session.inputs])
        session.invoke()
    except BenchError:
        raise
    except Exception as error:
        cause = "%s can't load %s: %s" % (module.__name__, request.path, one_line(error))
        raise invalid(cause, "your artifact", "Make it again, or use a newer %s." % name) from error
    done = time.perf_counter()
    peak = status_bytes("VmHWM")
    account = session.account()
    check_delegate(session, account)
    return Loaded(
        request,
        digest_of(request.path),
        sum(os.path.getsize(file) for file in files_of(request.path)),
        session,
        account,
        (loaded - started) * 1e3,
        (done - loaded) * 1e3,
        peak - resident if peak is not None and resident is not None else None,
    )


def check_delegate(session: Session, account: dict[str, Any]) -> None:
    """Hold the runtime's account against what was asked for."""
    ran = [name for name, nodes in account["delegates"].items() if nodes]
    if session.delegate is not None and (ran if session.delegate in PLAIN else session.delegate not in ran):
        raise not_applied(session.delegate, "what runs it is %s" % (", ".join(ran) or "the CPU alone"))


def not_applied(delegate: str, why: str) -> BenchError:
    """A delegate that was asked for and does nothing."""
    return BenchError(
        "BrokenPromiseError",
        "the delegate %s was not applied: %s" % (delegate, why),
        "this device",
        "Install what it needs on the device, or leave --delegate out.",
    )


def import_runtime(path: str, runtime: str | None) -> Any:
    """The module that runs the artifact: the one asked for, else the first installed one for the file's suffix."""
    names = (runtime,) if runtime else RUNTIMES_BY_SUFFIX.get(os.path.splitext(path)[1], ())
    if not names:
        known = ", ".join(RUNTIMES_BY_SUFFIX)
        raise invalid("no runtime is known for %s (known: %s)" % (path, known), "your command", "Name one: --runtime.")
    reasons = []
    for name in names:
        try:
            return import_module(name)
        except Exception as error:  # noqa: BLE001, PERF203 - one built for another numpy fails in many ways
            reasons.append("%s: %s" % (name, one_line(error)))
    cause = "no runtime for %s on this device (%s)" % (path, "; ".join(reasons))
    armv7 = platform.machine().startswith("armv") and names[0] == "ai_edge_litert"  # which has no wheels for it
    raise missing(cause, package_of("tflite_runtime" if armv7 else names[0]))


def package_of(module: str) -> str:
    """What pip is told to install for a runtime."""
    return PIP_PACKAGES.get(module, module)


def import_module(name: str) -> Any:
    """Import a runtime by name."""
    modules = {"ai_edge_litert": "ai_edge_litert.interpreter", "tflite_runtime": "tflite_runtime.interpreter"}
    # Importing OpenVINO reports home, unless the package that does so can't be imported; ONNX Runtime unless told.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    module = importlib.import_module(modules.get(name, name))
    if name == "tflite_runtime" and np and np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        # Its last release, 2.14, is for numpy 1: the import passes, and the first tensor fails.
        raise ImportError("%s is built for numpy 1, and numpy %s is installed" % (version_of(name), np.__version__))
    return module


def probe_runtimes() -> Iterator[dict[str, Any]]:
    """Each runtime with its version, and why it can't be used if so.

    Of the runtimes for one kind of file, those behind the first that works are named by their metadata alone: importing
    TensorFlow takes a board half a minute.
    """
    for names in RUNTIMES_BY_SUFFIX.values():
        works = False
        for name in names:
            error = probe_import(name) if not works or not installed(name) else None
            works = works or error is None
            yield {"name": name, "version": version_of(name) if installed(name) else None, "error": error}


def installed(module: str) -> bool:
    """Whether there is such a module, working or not."""
    return importlib.util.find_spec(module) is not None


def probe_import(name: str) -> str | None:
    """Why a runtime can't be imported, or None. In a process of its own: one built for another CPU dies of it."""
    if not installed(name):
        return "not installed"
    outcome, answer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's threads sleep, and rest in the child
        child = os.fork()
    if child == 0:
        signal.alarm(120)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        try:
            import_module(name)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            os.write(answer, one_line(error).encode())
        os._exit(0)
    os.close(answer)
    with os.fdopen(outcome, errors="replace") as stream:
        reason = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "importing it died of %s" % signal.Signals(os.WTERMSIG(status)).name
    return reason or None


def describe_artifact(
    item: Loaded, timing: Timing | None, ratios: dict[str, float] | None, kind: str
) -> dict[str, Any]:
    """An artifact's part of the report. An emulator's time and memory are its own."""
    real = kind == "measured"
    account = dict(item.account)
    return {
        "path": item.request.path,
        "options": item.request.options,
        "digest": item.digest,
        "bytes": item.bytes,
        "load_ms": item.load_ms if real else None,
        "first_ms": item.first_ms if real else None,
        "timing": timing.as_json() if timing else None,
        "peak_bytes": item.peak_bytes if real else None,
        "delegate": {
            "asked": item.session.delegate,
            "applied": account.pop("delegates"),
            "nodes": sum(op["count"] for op in account["compute"]),
        },
        "account": account,
        "ratio": ratios,
        "inputs": [tensor.as_json() for tensor in item.session.inputs],
        "outputs": [tensor.as_json() for tensor in item.session.outputs],
    }


# ---------------------------------------------------------------------------------------------------- runtimes


class Tensor(NamedTuple):
    """An input or output of an artifact; `scale` is 0 where it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    def as_json(self) -> dict[str, Any]:
        """Its part of the report."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    def encode(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Float values as the artifact takes them."""
        kind = np.dtype(self.dtype)
        if self.scale and kind.kind in "iu":
            limits = np.iinfo(kind)
            values = np.clip(np.round(values / self.scale) + self.zero_point, limits.min, limits.max)
        return np.ascontiguousarray(values, dtype=kind)

    def decode(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What the artifact gave as float values."""
        if self.scale and np.dtype(self.dtype).kind in "iu":
            return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return np.array(values, dtype=np.float32 if values.dtype.kind == "f" else values.dtype)


class Session:
    """An artifact in its runtime. `invoke` is the one call that the clock sees.

    `delegate` is the name of the one that was asked for. `states` are the positions of the inputs that are state, each
    with that of the output that feeds it.
    """

    runtime: str
    version: str
    delegate: str | None
    inputs: list[Tensor]
    outputs: list[Tensor]
    invoke: Callable[[], Any]
    clock_note: str = ""  # what is to be known of the times in `profile`
    states: dict[int, int] = {}  # noqa: RUF012 - replaced, never changed; read by Python 3.8

    @property
    def batch(self) -> int:
        """How many samples one inference takes."""
        shape = next(tensor.shape for index, tensor in enumerate(self.inputs) if index not in self.states)
        return shape[0] if shape else 1

    def feed(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        """Set the inputs, float or as the artifact takes them, one array an input."""
        raise NotImplementedError

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """Copies of the outputs, as float where they are quantized."""
        raise NotImplementedError

    def account(self) -> dict[str, Any]:
        """The runtime's own account.

        Bytes of constants by type ("storage"), of weights alone ("weights"), executed ops by precision ("compute"), and
        how many of these each delegate ran ("delegates"). Convolutions and matrix products one by one, each with the
        names of the layers in it and, where it is known, how its weights are stored ("products"), and the stretches of
        float between two integer ops ("islands").
        """
        raise NotImplementedError

    def profile(self, runs: int) -> list[OpTimes]:  # noqa: ARG002 - for those that have one
        """What each executed operator took in some inferences, in the order in which they ran.

        Raises:
            NoProfile: the runtime has no account of that.
        """
        raise NoProfile("%s has no account of what each operator takes" % self.runtime)


WARM_UP_RUNS = 3  # of a profile


class OpTimes(NamedTuple):
    """An executed operator: its type, the names under which the artifact knows it, and microseconds of each run."""

    op: str
    names: list[str]
    us: list[float]


class NoProfile(Exception):  # noqa: N818 - nothing went wrong
    """Why operators can't be told apart."""


def profiled(session: Session, runs: int, kind: str) -> dict[str, Any]:
    """What each operator takes, in microseconds, or a note of why that is not known."""
    if kind == "emulated":
        return {"runs": 0, "ops": [], "note": "an emulator's times are its own"}
    try:
        ops = session.profile(runs)
    except NoProfile as why:
        return {"runs": 0, "ops": [], "note": str(why)}
    rows = [{"op": op.op, "names": op.names, "us": round(undisturbed(op.us), 3)} for op in ops]
    return {"runs": runs, "ops": rows, "note": session.clock_note}


def undisturbed(values: Sequence[float]) -> float:
    """The mean of the faster half: nothing else took the CPU in that, and it is finer than whole microseconds."""
    return float(np.mean(sorted(values)[: (len(values) + 1) // 2]))


PLAIN = ("none", "CPU", "CPUExecutionProvider")  # what runs where there is no delegate

TFLITE_INT4 = 17  # of its TensorType
TFLITE_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


class TFLiteSession(Session):
    """TensorFlow Lite in any of its packages. Its default delegate is XNNPACK."""

    clock_note = "LiteRT counts whole microseconds: an operator that takes less shows as 0"

    def __init__(self, module: Any, request: Request, threads: int, delegate: str | None) -> None:
        refuse_options(request, "TensorFlow Lite")
        self.runtime = module.__name__.partition(".")[0]
        self.version = version_of(self.runtime)
        self.delegate = delegate
        package = module.lite if self.runtime == "tensorflow" else module
        more = module.lite.experimental if self.runtime == "tensorflow" else module
        settings: dict[str, Any] = {"model_path": request.path, "num_threads": threads}
        if delegate == "none":
            settings["experimental_op_resolver_type"] = more.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        elif delegate not in (None, "xnnpack"):
            library = parse_artifact(delegate)
            self.delegate = os.path.basename(library.path)
            try:
                ctypes.CDLL(library.path)  # what a library lacks is told better here
                settings["experimental_delegates"] = [more.load_delegate(library.path, library.options)]
            except (ValueError, OSError) as error:
                raise not_applied(self.delegate, one_line(error)) from error
        self._interpreter = interpreter = package.Interpreter(**settings)
        self._external = self._delegate_ops()  # XNNPACK comes behind, with the allocation, and takes what is left
        interpreter.allocate_tensors()
        names = self._signature_names()
        self._names = {index: list(each) for index, each in names.items()}
        self._path, self._threads = request.path, threads
        self._input_indices = [detail["index"] for detail in interpreter.get_input_details()]
        self._output_indices = [detail["index"] for detail in interpreter.get_output_details()]
        self.inputs = [tflite_tensor(detail, names) for detail in interpreter.get_input_details()]
        self.outputs = [tflite_tensor(detail, names) for detail in interpreter.get_output_details()]
        self.invoke = interpreter.invoke

    def _ops(self) -> list[dict[str, Any]]:
        """The ops of the file, and one DELEGATE behind them for each group of ops that a delegate replaced."""
        return list(self._interpreter._get_ops_details())  # noqa: SLF001 - the only account of executed ops there is

    def _delegate_ops(self) -> set[int]:
        return {op["index"] for op in self._ops() if op["op_name"] == "DELEGATE"}

    def _signature_names(self) -> dict[int, list[str]]:
        """Tensor index → names in the signature, which are the model's own; tensor names are the converter's.

        A tensor that is two outputs has two names.
        """
        signatures: dict[str, Any] = getattr(self._interpreter, "_get_full_signature_list", dict)()
        if len(signatures) != 1:
            return {}
        (signature,) = signatures.values()
        names: dict[int, list[str]] = {}
        for name, index in (*signature["inputs"].items(), *signature["outputs"].items()):
            names.setdefault(index, []).append(name)
        return names

    def feed(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        """Set the input tensors."""
        for index, tensor, value in zip(self._input_indices, self.inputs, values):
            self._interpreter.set_tensor(index, tensor.encode(value))

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """Copy the output tensors."""
        values = (self._interpreter.get_tensor(index) for index in self._output_indices)
        return [tensor.decode(value) for tensor, value in zip(self.outputs, values)]

    def account(self) -> dict[str, Any]:
        """Constants and ops as the interpreter lists them."""
        tensors = {detail["index"]: detail for detail in self._interpreter.get_tensor_details()}
        ops = [op for op in self._ops() if op["op_name"] != "DELEGATE"]
        delegated: dict[int, str] = {}
        for delegate in (op for op in self._ops() if op["op_name"] == "DELEGATE"):
            name = self.delegate if delegate["index"] in self._external else "xnnpack"
            delegated.update({op["index"]: name or "" for op in inside(delegate, ops)})
        made = {int(index) for op in ops for index in op["outputs"]}
        constants = {int(i) for op in ops for i in op["inputs"] if i >= 0} - made - set(self._input_indices)
        kinds = {index: np.dtype(detail["dtype"]).name for index, detail in tensors.items()}
        weighted = {op["index"]: tflite_weights(op, ops) for op in ops if op["op_name"] in TFLITE_WEIGHTED}
        weights = constants & set(weighted.values())
        with open(self._path, "rb") as file:
            narrow = tflite_int4(file.read())
        compute, steps = Tally(), []
        for op in ops:
            precision = tflite_precision(op, constants, tensors)
            given, read = ([int(i) for i in op[key] if i >= 0 and i not in constants] for key in ("outputs", "inputs"))
            layers = tensors[given[0]]["name"].split(";") if given and op["index"] in weighted else None
            own = weighted.get(op["index"])
            stored = "" if own not in weights else "int4" if own in narrow else kinds[own]
            compute.add(op["op_name"], precision, delegate=delegated.get(op["index"]), layers=layers, stored=stored)
            steps.append(Step(read, given))
        return {
            "storage": tflite_bytes(tensors, constants, narrow),
            "weights": tflite_bytes(tensors, weights, narrow),
            "islands": count_islands(steps, kinds),
            **compute.as_json(),
        }

    def profile(self, runs: int) -> list[OpTimes]:
        """From LiteRT's profiler, which its C library has and the interpreter hasn't: the same kernels, run by that."""
        if self.runtime != "ai_edge_litert" or self.delegate not in (None, "xnnpack"):
            return super().profile(runs)
        tensors = {detail["index"]: detail["name"] for detail in self._interpreter.get_tensor_details()}
        nodes = [
            (op["op_name"], [tensors[int(index)] for index in op["outputs"] if int(index) in tensors])
            for op in self._ops()
            if op["op_name"] != "DELEGATE"
        ]
        names = {name: i for i, index in enumerate(self._input_indices) for name in self._names.get(index, ())}
        values = {name: self._interpreter.get_tensor(self._input_indices[i]) for name, i in names.items()}
        model = LiteRtModel(self._path, self._threads)
        model.feed(values)
        return litert_ops([model.run() for _ in range(runs + WARM_UP_RUNS)][WARM_UP_RUNS:], nodes)


def tflite_tensor(detail: dict[str, Any], names: dict[int, list[str]]) -> Tensor:
    """An input or output as the interpreter describes it; it takes its name from `names`."""
    scale, zero_point = detail["quantization"]
    unused = names.get(detail["index"])
    name = unused.pop(0) if unused else detail["name"]
    shape = tuple(int(size) for size in detail["shape"])
    return Tensor(name, shape, np.dtype(detail["dtype"]).name, float(scale), int(zero_point))


def tflite_weights(op: dict[str, Any], ops: Sequence[dict[str, Any]]) -> int:
    """The tensor that holds an op's weights: its second operand, or what that was dequantized from."""
    producers = {int(index): op for op in ops for index in op["outputs"]}
    index = int(op["inputs"][1])
    while index in producers and producers[index]["op_name"] == "DEQUANTIZE":
        index = int(producers[index]["inputs"][0])
    return index


def tflite_bytes(tensors: dict[int, dict[str, Any]], indices: Iterable[int], narrow: Collection[int]) -> dict[str, int]:
    """Bytes of tensors by element type; those in `narrow` are int4, two in a byte."""
    total: dict[str, int] = {}
    for tensor in (tensors[index] for index in indices if index not in narrow):
        add_bytes(total, np.dtype(tensor["dtype"]).name, tensor["shape"], tensor["dtype"])
    halves = [int(np.prod(tensors[index]["shape"], dtype=np.int64)) for index in indices if index in narrow]
    return {**total, "int4": sum((count + 1) // 2 for count in halves)} if halves else total


def tflite_int4(content: bytes) -> set[int]:
    """The tensors of a .tflite file that hold int4, which an interpreter calls int8.

    See flatbuffers.dev/internals for the format, and TensorFlow Lite's schema.fbs for the numbers of the fields.
    """

    def whole(at: int, size: int = 4) -> int:
        return int.from_bytes(content[at : at + size], "little")

    def field(table: int, number: int) -> int | None:
        vtable = table - int.from_bytes(content[table : table + 4], "little", signed=True)
        offset = whole(vtable + 4 + 2 * number, 2) if 4 + 2 * number < whole(vtable, 2) else 0
        return table + offset if offset else None

    def tables(table: int, number: int) -> list[int]:
        at = field(table, number)
        if at is None:
            return []
        start = at + whole(at)
        places = range(start + 4, start + 4 + 4 * whole(start), 4)
        return [place + whole(place) for place in places]

    subgraphs = tables(whole(0), 2)
    kinds = [field(tensor, 1) for tensor in tables(subgraphs[0], 0)] if subgraphs else []
    return {index for index, at in enumerate(kinds) if at is not None and content[at] == TFLITE_INT4}


def tflite_precision(op: dict[str, Any], constants: set[int], tensors: dict[int, dict[str, Any]]) -> str:
    """The type an op computes in: its result's; "float32×int8" where float activations meet integer weights."""
    if not len(op["outputs"]):
        return "none"
    result = np.dtype(tensors[int(op["outputs"][0])]["dtype"]).name
    weights = [np.dtype(tensors[int(i)]["dtype"]).name for i in op["inputs"][1:2] if int(i) in constants]
    mixed = op["op_name"] in TFLITE_WEIGHTED and weights and weights[0] != result
    return "%s×%s" % (result, weights[0]) if mixed else result


def inside(delegate: dict[str, Any], ops: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The ops that a delegate replaced: those between its inputs and its outputs."""
    producers = {int(index): op for op in ops for index in op["outputs"]}
    borders = {int(index) for index in delegate["inputs"]}
    todo, seen = [int(index) for index in delegate["outputs"]], set()
    while todo:
        index = todo.pop()
        if index in borders or index in seen or index not in producers:
            continue
        seen.add(index)
        yield producers[index]
        todo += [int(i) for i in producers[index]["inputs"]]


# What XNNPACK calls the operators that it makes of TensorFlow Lite's, by how their names begin.
XNNPACK_OPS = {
    "ADD": ("Add",),
    "AVERAGE_POOL_2D": ("Average Pooling",),
    "BATCH_MATMUL": ("Batch Matrix Multiply",),
    "CONCATENATION": ("Concatenate",),
    "CONV_2D": ("Convolution",),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "FULLY_CONNECTED": ("Fully Connected", "Dynamic Fully Connected"),
    "HARD_SWISH": ("HardSwish",),
    "LOGISTIC": ("Sigmoid",),
    "MAX_POOL_2D": ("Max Pooling",),
    "MEAN": ("Mean", "Global Average Pooling"),
    "MUL": ("Multiply",),
    "PAD": ("Constant Pad",),
    "RESIZE_BILINEAR": ("Resize Bilinear",),
    "SOFTMAX": ("Softmax",),
    "SUB": ("Subtract",),
    "TANH": ("Tanh",),
    "TRANSPOSE": ("Transpose",),
    "TRANSPOSE_CONV": ("Deconvolution",),
}


class LiteRtEvent(ctypes.Structure):
    """An entry of LiteRT's profile: ProfiledEventData in litert_profiler_event.h."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_uint32),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("node", ctypes.c_uint64),
        ("subgraph", ctypes.c_uint64),
        ("source", ctypes.c_uint32),
    )


LITERT_NODE, LITERT_DELEGATED = 2, 8  # kinds of events: an operator of the file, and one within a delegate


class LiteRtModel:
    """An artifact in LiteRT's compiled model, reached through its C library: that has a profiler.

    What it holds lives as long as the process.
    """

    def __init__(self, path: str, threads: int) -> None:
        package = importlib.util.find_spec("ai_edge_litert")
        folder = os.path.dirname(str(package.origin)) if package else ""
        try:
            self._library = ctypes.CDLL(os.path.join(folder, "libLiteRt.so"))
            self._library.LiteRtGetProfilerEvents  # noqa: B018 - whether it is there
        except (OSError, AttributeError) as error:
            raise NoProfile("this LiteRT has no profiler: %s" % one_line(error)) from error
        self._environment = self._ask("LiteRtCreateEnvironment", 0, None)
        self._model = self._ask("LiteRtCreateModelFromFile", self._environment, path.encode())
        self._compiled = self._compile(threads)
        self._profiler = self._ask("LiteRtCompiledModelGetProfiler", self._compiled)
        if not self._profiler:
            raise NoProfile("this LiteRT's profiler can't be switched on")
        self._signature = self._ask("LiteRtGetModelSignature", self._model, ctypes.c_size_t(0))
        self._inputs, self._outputs = self._buffers("Input"), self._buffers("Output")

    def _do(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise NoProfile("LiteRT's profiler doesn't work here: %s gave %d" % (name, status))

    def _ask(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Call a function whose last argument is where its result goes."""
        found = ctypes.c_void_p()
        self._do(name, *arguments, ctypes.byref(found))
        return found

    def _compile(self, threads: int) -> ctypes.c_void_p:
        options = self._ask("LiteRtCreateOptions")
        self._do("LiteRtSetOptionsHardwareAccelerators", options, 1)
        self._keep = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        settings = {"runtime_options_string": "enable_profiling = true", "xnnpack": "num_threads = %d" % threads}
        self._texts = {name.encode(): ctypes.create_string_buffer(text.encode()) for name, text in settings.items()}
        for name, text in self._texts.items():
            opaque = self._ask("LiteRtCreateOpaqueOptions", name, text, self._keep)
            self._do("LiteRtAddOpaqueOptions", options, opaque)
        return self._ask("LiteRtCreateCompiledModel", self._environment, self._model, options)

    def _buffers(self, side: str) -> Any:
        """A buffer for each input, or each output."""
        count = self._ask("LiteRtGetNumSignature%ss" % side, self._signature).value or 0
        buffers = (ctypes.c_void_p * count)()
        for number in range(count):
            at = ctypes.c_size_t(number)
            tensor = self._ask("LiteRtGetSignature%sTensorByIndex" % side, self._signature, at)
            kind = (ctypes.c_uint8 * 512)()  # a LiteRtRankedTensorType, which is smaller
            self._do("LiteRtGetRankedTensorType", tensor, kind)
            first = ctypes.c_size_t(0)
            wants = self._ask("LiteRtGetCompiledModel%sBufferRequirements" % side, self._compiled, first, at)
            made = self._ask("LiteRtCreateManagedTensorBufferFromRequirements", self._environment, kind, wants)
            buffers[number] = made.value
        return buffers

    def feed(self, values: dict[str, np.ndarray[Any, Any]]) -> None:
        """Set the inputs, by their names in the signature."""
        for number, buffer in enumerate(self._inputs):
            label = self._ask("LiteRtGetSignatureInputName", self._signature, ctypes.c_size_t(number))
            value = np.ascontiguousarray(values[(ctypes.string_at(label.value or 0)).decode()])
            place, target = ctypes.c_void_p(), ctypes.c_void_p(buffer)
            self._do("LiteRtLockTensorBuffer", target, ctypes.byref(place), 1)
            ctypes.memmove(place, value.ctypes.data, value.nbytes)
            self._do("LiteRtUnlockTensorBuffer", target)

    def run(self) -> list[tuple[str, int, int, int]]:
        """Tag, kind, node and microseconds of each event of one inference."""
        first, inputs, outputs = ctypes.c_size_t(0), self._inputs, self._outputs
        self._do("LiteRtResetProfiler", self._profiler)
        self._do("LiteRtStartProfiler", self._profiler)
        counts = ctypes.c_size_t(len(inputs)), ctypes.c_size_t(len(outputs))
        self._do("LiteRtRunCompiledModel", self._compiled, first, counts[0], inputs, counts[1], outputs)
        self._do("LiteRtStopProfiler", self._profiler)
        return self._events()

    def _events(self) -> list[tuple[str, int, int, int]]:
        found = ctypes.c_int()
        self._do("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(found))
        count, size = found.value, ctypes.sizeof(LiteRtEvent)
        room = (LiteRtEvent * (2 * count + 1))()
        ctypes.memset(room, 0xFF, ctypes.sizeof(room))
        self._do("LiteRtGetProfilerEvents", self._profiler, count, room)
        written = len(ctypes.string_at(ctypes.addressof(room), ctypes.sizeof(room)).rstrip(b"\xff"))
        if not (count - 1) * size < written <= count * size:
            raise NoProfile("this LiteRT's profiler writes its entries otherwise than the versions that are known")
        return [
            ((event.tag or b"").decode(errors="replace"), event.kind, event.node, event.elapsed_us)
            for event in room[:count]
        ]


def litert_ops(
    runs: Sequence[Sequence[tuple[str, int, int, int]]], nodes: Sequence[tuple[str, list[str]]]
) -> list[OpTimes]:
    """Events by operator. XNNPACK doesn't say which node an operator of its own is.

    It runs those of a kind in the order of the file: where there are as many as nodes of that kind, they are these.
    """
    found: dict[tuple[int, int, str], list[float]] = {}
    for tag, kind, node, us in (event for events in runs for event in events):
        if kind in (LITERT_NODE, LITERT_DELEGATED):
            found.setdefault((kind, node, tag), []).append(float(us))
    inner = any(kind == LITERT_DELEGATED for kind, _, _ in found)
    ops = [
        OpTimes(tag, nodes[node][1] if kind == LITERT_NODE and node < len(nodes) else [], us)
        for (kind, node, tag), us in found.items()
        if not (inner and kind == LITERT_NODE and tag.startswith(("TfLiteXNNPackDelegate", "Delegate")))
    ]
    if not ops or any(len(op.us) % len(runs) for op in ops):
        raise NoProfile("LiteRT's profiler saw no operators")
    for family in sorted(set(XNNPACK_OPS.values())):
        kinds = {kind for kind, names in XNNPACK_OPS.items() if names == family}
        made = [op for op in ops if not op.names and op.op.startswith(family)]
        wanted = [names for kind, names in nodes if kind in kinds]
        if len(made) == len(wanted):
            for op, names in zip(made, wanted):
                op.names.extend(names)
    return ops


class OpenVINOSession(Session):
    """OpenVINO, on the CPU unless told. What it runs in is read from its execution graph."""

    def __init__(self, module: Any, request: Request, threads: int, delegate: str | None) -> None:
        self.runtime, self.version = "openvino", version_of("openvino")
        self.delegate = delegate
        device = "CPU" if delegate in (None, "none") else str(delegate)
        core = module.Core()
        if device.partition(".")[0] not in {name.partition(".")[0] for name in core.available_devices}:
            raise not_applied(device, "OpenVINO finds %s here" % ", ".join(core.available_devices))
        self._model = core.read_model(request.path)
        if any(port.get_partial_shape().is_dynamic for port in self._model.inputs):
            self._model.reshape({port: static_shape(port.get_partial_shape()) for port in self._model.inputs})
        try:
            options = {**({"INFERENCE_NUM_THREADS": threads} if device == "CPU" else {}), **request.options}
            self._compiled = core.compile_model(self._model, device, options)
            self._core, self._device, self._options = core, device, options
        except RuntimeError as error:
            if "property" not in str(error).lower():
                raise
            raise BenchError("UsageError", one_line(error), "your options", "See OpenVINO's properties.") from error
        self._request = self._compiled.create_infer_request()
        self.inputs = [openvino_tensor(port, "input_%d" % i) for i, port in enumerate(self._model.inputs)]
        self.outputs = [openvino_tensor(port, "output_%d" % i) for i, port in enumerate(self._model.outputs)]
        self._buffers = [self._request.get_input_tensor(index).data for index in range(len(self.inputs))]
        # Sharing the outputs leaves a copy out of the measurement that a C++ program does not make either.
        self.invoke = lambda: self._request.infer(share_outputs=True)

    def feed(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        """Write into the buffers that the request reads."""
        for buffer, tensor, value in zip(self._buffers, self.inputs, values):
            buffer[...] = tensor.encode(value)

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """Copy the output tensors."""
        values = (self._request.get_output_tensor(index).data for index in range(len(self.outputs)))
        return [tensor.decode(value) for tensor, value in zip(self.outputs, values)]

    def account(self) -> dict[str, Any]:
        """Constants of the file; executed layers with the precision that the CPU plugin chose for them."""
        ops = self._model.get_ordered_ops()
        constants = [op for op in ops if op.get_type_name() == "Constant"]
        stored = {op.get_friendly_name(): weight for op in ops for weight in openvino_weights(op)}
        weight_names = {weight.get_name() for weight in stored.values()}
        products = [op.get_friendly_name() for op in ops if op.get_type_name() == "MatMul"]
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        # "GPU" is carried out by "GPU.0".
        devices = {name.partition(".")[0] for name in self._compiled.get_property("EXECUTION_DEVICES")}
        delegate = None if devices == {"CPU"} else self.delegate
        compute, steps, kinds = Tally(), [], {}
        for op in self._compiled.get_runtime_model().get_ordered_ops():
            info = op.get_rt_info()
            kind, precision, kernel, made, names = (
                info[key].astype(str)
                for key in (
                    "layerType",
                    "runtimePrecision",
                    "primitiveType",
                    "outputPrecisions",
                    "originalLayersNames",
                )
            )
            layers = names.split(",")
            if kind not in ("Const", "Input", "Output"):
                product = layers if kind in OPENVINO_PRODUCTS else None
                own = [openvino_type(stored[name]) for name in layers if name in stored]
                compute.add(
                    kind,
                    openvino_precision(precision, kernel),
                    delegate=delegate,
                    layers=product,
                    stored=own[0] if own else "",
                )
            # A constant may as well be added, like a position embedding: only products have weights.
            if kind == "Subgraph" and any(begins_with(name, products) for name in layers):
                for product_precision in openvino_products(op, hint):
                    compute.add("MatMul", product_precision, layers=layers)
            read = [value.get_node().get_name() for value in op.input_values()]
            read = [name for name in read if name in kinds]
            if read or kind == "Input":  # what is left is made of constants
                kinds[op.get_name()] = openvino_precision(made.split(",")[0])
                steps.append(Step(read, [op.get_name()]))
        return {
            "storage": openvino_bytes(constants),
            "weights": openvino_bytes(op for op in constants if op.get_name() in weight_names),
            "islands": count_islands(steps, kinds),
            **compute.as_json(),
        }

    def profile(self, runs: int) -> list[OpTimes]:
        """From its performance counters; an executed node knows which of the file's went into it."""
        core, options = type(self._core)(), {**self._options, "PERF_COUNT": "YES"}
        compiled = core.compile_model(self._model, self._device, options)
        request = compiled.create_infer_request()
        for index, buffer in enumerate(self._buffers):
            request.get_input_tensor(index).data[...] = buffer
        found: dict[str, OpTimes] = {}
        origins = {
            node.get_friendly_name(): node.get_rt_info()["originalLayersNames"].astype(str)
            for node in compiled.get_runtime_model().get_ordered_ops()
            if "originalLayersNames" in node.get_rt_info()
        }
        for number in range(runs + WARM_UP_RUNS):
            request.infer(share_outputs=True)
            for info in request.profiling_info if number >= WARM_UP_RUNS else ():
                if "EXECUTED" in str(info.status).replace("NOT_RUN", ""):
                    names = [name for name in origins.get(info.node_name, info.node_name).split(",") if name]
                    op = found.setdefault(info.node_name, OpTimes(info.node_type, names, []))
                    op.us.append(info.real_time.total_seconds() * 1e6)
        return list(found.values())


OPENVINO_WEIGHTED = (
    "Convolution",
    "GroupConvolution",
    "ConvolutionBackpropData",
    "GroupConvolutionBackpropData",
    "MatMul",
)
OPENVINO_PRODUCTS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
OPENVINO_UNPACKING = ("Convert", "Subtract", "Multiply", "FakeQuantize", "Reshape", "Transpose", "Unsqueeze", "Squeeze")
NUMPY_NAMES = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "uint8", "i32": "int32", "i64": "int64",
    "boolean": "bool",
}  # fmt: skip


def openvino_precision(precision: str, kernel: str = "") -> str:
    """What a layer of the execution graph computes in.

    `runtimePrecision` says f16 where float16 weights feed a float32 kernel; the kernel's own name ends in what it
    computes in ("brgconv_avx512_f32"), but calls both integer types I8.
    """
    computed = kernel.rpartition("_")[2].lower()
    name = computed if computed in NUMPY_NAMES and computed != "i8" else precision.lower()
    return NUMPY_NAMES.get(name, name)


def begins_with(name: str, layers: Iterable[str]) -> bool:
    """Whether a name is that of a layer, or of a part of one."""
    return any((name + "/").startswith(layer + "/") for layer in layers)


def openvino_products(subgraph: Any, hint: str) -> Iterator[str]:
    """The precision of each matrix product that OpenVINO compiled into one kernel with its neighbours.

    Such a kernel is listed as a Subgraph in the precision of its input. What its products compute in shows in the
    weights that reach it: integers, or floats that the kernel converts to the precision of the `hint` by itself.
    """
    for value in subgraph.input_values():
        source = value.get_node()
        info = source.get_rt_info()
        if info["layerType"].astype(str) == "Const" and sum(size > 1 for size in source.get_output_shape(0)) > 1:
            precision = info["outputPrecisions"].astype(str).lower()
            yield openvino_precision(hint if precision == "f32" and hint in ("bf16", "f16") else precision)


def openvino_weights(op: Any) -> Iterator[Any]:
    """The constant that holds an op's weights, behind what unpacks them."""
    if op.get_type_name() in OPENVINO_WEIGHTED:
        source = op.input_value(1).get_node()
        while source.get_type_name() in OPENVINO_UNPACKING:
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant":
            yield source


def openvino_bytes(constants: Iterable[Any]) -> dict[str, int]:
    """Bytes of constants by element type."""
    total: dict[str, int] = {}
    for op in constants:
        kind = openvino_type(op)
        add_bytes(total, kind, op.get_output_shape(0), kind)
    return total


def openvino_type(constant: Any) -> str:
    """The element type of a constant."""
    return str(np.dtype(constant.get_output_element_type(0).to_dtype()).name)


def static_shape(shape: Any) -> list[int]:
    """A shape with its open batch fixed to one sample."""
    sizes = [dimension.get_length() if dimension.is_static else 0 for dimension in shape]
    if 0 in sizes[1:]:
        raise invalid(
            "an input of open size %s can't be timed" % shape, "your artifact", "Fix its shape when converting."
        )
    return [size or 1 for size in sizes]


def openvino_tensor(port: Any, name: str) -> Tensor:
    """An input or output as OpenVINO describes it; a tensor may have no name."""
    name = port.get_any_name() if port.get_names() else name
    return Tensor(name, tuple(port.get_shape()), np.dtype(port.get_element_type().to_dtype()).name)


class OnnxRuntimeSession(Session):
    """ONNX Runtime, on the CPU unless told. The account is its profile of one inference, and the file's constants."""

    def __init__(self, module: Any, request: Request, threads: int, delegate: str | None) -> None:
        refuse_options(request, "ONNX Runtime", {"session.disable_quant_qdq"})
        self._entries = request.options
        self.runtime, self.version = "onnxruntime", version_of("onnxruntime")
        self._providers: list[Any] = ["CPUExecutionProvider"]
        provider = parse_artifact(delegate or "none")
        self.delegate = delegate and provider.path
        if provider.path not in PLAIN:
            if provider.path not in module.get_available_providers():
                raise not_applied(
                    provider.path, "this ONNX Runtime has %s" % ", ".join(module.get_available_providers())
                )
            self._providers.insert(0, (provider.path, provider.options))
        self._module, self._path, self._threads = module, request.path, threads
        self._session = self._open()
        self.inputs = [onnx_tensor(value) for value in self._session.get_inputs()]
        self.outputs = [onnx_tensor(value) for value in self._session.get_outputs()]
        self._feeds: dict[str, np.ndarray[Any, Any]] = {}
        self._answers: list[np.ndarray[Any, Any]] = []
        self.invoke = self._run

    def _open(self, folder: str = "") -> Any:
        """The session; one that writes its profile and the optimised network into a folder, where there is one."""
        options = self._module.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = 3
        for key, value in self._entries.items():
            options.add_session_config_entry(key, value)
        if folder:
            options.enable_profiling, options.profile_file_prefix = True, os.path.join(folder, "profile")
            options.optimized_model_filepath = os.path.join(folder, "optimised.onnx")
        return self._module.InferenceSession(self._path, options, providers=self._providers)

    def _run(self) -> None:
        self._answers = self._session.run(None, self._feeds)

    def feed(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        """Keep the arrays for `run`."""
        self._feeds = {tensor.name: tensor.encode(value) for tensor, value in zip(self.inputs, values)}

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """What the last `run` answered."""
        return [tensor.decode(value) for tensor, value in zip(self.outputs, self._answers)]

    def account(self) -> dict[str, Any]:
        """Executed nodes of a profiled inference."""
        compute = Tally()
        with tempfile.TemporaryDirectory() as folder:
            events = self._events(1, folder)
            nodes = onnx_nodes(os.path.join(folder, "optimised.onnx"))
        makers = {value: node for node in onnx_nodes(self._path) for value in node.outputs}
        rounded = {value for node in nodes if node.op == "DynamicQuantizeLinear" for value in node.outputs}
        dynamic = {node.name for node in nodes if rounded.intersection(node.inputs[:1])}
        ran: dict[str, dict[str, Any]] = {}
        for event in events:
            details = event["args"]
            if "output_type_shape" in details:
                name = event["name"][: -len("_kernel_time")]
                ran[name] = details
                layers = onnx_layers(name, makers) if is_product(details["op_name"]) else None
                delegate = details.get("provider", "")
                delegate = "" if delegate in PLAIN else delegate
                precision = onnx_precision(details, dynamic=name in dynamic)
                compute.add(details["op_name"], precision, delegate=delegate, layers=layers)
        kinds = {
            value: kind
            for node in nodes
            for value, kind in zip(
                node.outputs, ONNX_MADE.get(node.op) or onnx_types(ran.get(node.name, {}), "output_type_shape")
            )
            if value not in rounded  # as a kernel's own rounding: no value that layers hand on
        }
        steps = [Step([value for value in node.inputs if value in kinds], node.outputs) for node in nodes]
        return {**onnx_constants(self._path), "islands": count_islands(steps, kinds), **compute.as_json()}

    def profile(self, runs: int) -> list[OpTimes]:
        """From its profile; a node that several were made into has the name of one of them."""
        found: dict[str, OpTimes] = {}
        with tempfile.TemporaryDirectory() as folder:
            events = self._events(runs + WARM_UP_RUNS, folder)
        for event in events:
            name = event["name"]
            if name.endswith("_kernel_time"):
                name = name[: -len("_kernel_time")]
                # A node that was made anew in another layout; the latter is called after what it makes.
                origin = re.sub(r"^fused |(_token_\d+|_nchwc)$", "", name)
                op = found.setdefault(name, OpTimes(event["args"]["op_name"], [origin], []))
                op.us.append(float(event["dur"]))
        return [OpTimes(op.op, op.names, op.us[WARM_UP_RUNS:]) for op in found.values()]

    def _events(self, runs: int, folder: str) -> list[dict[str, Any]]:
        """What the profile of some inferences, written into a folder, says of nodes."""
        session = self._open(folder)
        for _ in range(runs):
            session.run(None, self._feeds)
        with open(session.end_profiling()) as stream:
            events = json.load(stream)
        return [event for event in events if event.get("cat") == "Node" and "op_name" in event.get("args", {})]


ONNX_WEIGHTED = ("Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger")
ONNX_UNPACKING = ("Cast", "DequantizeLinear", "Identity", "Reshape", "Transpose")
# The element types of a TensorProto: names, and bits.
ONNX_TYPES = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16), 6: ("int32", 32),
    7: ("int64", 64), 9: ("bool", 8), 10: ("float16", 16), 11: ("float64", 64), 12: ("uint32", 32), 13: ("uint64", 64),
    16: ("bfloat16", 16), 21: ("uint4", 4), 22: ("int4", 4),
}  # fmt: skip


def onnx_precision(details: dict[str, Any], *, dynamic: bool = False) -> str:
    """The type a node of the profile computes in: its result's, or its data's where a product's weights are integers.

    "float32×int8" is float data that meets integer weights. `dynamic` says that a node in front rounds it as it comes.
    The profile leaves out weights that were packed when the file was loaded, but not their zero point.
    """
    given, made = (onnx_types(details, key) for key in ("input_type_shape", "output_type_shape"))
    if is_product(details["op_name"]) and given:
        integers = [kind for kind in given[1:] if kind in ("int8", "uint8")]
        if dynamic or details["op_name"].startswith("DynamicQuantize"):
            return "float32×" + (integers[-1] if integers else "int8")
        weights = integers[0] if integers else None
        return given[0] if weights in (None, given[0]) or given[0] in ("int8", "uint8") else given[0] + "×" + weights
    return made[0] if made else "none"


def onnx_types(details: dict[str, Any], key: str) -> list[str]:
    """The element types of a node's inputs or outputs, by numpy's names."""
    return [{"float": "float32"}.get(kind, kind) for value in details.get(key, ()) for kind in value]


def is_product(op: str) -> bool:
    """Whether a kernel of ONNX Runtime multiplies: whatever it fuses into one, one of these is in its name."""
    return any(part in op for part in ("Conv", "Gemm", "MatMul"))


class OnnxNode(NamedTuple):
    """A node of a file."""

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]


def onnx_layers(kernel: str, makers: dict[str, OnnxNode]) -> list[str]:
    """The layers that a node of the optimised network may be.

    An activation puts "fused" in front of its name; layouts add a number to it, or call it after its output. That is
    what the layer makes, or what is made of that by nodes without products, which are then part of it.
    """
    todo = [kernel[: -len("_nchwc")]] if kernel.endswith("_nchwc") else []
    if not todo or todo[0] not in makers:
        return [re.sub(r"^fused |_token_\d+$", "", kernel)]
    found = []
    while todo:
        node = makers.get(todo.pop())
        if node is not None and is_product(node.op):
            found.append(node.name)
        elif node is not None and node.op not in ONNX_MADE:
            todo += node.inputs
    return found


# What these make; a profile gives nodes without a name one of its own.
ONNX_MADE = {"QuantizeLinear": ["uint8"], "DequantizeLinear": ["float32"]}


def onnx_nodes(path: str) -> list[OnnxNode]:
    """The nodes of a file, in its order."""
    with open(path, "rb") as stream:
        model = protobuf(memoryview(stream.read()))
    nodes = [protobuf(node) for graph in map(protobuf, model.get(7, ())) for node in graph.get(1, ())]
    return [OnnxNode(text(node, 3), text(node, 4), texts(node, 1), texts(node, 2)) for node in nodes]


def onnx_constants(path: str) -> dict[str, dict[str, int]]:
    """Bytes of a file's initializers by type: of all, and of the weights among them."""
    with open(path, "rb") as stream:
        model = protobuf(memoryview(stream.read()))
    storage: dict[str, int] = {}
    weights: dict[str, int] = {}
    for graph in map(protobuf, model.get(7, ())):
        nodes = [protobuf(node) for node in graph.get(1, ())]
        weighted = onnx_weights([(text(node, 4), texts(node, 1), texts(node, 2)) for node in nodes])
        for tensor in map(protobuf, graph.get(5, ())):
            parts = ([part] if isinstance(part, int) else varints(part) for part in tensor.get(1, ()))
            sizes = [size for part in parts for size in part]
            name, bits = ONNX_TYPES.get(tensor[2][0], ("other", 0))
            size = (int(np.prod(sizes, dtype=np.int64)) * bits + 7) // 8
            for total in (storage, weights) if text(tensor, 8) in weighted else (storage,):
                total[name] = total.get(name, 0) + size
    return {"storage": storage, "weights": weights}


def onnx_weights(nodes: Sequence[tuple[str, list[str], list[str]]]) -> set[str]:
    """The values that convolutions and matrix products take for weights, and those that these are unpacked from.

    Args:
        nodes: operator, inputs and outputs of each.
    """
    sources = {outputs[0]: inputs[0] for op, inputs, outputs in nodes if op in ONNX_UNPACKING and inputs and outputs}
    found = {inputs[1] for op, inputs, _ in nodes if op in ONNX_WEIGHTED and len(inputs) > 1}
    todo = list(found)
    while todo:
        source = sources.get(todo.pop())
        if source is not None and source not in found:
            found.add(source)
            todo.append(source)
    return found


def protobuf(message: memoryview) -> dict[int, list[Any]]:
    """The fields of a protobuf message by number: whole numbers, and contents of texts and messages.

    See protobuf.dev/programming-guides/encoding.
    """
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        content = fields.setdefault(key >> 3, [])
        if key & 7 == 0:
            number, at = varint(message, at)
            content.append(number)
        else:
            size, at = (8, at) if key & 7 == 1 else (4, at) if key & 7 == 5 else varint(message, at)
            content.append(message[at : at + size])
            at += size
    return fields


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """The whole number at a place, seven bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def varints(message: memoryview) -> Iterator[int]:
    """Whole numbers that are packed one behind the other."""
    at = 0
    while at < len(message):
        value, at = varint(message, at)
        yield value


def texts(fields: dict[int, list[Any]], number: int) -> list[str]:
    """The texts in a field."""
    return [bytes(content).decode(errors="replace") for content in fields.get(number, ())]


def text(fields: dict[int, list[Any]], number: int) -> str:
    """The text in a field, or nothing."""
    return "".join(texts(fields, number)[-1:])


def onnx_tensor(value: Any) -> Tensor:
    """An input or output as ONNX Runtime describes it; an open batch is one sample."""
    kind = value.type[len("tensor(") : -1]
    shape = tuple(size if isinstance(size, int) else 1 for size in value.shape)
    return Tensor(value.name, shape, {"float": "float32", "double": "float64"}.get(kind, kind))


class NcnnLayer(NamedTuple):
    """A line of a .param file: a layer with its numbered parameters."""

    kind: str
    name: str
    parameters: dict[str, str]


# Layers that may have weights, and where their parameter 8 says that these are int8.
NCNN_WEIGHTED = ("Convolution", "ConvolutionDepthWise", "InnerProduct")


class NcnnSession(Session):
    """ncnn, on the CPU unless told. It takes one sample at a time, and keeps no batch axis.

    Where an Input layer gives no shape (0=w 1=h 11=d 2=c), an option of its name does: `?data=3x224x224`. The other
    options are those of ncnn's Option that begin with use_, 0 or 1. The account is each layer's own flags.
    """

    def __init__(self, module: Any, request: Request, threads: int, delegate: str | None) -> None:
        self.runtime, self.version, self.delegate = "ncnn", version_of("ncnn"), delegate
        if delegate not in (None, "none", "vulkan"):
            raise BenchError("UsageError", "ncnn has no delegate %s" % delegate, "your command", "Name none or vulkan.")
        if delegate == "vulkan" and not module.get_gpu_count():
            raise not_applied("vulkan", "ncnn finds no Vulkan device here")
        self._module, self._net = module, module.Net()
        self._layers = ncnn_layers(request.path)
        shapes = {layer.name: ncnn_shape(layer) for layer in self._layers if layer.kind == "Input"}
        options = self._net.opt
        switches = {name for name in dir(options) if name.startswith("use_")}
        refuse_options(request, "ncnn", switches | set(shapes))
        options.num_threads, options.use_vulkan_compute = threads, delegate == "vulkan"
        for name, value in request.options.items():
            if name in switches:
                setattr(options, name, value not in ("0", "false"))
        weights = os.path.splitext(request.path)[0] + ".bin"
        if self._net.load_param(request.path) or self._net.load_model(weights):
            raise ValueError("it refuses the .param, or the .bin beside it")
        self.inputs = []
        for name in self._net.input_names():
            shape = ncnn_sizes(request.options[name]) if name in request.options else shapes.get(name)
            if not shape:
                cause = "the input %r of %s has no shape" % (name, request.path)
                raise invalid(
                    cause, "your artifact", "Give it one, channels first: %s?%s=3x224x224" % (request.path, name)
                )
            self.inputs.append(Tensor(name, (1, *shape), "float32"))
        self._names = self._net.output_names()
        self._feeds: list[Any] = []
        self._answers: list[Any] = []
        self.invoke = self._run
        self.feed([np.zeros(tensor.shape, np.float32) for tensor in self.inputs])
        self._run()
        self.outputs = [Tensor(name, value.shape, "float32") for name, value in zip(self._names, self._values())]

    def _run(self) -> None:
        extractor = self._net.create_extractor()
        for tensor, value in zip(self.inputs, self._feeds):
            extractor.input(tensor.name, value)
        self._answers = [extractor.extract(name) for name in self._names]

    def _values(self) -> list[np.ndarray[Any, Any]]:
        for name, (code, _) in zip(self._names, self._answers):
            if code:
                raise ValueError("it can't compute %s (%d)" % (name, code))
        return [np.array(value)[None] for _, value in self._answers]

    def feed(self, values: Sequence[np.ndarray[Any, Any]]) -> None:
        """Copy the inputs into ncnn's own arrays."""
        encoded = [tensor.encode(value)[0] for tensor, value in zip(self.inputs, values)]
        self._feeds = [self._module.Mat(value).clone() for value in encoded]

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """Copy the outputs."""
        return self._values()

    def account(self) -> dict[str, Any]:
        """Layers by the precision that their flags, the options and this CPU (or GPU) amount to; no constants."""
        compute = Tally()
        for layer, line in zip(self._net.layers(), self._layers):
            vulkan = self._net.opt.use_vulkan_compute and layer.support_vulkan
            compute.add(line.kind, self._precision(layer, line, vulkan), delegate="vulkan" if vulkan else "")
        return {"storage": {}, "weights": {}, **compute.as_json()}

    def _precision(self, layer: Any, line: NcnnLayer, vulkan: bool) -> str:  # noqa: FBT001 - a fact about the layer
        options = self._net.opt
        if line.kind in NCNN_WEIGHTED and line.parameters.get("8", "0") != "0" and options.use_int8_inference:
            return "int8"
        if vulkan:  # what the GPU can't do, ncnn switched off while it loaded
            return "float16" if options.use_fp16_storage or options.use_fp16_packed else "float32"
        if options.use_fp16_storage and layer.support_fp16_storage:
            return "float16"
        return "bfloat16" if options.use_bf16_storage and layer.support_bf16_storage else "float32"


def ncnn_layers(path: str) -> list[NcnnLayer]:
    """The layers of a .param file: kind, name, numbers of inputs and outputs, their names, parameters as id=value."""
    with open(path, errors="replace") as stream:
        lines = [line.split() for line in stream]
    try:
        return [
            NcnnLayer(line[0], line[1], dict(word.split("=", 1) for word in line[4 + int(line[2]) + int(line[3]) :]))
            for line in lines[2:]
            if line
        ]
    except (IndexError, ValueError) as error:
        raise invalid("%s is no .param file" % path, "your artifact", "Make it again, with pnnx.") from error


def ncnn_shape(layer: NcnnLayer) -> tuple[int, ...]:
    """The shape that an Input layer gives, channels first; empty if it gives none."""
    sizes = [int(layer.parameters.get(key, "0")) for key in ("2", "11", "1", "0")]
    return tuple(size for size in sizes if size)


def ncnn_sizes(text: str) -> tuple[int, ...]:
    """The sizes in "3x224x224"."""
    try:
        return tuple(int(size) for size in text.split("x"))
    except ValueError as error:
        raise BenchError("UsageError", "%s is no shape" % text, "your command", "Write it like 3x224x224.") from error


SESSIONS: dict[str, Callable[[Any, Request, int, str | None], Session]] = {
    "ai_edge_litert": TFLiteSession,
    "tflite_runtime": TFLiteSession,
    "tensorflow": TFLiteSession,
    "openvino": OpenVINOSession,
    "onnxruntime": OnnxRuntimeSession,
    "ncnn": NcnnSession,
}


def refuse_options(request: Request, runtime: str, known: Collection[str] = ()) -> None:
    """An option that would be ignored is an error."""
    names = ", ".join(name for name in request.options if name not in known)
    if names:
        raise BenchError("UsageError", "%s takes no options (%s)" % (runtime, names), "your command", "Leave them out.")


class Step(NamedTuple):
    """An executed op: what it reads of what other ops computed, and what it makes."""

    inputs: Sequence[Any]
    outputs: Sequence[Any]


def count_islands(steps: Sequence[Step], kinds: dict[Any, str]) -> int:
    """How often a network goes from 8-bit integers to float and back.

    An island is all the float values that hang together by ops, where an op that reads integers makes one of them and
    an op that makes integers reads one.

    Args:
        steps: in the order of their execution.
        kinds: element types of the values by numpy's names.
    """
    integer, floats = ("int8", "uint8"), ("float32", "float16", "bfloat16")
    home: dict[Any, Any] = {}

    def find(value: Any) -> Any:
        while home.setdefault(value, value) != value:
            value = home[value]
        return value

    for step in steps:
        together = [value for value in (*step.inputs, *step.outputs) if kinds.get(value) in floats]
        for value in together[1:]:
            home[find(value)] = find(together[0])
    entered, left = set(), set()
    for step in steps:
        if any(kinds.get(value) in integer for value in step.inputs):
            entered |= {find(value) for value in step.outputs if kinds.get(value) in floats}
        if any(kinds.get(value) in integer for value in step.outputs):
            left |= {find(value) for value in step.inputs if kinds.get(value) in floats}
    return len(entered & left)


class Tally:
    """Counts executed ops by type and precision, and those that each delegate ran; lists products one by one."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._delegates: dict[str, int] = {}
        self._products: list[dict[str, Any]] = []

    def add(
        self,
        op: str,
        precision: str,
        *,
        delegate: str | None = None,
        layers: Sequence[str] | None = None,
        stored: str = "",
    ) -> None:
        """One more op; of a convolution or a matrix product, the `layers` in it and how its weights are `stored`."""
        if layers is not None:
            self._products.append({"layers": list(layers), "op": op, "precision": precision, "stored": stored})
        count = self._counts.setdefault((op, precision), [0, 0])
        count[0] += 1
        if delegate:
            count[1] += 1
            self._delegates[delegate] = self._delegates.get(delegate, 0) + 1

    def as_json(self) -> dict[str, Any]:
        """One entry a type and precision; `delegated` of the `count` ran in a delegate."""
        return {
            "compute": [
                {"op": op, "precision": precision, "count": count, "delegated": delegated}
                for (op, precision), (count, delegated) in sorted(self._counts.items())
            ],
            "delegates": self._delegates,
            "products": self._products,
        }


def add_bytes(storage: dict[str, int], name: str, shape: Iterable[int], kind: Any) -> None:
    """Count a constant."""
    storage[name] = storage.get(name, 0) + int(np.prod(list(shape), dtype=np.int64)) * np.dtype(kind).itemsize


def version_of(module: str) -> str:
    """The installed version of the package that holds `module`."""
    try:
        from importlib.metadata import version

        return version(package_of(module).split()[0])
    except Exception:  # noqa: BLE001 - installed without metadata, as distributions do
        return str(getattr(sys.modules.get(module), "__version__", "unknown"))


# ---------------------------------------------------------------------------------------------------- answers


def answer(session: Session, source: str, target: str | None, report: Reporter) -> dict[str, Any]:
    """Run every sample of an .npz and write the answers: one array an output, the sample axis in front.

    The answers to sequences have their steps behind it.
    """
    samples = read_samples(session, source)
    count, batch = len(samples[0]), session.batch
    parts: list[list[np.ndarray[Any, Any]]] = [[] for _ in session.outputs]
    for start in range(0, count, batch):
        chosen = [padded(array[start : start + batch], batch) for array in samples]
        for part, tensor, value in zip(parts, session.outputs, run_batch(session, chosen)):
            part.append(value[: count - start])
            refuse_nan(part[-1], "output %r of sample %%d of %s" % (tensor.name, source), start)
        report("running", min(1.0, (start + batch) / count))
    outputs = {tensor.name: np.concatenate(part) for tensor, part in zip(session.outputs, parts)}
    if target:
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        np.savez(target, **outputs)  # type: ignore[arg-type]
    content = hashlib.sha256()
    for value in outputs.values():
        content.update(np.ascontiguousarray(value).tobytes())
    return {"n": count, "digest": content.hexdigest()}


def run_batch(session: Session, samples: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """The answers to a whole batch of samples, or of sequences, whose states each step hands to the next."""
    if not session.states:
        return [by_sample(value, session.batch) for value in run_step(session, samples)]
    steps = next(array.shape[1] for index, array in enumerate(samples) if index not in session.states)
    state = {index: samples[index].reshape(session.inputs[index].shape) for index in session.states}
    answers = []
    for step in range(steps):
        values = run_step(session, [state[i] if i in state else array[:, step] for i, array in enumerate(samples)])
        state = {index: values[output] for index, output in session.states.items()}
        answers.append([by_sample(value, session.batch) for value in values])
    return [np.stack(values, axis=1) for values in zip(*answers)]


def run_step(session: Session, values: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """One inference."""
    session.feed(values)
    session.invoke()
    return session.fetch()


def by_sample(value: np.ndarray[Any, Any], batch: int) -> np.ndarray[Any, Any]:
    """An output with the samples in front; one that has no batch is the same for all of them."""
    return value if value.ndim > 0 and len(value) == batch else np.repeat(value[None], batch, axis=0)


def find_states(pairs: Sequence[str], session: Session) -> dict[int, int]:
    """The position of each state among the inputs → that of the output that feeds it at the next step."""
    inputs, outputs = ({tensor.name: i for i, tensor in enumerate(side)} for side in (session.inputs, session.outputs))
    states = {}
    for pair in pairs:
        source, _, target = pair.partition("=")
        told = "the artifact has the inputs %s and the outputs %s" % (", ".join(inputs), ", ".join(outputs))
        if source in inputs and target in outputs:
            states[inputs[source]] = outputs[target]
            before, after = session.inputs[inputs[source]].shape, session.outputs[outputs[target]].shape
            told = "" if before == after else "the input has shape %s, the output %s" % (before, after)
        if told:
            raise BenchError("UsageError", "--state %s is no pair: %s" % (pair, told), "your command", "Name a pair.")
    if states and len(states) == len(inputs):
        raise BenchError("UsageError", "every input is a state", "your command", "Leave one to feed.")
    return states


def read_samples(session: Session, source: str) -> list[np.ndarray[Any, Any]]:
    """The arrays of an .npz in the order of the artifact's inputs, checked against their shapes."""
    try:
        with np.load(source, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise invalid(
            "%s can't be read: %s" % (source, one_line(error)), "your data", "Write it with numpy.savez."
        ) from error
    names = [tensor.name for tensor in session.inputs]
    needed = [name for index, name in enumerate(names) if name in arrays or index not in session.states]
    if not set(needed) <= set(arrays):
        if len(arrays) != len(needed):
            raise invalid(
                "%s has %s, the artifact takes %s" % (source, ", ".join(arrays) or "nothing", ", ".join(needed)),
                "your data",
                "Give one array an input.",
            )
        arrays = dict(zip(needed, arrays.values()))
    for index in session.states:
        zeros = np.zeros((len(np.atleast_1d(arrays[needed[0]])), *sample_shape(session, index)), np.float32)
        arrays.setdefault(names[index], zeros)
    ordered = [arrays[name] for name in names]
    for index, (tensor, array) in enumerate(zip(session.inputs, ordered)):
        axes = ["N", "steps"] if session.states and index not in session.states else ["N"]
        wanted = sample_shape(session, index)
        if array.shape[len(axes) :] != wanted or array.ndim < len(axes) or 0 in array.shape[: len(axes)]:
            raise invalid(
                "input %r has shape %s in %s, the artifact takes (%s)"
                % (tensor.name, array.shape, source, ", ".join(axes + [str(size) for size in wanted])),
                "your data",
                "Give samples in the model's own shape, with a sample axis in front%s."
                % (" and the steps behind it" if len(axes) > 1 else ""),
            )
    sizes = {array.shape[:2] for index, array in enumerate(ordered) if session.states and index not in session.states}
    if len({len(array) for array in ordered}) != 1 or len(sizes) > 1:
        raise invalid("the arrays of %s differ in their number of samples" % source, "your data", "Make them equal.")
    return ordered


def sample_shape(session: Session, index: int) -> tuple[int, ...]:
    """The shape of one sample of an input: without the batch, but a state may have its layers in front and no batch."""
    shape = session.inputs[index].shape
    return shape if index in session.states and shape[:1] != (session.batch,) else shape[1:]


def refuse_nan(values: np.ndarray[Any, Any], what: str, start: int) -> None:
    """NaN is no answer."""
    bad = np.isnan(values).reshape(len(values), -1).any(axis=1) if values.dtype.kind == "f" else np.zeros(0, bool)
    if bad.any():
        raise BenchError(
            "BrokenPromiseError",
            "%s is NaN" % (what % (start + int(bad.argmax()))),
            "your artifact",
            "Check the model's weights and this sample for NaN.",
        )


def padded(values: np.ndarray[Any, Any], batch: int) -> np.ndarray[Any, Any]:
    """A last, short batch filled up with its last sample."""
    missing = batch - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


def feed_for_timing(session: Session, source: str | None) -> None:
    """Real samples where there are some, else noise: zeros would flatter a kernel that skips them."""
    if source:
        batches = [padded(array[: session.batch], session.batch) for array in read_samples(session, source)]
    else:
        noise = np.random.RandomState(0)
        batches = [noise.uniform(0, 1, tensor.shape).astype(np.float32) for tensor in session.inputs]
    if source and session.states:
        run_batch(session, batches)  # the last step stays fed, with the state that led there
    else:
        session.feed(batches)


# ---------------------------------------------------------------------------------------------------- timing


class Timing(NamedTuple):
    """Milliseconds of each inference: wall and process CPU."""

    wall: list[float]
    cpu: list[float]

    def as_json(self) -> dict[str, Any]:
        """Statistics and samples."""
        p50, p90, p99 = (float(np.percentile(self.wall, q)) for q in (50, 90, 99))
        return {
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "min_ms": min(self.wall),
            "cpu_ms": float(np.median(self.cpu)),
            "runs": len(self.wall),
            "samples_ms": [round(value, 6) for value in self.wall],
            "samples_cpu_ms": [round(value, 6) for value in self.cpu],
        }


WARM_UP_SECONDS = 0.1


class Glance(NamedTuple):
    """A look at the device: the highest frequency of the CPUs, in Hz or 0, and what throttles."""

    clock: int
    throttling: dict[str, Any] | None


class Timed(NamedTuple):
    """What was timed, with the facts that tell whether it can be believed.

    There is a glance behind the warm-up and one behind each round; `faults` is how often the process waited for the
    disk.
    """

    timings: Sequence[Timing | None]
    before: dict[str, Any]
    after: dict[str, Any]
    glances: Sequence[Glance]
    faults: int


def untimed(count: int) -> Timed:
    """So many artifacts that only ran."""
    state = device_state()
    return Timed([None] * count, state, state, [], 0)


def interleave(sessions: Sequence[Session], arguments: argparse.Namespace, report: Reporter) -> Timed:
    """Time all artifacts inference by inference in turn, so that whatever else the machine does hits all alike.

    The order turns about from round to round (A B, B A, ...), so that none always runs behind the same other one. Each
    timed inference follows untimed ones of the same artifact: else a small model pays, by up to a sixth of its time,
    for the caches that a large one before it took.
    """
    before = device_state()
    warm_up(sessions, arguments.warmup)
    timings = [Timing([], []) for _ in sessions]
    order = list(zip(sessions, timings))
    glances, faults = [glance()], disk_faults()
    total, deadline = arguments.repeats * arguments.runs, time.perf_counter() + arguments.max_seconds
    gc.collect()
    gc.disable()
    for done in range(1, total + 1):
        for session, timing in order if done % 2 else reversed(order):
            run_in(session)
            cpu, wall = time.process_time_ns(), time.perf_counter_ns()
            session.invoke()
            timing.wall.append((time.perf_counter_ns() - wall) / 1e6)
            timing.cpu.append((time.process_time_ns() - cpu) / 1e6)
        report("timing", done / total)
        over = time.perf_counter() > deadline and done >= 3
        if over or done % arguments.runs == 0:
            glances.append(glance())
        if over:
            break
    gc.enable()
    return Timed(timings, before, device_state(), glances, disk_faults() - faults)


def warm_up(sessions: Sequence[Session], inferences: int) -> None:
    """Run each so many times, and all of them long enough for a governor to raise the clock."""
    until = time.perf_counter() + WARM_UP_SECONDS
    while inferences > 0 or time.perf_counter() < until:
        inferences -= 1
        for session in sessions:
            session.invoke()


def run_between_marks(session: Session, runs: int) -> None:
    """Let scripts/count_instructions.c, outside this process, see where `runs` inferences begin and end."""
    mark()
    for _ in range(runs):
        session.invoke()
    mark()


def mark() -> None:
    """A system call that nobody makes for its own sake."""
    with contextlib.suppress(OSError):
        os.getpgid(MARK)


def run_in(session: Session) -> None:
    """Run at least once, and for half a millisecond."""
    until = time.perf_counter_ns() + 500_000
    session.invoke()
    while time.perf_counter_ns() < until:
        session.invoke()


def ratio(first: Timing | None, other: Timing | None) -> dict[str, float] | None:
    """First ÷ other: of the medians of CPU time, the steady figure, and of the wall minima, as a cross-check."""
    if first is None or other is None:
        return None
    return {
        "cpu": float(np.median(first.cpu) / max(float(np.median(other.cpu)), 1e-9)),
        "wall_min": min(first.wall) / max(min(other.wall), 1e-9),
    }


# ---------------------------------------------------------------------------------------------------- doubts

CLOCK_DRIFT = 0.1  # of the frequency
TREND_DRIFT = 0.15  # of the CPU time
TREND_PARTS = 6


def doubts(timed: Timed) -> list[str]:
    """Why these times are not the board's own: it throttled, its clock drifted, it waited for the disk.

    What the kernel says of throttling and frequencies comes first. Where it names no frequency, as in a virtual
    machine, CPU times that rise or fall steadily in all artifacts tell of a clock that drifted; other programs make
    them jump about. The ratio of interleaved artifacts stands all this.
    """
    clocks = [glance.clock for glance in timed.glances if glance.clock]
    reasons = throttling_doubts([timed.before["throttling"], *(glance.throttling for glance in timed.glances)])
    limits = [state["frequency"]["limit"] for state in (timed.before, timed.after) if state["frequency"]]
    if limits and limits[-1] < limits[0]:
        reasons.append("the system lowered the highest clock from %s to %s" % tuple(map(megahertz, limits)))
    if clocks and min(clocks) < (1 - CLOCK_DRIFT) * max(clocks):
        reasons.append("the clock went " + ", ".join(map(megahertz, clocks)))
    inferences = sum(len(timing.wall) for timing in timed.timings if timing)
    trends = [trend(timing.cpu) for timing in timed.timings if timing]
    if not clocks and trends and abs(sum(map(sign, trends))) == len(trends):
        drift = min(trends, key=abs)
        if abs(drift) > TREND_DRIFT:
            reasons.append("the CPU time of an inference went steadily by %+.0f %%: the clock drifted" % (100 * drift))
    if timed.faults > max(5, inferences / 100):  # a page or two are read when they are first used
        reasons.append("it waited %d times for the disk: the memory is too small" % timed.faults)
    return reasons


def throttling_doubts(seen: Sequence[dict[str, Any] | None]) -> list[str]:
    """What throttled from the first look to the last: what does at a later one, or did since the one before."""
    told = [look for look in seen if look]
    names: list[str] = []
    for before, after in zip(told, told[1:]):
        names += after["now"] + [name for name in after["since"] if name not in before["since"]]
    reasons = ["the board throttled: %s" % ", ".join(dict.fromkeys(names))] if names else []
    if told and told[-1]["events"] > told[0]["events"]:
        reasons.append("the CPU throttled for its heat, %d times" % (told[-1]["events"] - told[0]["events"]))
    return reasons


def trend(times: Sequence[float]) -> float:
    """How much a series rises, relatively, by the medians of parts of it; 0 unless each step goes the same way.

    The first part does not count: a busy machine's scheduler has yet to give the process its place.
    """
    if len(times) < 10 * TREND_PARTS:
        return 0.0
    medians = [float(np.median(part)) for part in np.array_split(np.array(times), TREND_PARTS)[1:]]
    steps = {sign(after - before) for before, after in zip(medians, medians[1:])}
    return medians[-1] / max(medians[0], 1e-9) - 1 if len(steps) == 1 else 0.0


def sign(value: float) -> int:
    """-1, 0 or 1."""
    return (value > 0) - (value < 0)


def megahertz(frequency: int) -> str:
    """A frequency for people."""
    return "%d MHz" % round(frequency / 1e6)


def disk_faults() -> int:
    """How many pages this process has had to wait for."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt if resource else 0


# ---------------------------------------------------------------------------------------------------- the device

# Arm's own cores by their part number in /proc/cpuinfo, as their reference manuals give it.
ARM_IMPLEMENTER = 0x41
ARM_CORES = {
    0xB76: "ARM1176", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8", 0xC09: "Cortex-A9", 0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57",
    0xD08: "Cortex-A72", 0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0D: "Cortex-A77",
    0xD0E: "Cortex-A76AE", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510",
    0xD47: "Cortex-A710", 0xD48: "Cortex-X2", 0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3", 0xD80: "Cortex-A520",
    0xD81: "Cortex-A720", 0xD82: "Cortex-X4", 0xD0C: "Neoverse-N1", 0xD40: "Neoverse-V1", 0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}  # fmt: skip


def evidence_kind(root: str = "/") -> str:
    """Either "measured", or "emulated" where another program interprets this program's machine code.

    qemu-user answers for /proc/self/exe itself, with the program that it runs; the same link under another name shows
    what the kernel runs: qemu.
    """
    links = (os.path.join(root, "proc", name, "exe") for name in ("self", "thread-self"))
    try:
        ours, kernels = map(os.readlink, links)
    except OSError:
        return "measured"
    return "measured" if ours == kernels else "emulated"


def describe_device(root: str = "/") -> dict[str, Any]:
    """What it is, for people and for the choice of what may be compared. `root` is where its /proc and /sys lie."""
    cpus = cpu_fields(root)
    first = cpus[0] if cpus else {}
    memory = [line.split() for line in read(root, "proc/meminfo").splitlines() if line.startswith("MemTotal")]
    flags = (first.get("flags") or first.get("Features") or "").split()
    cores = " + ".join(dict.fromkeys(filter(None, map(arm_core, cpus))))  # big.LITTLE has several kinds
    model = read(root, "proc/device-tree/model").strip("\0\n ") or command("getprop", "ro.product.model")
    if not model and evidence_kind(root) == "measured":  # else it would be the emulating machine's
        model = read(root, "sys/devices/virtual/dmi/id/product_name").strip()
    return {
        "model": model,
        "soc": read(root, "proc/device-tree/compatible").strip("\0").split("\0")[-1]
        or command("getprop", "ro.soc.model"),
        "cpu": cores or first.get("model name") or first.get("Hardware") or platform.processor(),
        "cpu_part": cores,
        "vendor": first.get("vendor_id", ""),
        "cores": os.cpu_count() or 1,
        "features": sorted(FEATURES & set(flags)),
        "memory_bytes": int(memory[0][1]) * 1024 if memory else 0,
        "os": os_name(root),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "clock": time.time(),
    }


def cpu_fields(root: str) -> list[dict[str, str]]:
    """The fields of each processor in /proc/cpuinfo."""
    cpus: list[dict[str, str]] = []
    for line in read(root, "proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" or not cpus:
            cpus.append({})
        if key:
            cpus[-1][key] = value
    return cpus


def arm_core(cpu: dict[str, str]) -> str:
    """The name of an ARM core, or its numbers, or nothing for what is no ARM core."""
    try:
        implementer, part = int(cpu["CPU implementer"], 16), int(cpu["CPU part"], 16)
    except (KeyError, ValueError):
        return ""
    name = ARM_CORES.get(part) if implementer == ARM_IMPLEMENTER else None
    return name or "implementer 0x%02x part 0x%03x" % (implementer, part)


def os_name(root: str) -> str:
    """The distribution's own name for itself."""
    for line in read(root, "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def facts() -> dict[str, Any]:
    """What the device is, the state that it is in, and the room in its temporary folder."""
    folder = temporary_folder()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": evidence_kind(),
        "device": describe_device(),
        "state": device_state(),
        "numpy": np and np.__version__,
        "temp": {"folder": folder, "free_bytes": shutil.disk_usage(folder).free},
    }


def temporary_folder() -> str:
    """$TMPDIR, else the first of the usual places that can be written; the folder that we were called in is last."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        cause = "no folder for temporary files can be written: %s" % one_line(error)
        raise BenchError("UsageError", cause, "this device", "Name one that can, in TMPDIR.") from error


CPU_FREQUENCY = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"


def device_state(root: str = "/") -> dict[str, Any]:
    """What makes a device slow: its governor, clock, heat and load. None where it doesn't say.

    `frequency` is in Hz: the lowest and the highest of the CPUs, and the highest that they may take now. `temperature`
    is the hottest zone's, in degrees Celsius.
    """
    governors = sorted({text.strip() for text in read_all(root, CPU_FREQUENCY + "/scaling_governor")})
    clocks = read_numbers(root, CPU_FREQUENCY + "/scaling_cur_freq")
    limits = read_numbers(root, CPU_FREQUENCY + "/scaling_max_freq")
    heat = [value / 1000 for value in read_numbers(root, "sys/class/thermal/thermal_zone[0-9]*/temp")]
    load = read(root, "proc/loadavg").split()
    return {
        "governor": " + ".join(governors) or None,
        "frequency": {"min": min(clocks) * 1000, "max": max(clocks) * 1000, "limit": max(limits or clocks) * 1000}
        if clocks
        else None,
        "temperature": max(heat) if heat else None,
        "throttling": throttling(root),
        "load": float(load[0]) if load else None,
    }


def glance(root: str = "/") -> Glance:
    """Look at the clocks of the CPUs that we may use, and at what throttles."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    files = [CPU_FREQUENCY.replace("[0-9]*", str(cpu)) + "/scaling_cur_freq" for cpu in usable]
    clocks = [clock * 1000 for file in files for clock in read_numbers(root, file)]
    return Glance(max(clocks, default=0), throttling(root))


# Bits that a Raspberry Pi's firmware sets: now, and sixteen places further up if at any time since.
PI_THROTTLING = (
    "the voltage is too low",
    "the clock is capped",
    "throttled",
    "the soft limit of temperature is reached",
)


def throttling(root: str = "/") -> dict[str, Any] | None:
    """What throttles `now`, what did at some time `since` the board forgot, and `events` counted; None if untold.

    A Raspberry Pi tells by its firmware, which keeps what happened until the board starts anew, or the kernel asks.
    Other boards have cooling devices that cap the clock; Intel's CPUs have counters.
    """
    told = read_all(root, "sys/devices/platform/soc*/soc*firmware/get_throttled")
    found = re.fullmatch(r"(?:throttled=0x)?([0-9a-f]+)", (told or [command("vcgencmd", "get_throttled")])[0].strip())
    bits = int(found.group(1), 16) if found else None
    caps = cooling(root)
    events = read_numbers(root, "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    if bits is None and caps is None and not events:
        return None
    now, since = (
        [name for bit, name in enumerate(PI_THROTTLING) if (bits or 0) >> first + bit & 1] for first in (0, 16)
    )
    return {"now": now + (caps or []), "since": since, "events": sum(events)}


def cooling(root: str) -> list[str] | None:
    """The cooling devices that cap the CPU's clock now; None if there is none that could."""
    found = None
    for kind in paths(root, "sys/class/thermal/cooling_device[0-9]*/type"):
        name = read(kind).strip()
        if name.startswith(("thermal-cpufreq", "cpufreq", "Processor")):
            found = found or []
            if any(read_numbers(os.path.dirname(kind), "cur_state")):
                found.append("%s caps the clock" % name)
    return found


def paths(root: str, pattern: str) -> list[str]:
    """The files of the system that a pattern names."""
    return sorted(glob.glob(os.path.join(glob.escape(root), pattern)))


def read_all(root: str, pattern: str) -> list[str]:
    """The contents of the files that a pattern names, but for the empty and the unreadable."""
    return [text for text in map(read, paths(root, pattern)) if text]


def read_numbers(root: str, pattern: str) -> list[int]:
    """The whole numbers in the files that a pattern names."""
    return [int(text) for text in read_all(root, pattern) if text.strip().lstrip("-").isdigit()]


def command(*argv: str) -> str:
    """What a program of the system prints, or nothing if it is not there."""
    try:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def read(*path: str) -> str:
    """A file of the system, or nothing."""
    try:
        with open(os.path.join(*path), errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def status_bytes(field: str) -> int | None:
    """A size in /proc/self/status, like VmHWM (peak resident) or VmRSS (resident now)."""
    for line in read("/proc/self/status").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None


def resident_bytes_after_reset() -> int | None:
    """Give freed memory back and let the kernel count the peak anew, so that each artifact has its own."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except (OSError, AttributeError):
        return status_bytes("VmHWM")
    return status_bytes("VmRSS")


# ---------------------------------------------------------------------------------------------------- keeping a folder

FOLDER_PREFIX = "edgekit-"
KEEPER = "keeper"  # a file in each folder, locked while the process lives that keeps the folder
RUN = "run-"  # and one for each process that works in it, locked likewise
SIGN_OF_LIFE_SECONDS = 60.0


def keep() -> None:
    """Hold this device and a fresh folder on it until stdin ends; then end what runs in the folder, and remove it.

    Says on stdout `{"waiting": ...}` if another keeper holds the device, and `edgekit-ready {"folder": ..., facts}`
    when the folder is there. Whichever way the caller goes (killed, the connection lost), stdin ends. The kernel drops
    the locks of a process that dies, so what a killed keeper left is known for certain, whatever the clock says, and
    the next one removes it.

    Raises:
        BenchError: the temporary folder can't be used.
    """
    if fcntl is None:
        raise BenchError("MissingToolError", "this system has no file locks", "this device", "Use Linux on it.")
    going_on, root = until_told(), temporary_folder()
    board, folder = None, None
    try:
        board = hold_board(os.path.join(root, "%s%d.lock" % (FOLDER_PREFIX, os.getuid())), going_on)
        if board:
            sweep(root)
            folder = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=root)
            lock(os.path.join(folder, KEEPER))
            print("edgekit-ready " + json.dumps({"folder": folder, **facts()}), flush=True)
            while going_on(None):
                pass
    finally:
        if folder:
            remove(folder)
        if board:
            board.remove()


def until_told() -> Callable[[float | None], bool]:
    """A wait of so many seconds (None: as long as it takes); it answers False once it is time to go.

    That is when stdin has ended, when a signal came, or when a caller that gives signs of life on stdin gives none for
    a minute: a network that vanishes ends no connection.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # instead of the process' death: the pipe tells
    heard: list[float] = []

    def going_on(seconds: float | None) -> bool:
        if heard:
            silence = heard[-1] + SIGN_OF_LIFE_SECONDS - time.monotonic()
            seconds = silence if seconds is None else min(seconds, silence)
        try:
            ready, _, _ = select.select([0, woken], [], [], seconds if seconds is None else max(seconds, 0))
            if 0 in ready and os.read(0, 1 << 16):
                heard[:] = [time.monotonic()]
            elif 0 in ready:
                return False
        except OSError:  # stdin was closed, or its terminal is gone
            return False
        return woken not in ready and (not heard or time.monotonic() < heard[-1] + SIGN_OF_LIFE_SECONDS)

    return going_on


class Board(NamedTuple):
    """The lock that one keeper at a time has."""

    path: str
    descriptor: int

    def remove(self) -> None:
        """Let the next one have it; nothing stays behind."""
        os.unlink(self.path)
        os.close(self.descriptor)


def hold_board(path: str, going_on: Callable[[float | None], bool]) -> Board | None:
    """Wait for the device; None if the caller went before it was free."""
    told = False
    while True:
        descriptor = lock(path)
        if descriptor is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                    return Board(path, descriptor)
            os.close(descriptor)  # the last keeper removed this very file just now
            continue
        if not told:
            print(json.dumps({"waiting": "another run holds this device"}), flush=True)
            told = True
        if not going_on(0.2):
            return None


def lock(path: str) -> int | None:
    """Lock a file, made if need be; its descriptor, or None if another process has it locked."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        cause = "%s can't be opened: %s" % (path, error.strerror)
        raise BenchError("UsageError", cause, "this device", "Name another folder in TMPDIR.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def sweep(root: str) -> None:
    """Remove the folders of our user's keepers that were killed; what has no keeper's file is no concern of ours."""
    for name in os.listdir(root):
        folder = os.path.join(root, name)
        keeper = os.path.join(folder, KEEPER)
        if not name.startswith(FOLDER_PREFIX) or not os.path.isfile(keeper):
            continue
        about = os.lstat(folder)
        if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
            descriptor = lock(keeper)
            if descriptor is not None:
                remove(folder)
                os.close(descriptor)


def remove(folder: str) -> None:
    """End the processes that work in a folder, and remove it."""
    for _ in range(50):  # a copy that is under way may add a file meanwhile
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name.startswith(RUN):
                end(os.path.join(folder, name))
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            break
        time.sleep(0.1)


def end(record: str) -> None:
    """End the process whose record this is. While it is locked, the number in it can be no other process'."""
    number = read(record)
    for _ in range(250 if number.isdigit() else 0):
        descriptor = lock(record)
        if descriptor is not None:
            os.close(descriptor)
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)
        time.sleep(0.02)


@contextlib.contextmanager
def within(folder: str | None) -> Iterator[None]:
    """Work in a keeper's folder, if one is named: leave temporary files there, and end when its keeper does."""
    if folder is None:
        yield
        return
    try:
        keeper = os.open(os.path.join(folder, KEEPER), os.O_RDONLY)
    except OSError as error:
        cause = "%s is no folder that a keeper made: %s" % (folder, error.strerror)
        raise BenchError("UsageError", cause, "your command", "Start one with --keep.") from error
    record = os.path.join(folder, "%s%d" % (RUN, os.getpid()))
    descriptor = lock(record)
    assert descriptor is not None
    os.write(descriptor, b"%d" % os.getpid())
    # The kernel wakes this thread when the keeper is gone; until then it costs no time.
    threading.Thread(target=end_with, args=(keeper,), daemon=True).start()
    tempfile.tempdir = folder
    try:
        yield
    finally:
        os.unlink(record)
        os.close(descriptor)


def inventory(folder: str) -> dict[str, Any]:
    """The files of a keeper's folder by their digests, and the room for more."""
    digests = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if place != folder or not (name == KEEPER or name.startswith(RUN)):
                digests[os.path.relpath(path, folder)] = file_digest(path)
    return {"schema_version": SCHEMA_VERSION, "digests": digests, "free_bytes": shutil.disk_usage(folder).free}


def end_with(keeper: int) -> None:
    """Wait for the lock that a keeper has, then end this process."""
    fcntl.flock(keeper, fcntl.LOCK_SH)
    os.write(2, b"error: the keeper of this folder is gone, and nobody waits for the answer\n")
    os._exit(EXIT_CODES["DefectError"])


# ---------------------------------------------------------------------------------------------------- text

Reporter = Callable[[str, float], None]


def reporter(arguments: argparse.Namespace) -> Reporter:
    """Says on stderr how far the work is, if asked to: in whole percents, since a line costs time too."""
    last = [""]

    def say(text: str, fraction: float) -> None:
        line = "progress %.2f %s" % (fraction, text)
        if arguments.progress and line != last[0]:
            last[0] = line
            print(line, file=sys.stderr, flush=True)

    return say


def one_line(error: BaseException) -> str:
    """An error's message without its line breaks."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def as_text(result: dict[str, Any]) -> str:
    """The result for people."""
    device, runtime = result["device"], result["runtime"]
    state = result["state"]["after"]
    lines = [
        "%s, %s, %d cores (%s)"
        % (device["model"] or device["machine"], device["cpu"], device["cores"], result["kind"]),
        "%(name)s %(version)s, %(threads)d thread(s)" % runtime,
    ]
    if state["frequency"]:
        lines.append("clock %s, governor %s" % (megahertz(state["frequency"]["max"]), state["governor"]))
    lines += ["INVALID: " + reason for reason in result["invalid"]]
    for artifact in result["artifacts"]:
        options = "&".join("%s=%s" % pair for pair in artifact["options"].items())
        lines.append("%s%s%s  %d bytes" % (artifact["path"], "?" * bool(options), options, artifact["bytes"]))
        if artifact["timing"]:
            lines.append(
                "  p50 %(p50_ms).3f  p90 %(p90_ms).3f  p99 %(p99_ms).3f  min %(min_ms).3f  CPU %(cpu_ms).3f ms"
                "  (%(runs)d runs)" % artifact["timing"]
            )
        if artifact["load_ms"] is not None:
            lines.append("  load %(load_ms).1f  first %(first_ms).3f ms" % artifact)
        if artifact["ratio"]:
            lines.append(
                "  the first takes %.3f× its CPU time (wall minimum %.3f×)" % tuple(artifact["ratio"].values())
            )
        storage = artifact["account"]["storage"].items()
        lines.append("  stores " + (", ".join("%s %d B" % pair for pair in sorted(storage)) or "?"))
        lines.append(
            "  runs " + ", ".join("%(count)d %(op)s %(precision)s" % op for op in artifact["account"]["compute"])
        )
        for name, nodes in artifact["delegate"]["applied"].items():
            lines.append("  %s runs %d of %d" % (name, nodes, artifact["delegate"]["nodes"]))
    if result["profile"]:
        lines += [
            "  %8.1f us  %s  %s" % (op["us"], op["op"], ", ".join(op["names"])) for op in result["profile"]["ops"]
        ]
        lines += [result["profile"]["note"]] if result["profile"]["note"] else []
    if result["outputs"]:
        lines.append("%(n)d answers, digest %(digest)s" % result["outputs"])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
