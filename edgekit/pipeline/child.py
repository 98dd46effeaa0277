"""A native stage in a fresh child process: memory and time limits, answers in files, errors that keep their meaning.

The parent calls `call("package.module:function", {...})`; the child imports the module, calls the function with the
arguments, and writes its JSON result (or the EdgekitError it raised) to a file. A child that dies without an answer
becomes an error about what it was doing.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import errno
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.errors import DefectError, EdgekitError, InvalidInputError, from_dict, from_system
from edgekit.core.lazily import import_lazily
from edgekit.core.plain import to_json
from edgekit.core.process import Limits, explain_death, repeatable_environment, run_limited
from edgekit.core.scratch import scratch

__all__ = ["call", "in_process"]

_MACHINE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
_ROOM = 8 << 20
# onnx_ir reckons with symbolic dimensions by SymPy, a third of what a small child's imports take.
_HARDLY_USED = ("sympy", "onnx_ir._symbolic_shapes")
_EVENT_PREFIX = "\x1eedgekit "
_in_process: contextvars.ContextVar[bool] = contextvars.ContextVar("edgekit_in_process", default=False)


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    what: str,
    blame: str,
    limits: Limits | None = None,
    threads: int = 1,
) -> Any:
    """Call `function` ("module:name") with JSON-able keyword `arguments` in a child process and return its JSON result.

    Args:
        what: the work as a phrase for messages: "importing model.h5".
        blame: whose input it works on, when it dies.
        threads: how many threads native libraries may use.

    Raises:
        EdgekitError: what the function raised, or the story of how the child died.
    """
    if _in_process.get():
        return to_json(_run(function, to_json(arguments)))
    limits = limits or Limits()
    with scratch() as folder:
        job, answer, temporary = folder / "job.json", folder / "answer.json", folder / "tmp"
        temporary.mkdir()
        request = {"function": function, "arguments": to_json(arguments), "what": what, "blame": blame}
        request["temporary"] = tempfile.gettempdir()
        job.write_text(json.dumps(request))
        finished = run_limited(
            # -P: a file in the user's folder never stands in for a module of ours.
            [sys.executable, "-P", "-m", "edgekit.pipeline.child", str(job), str(answer)],
            limits=limits,
            # What it leaves behind when it is killed goes with the folder.
            env={**repeatable_environment(threads), "TMPDIR": str(temporary)},
            on_line=_relay,
        )
        if finished.returncode == os.EX_IOERR:
            raise from_system(OSError(errno.ENOSPC, f"{what}: no room for its answer", tempfile.gettempdir()))
        if not answer.exists():
            raise explain_death(finished, what=what, limits=limits, blame=blame)
        result = json.loads(answer.read_text())
    if "error" in result:
        raise from_dict(result["error"])
    return result["value"]


@contextlib.contextmanager
def in_process() -> Iterator[None]:
    """Calls in this block run right here: for a function that is in a child already, with its limits."""
    token = _in_process.set(True)
    try:
        yield
    finally:
        _in_process.reset(token)


def _run(function: str, arguments: Mapping[str, Any]) -> Any:
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)(**arguments)


def _relay(line: str) -> None:
    """Pass an event of the child on to our listener; anything else it prints is chatter."""
    if line.startswith(_EVENT_PREFIX):
        with contextlib.suppress(ValueError, TypeError):
            events.emit(events.Event(**json.loads(line.removeprefix(_EVENT_PREFIX))))


def _send(event: events.Event) -> None:
    sys.__stdout__.write(_EVENT_PREFIX + json.dumps(to_json(event)) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def _main(job: Path, answer: Path) -> None:
    request = json.loads(job.read_text())
    partial = answer.with_suffix(".partial")
    text = _answer(request)
    try:
        partial.write_text(text)
    except OSError:
        sys.exit(os.EX_IOERR)
    partial.rename(answer)


def _leave() -> None:
    """End as Python does, but don't take the libraries apart first, with which TensorFlow is busy for a second."""
    atexit._run_exitfuncs()  # noqa: SLF001 - nothing public runs them
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(os.EX_OK)


def _answer(request: Mapping[str, Any]) -> str:
    try:
        with events.listening(_send):
            value = _run(request["function"], request["arguments"])
        return json.dumps({"value": to_json(value)})
    except EdgekitError as error:
        failure = error
    except MemoryError:
        failure = InvalidInputError(
            f"{request['what']} ran out of memory", blame=request["blame"], remedy="Free memory, or give it less to do."
        )
    except OSError as error:
        # Only what no input can cause; a file that is missing is somebody's mistake.
        failure = from_system(error) if error.errno in _MACHINE else _unforeseen(error, request)
    except SystemExit as error:
        failure = InvalidInputError(
            f"{request['what']} ended early: code that it ran called exit({error.code!r})",
            blame=request["blame"],
            remedy="Let that code raise an exception that says what is wrong.",
        )
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it was, the parent must hear of it
        failure = _unforeseen(error, request)
    return json.dumps({"error": failure.to_dict()})


def _unforeseen(error: Exception, request: Mapping[str, Any]) -> EdgekitError:
    """A defect of ours, unless the disk is full, of which native code says anything but that."""
    traceback.print_exc()
    arguments = request["arguments"]
    for place in (request["temporary"], arguments.get("out"), arguments.get("request", {}).get("workdir")):
        if place and (refusal := _refusal(place)):
            return from_system(refusal)
    return DefectError(
        f"{type(error).__name__}: {str(error).strip()[:500] or 'no message'} (in {request['function']})",
        blame="edgekit",
        remedy="Run again with --debug and report the log.",
    )


def _refusal(folder: str) -> OSError | None:
    """Why the machine lets nothing of ordinary size be written to `folder`, or None where it does."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_ROOM))
    except OSError as error:
        return OSError(error.errno, error.strerror, folder) if error.errno in _MACHINE else None
    return None


if __name__ == "__main__":
    import_lazily(*_HARDLY_USED)
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
    _leave()
