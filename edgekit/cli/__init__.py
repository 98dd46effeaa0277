"""The command line: one file a verb. Each calls the library and prints; nothing heavy is imported before it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from edgekit.cli import bench, build, compare, devices, doctor, explain, init, inspect, targets, validate
from edgekit.core.errors import DefectError, EdgekitError, UsageError, from_system

__all__ = ["app", "main"]

# \b keeps the lines of a paragraph as they are.
_EPILOG = """
Start here:  edgekit build digits-cnn --target raspberry-pi-5 --target intel-cpu

\b
Exit codes:
  0 done                  5 speed, size, memory gate   10 tool or extra missing
  1 defect of edgekit     6 device out of reach        11 ran otherwise than promised
  2 usage                 7 not reproducible           12 unproven (--strict, --require)
  3 op unsupported        8 integrity, signature       130 interrupted
  4 accuracy gate         9 invalid input
"""

_INTERRUPTED = 130
# click's UsageError, wherever this typer keeps it.
_MisuseError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="edgekit",
    help="Take a trained model to a proven artifact on an edge device.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: rich's costs more CPU than everything else that --help does.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for verb in (build, init, inspect, explain, validate, bench, compare, targets, devices, doctor):
    verb.register(app)


@app.callback(invoke_without_command=True)
def _root(*, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from edgekit import __version__

        typer.echo(f"edgekit {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; every failure ends in one clear message and the contract's exit code."""
    debug, as_json = "--debug" in sys.argv, "--json" in sys.argv
    if debug:
        os.environ["EDGEKIT_DEBUG"] = "1"
    try:
        with _stopped_like_interrupted():
            # Not standalone: typer's own way to end knows no --json.
            code = app(prog_name="edgekit", standalone_mode=False)
    except _MisuseError as error:
        code = _show_misuse(error, as_json=as_json)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is still in the buffer must not be missed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it was, it gets a message and an exit code
        if debug:
            traceback.print_exc()
        code = _show_failure(error, as_json=as_json)
    if code == _INTERRUPTED:
        sys.stderr.write("interrupted; run the same command again to go on where it stopped\n")
    if code:
        sys.exit(code)


@contextlib.contextmanager
def _stopped_like_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: children are stopped, and what was half-made is removed."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        # Only the main thread may; in another one the host program decides.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show_misuse(error: Any, *, as_json: bool) -> int:
    """A wrong flag or argument: the usage line, as typer words it."""
    error.show()
    if as_json:
        from edgekit.cli.display import print_error

        verb = error.ctx.command_path if error.ctx else "edgekit"
        print_error(
            UsageError(error.format_message(), blame="the command line", remedy=f"See the flags with: {verb} --help")
        )
    return UsageError.exit_code


def _show_failure(error: Exception, *, as_json: bool) -> int:
    from edgekit.cli.display import print_error, show_error

    known = from_system(error) if isinstance(error, OSError) else error
    failure = known if isinstance(known, EdgekitError) else _defect(error)
    if as_json:
        print_error(failure)
    show_error(failure)
    return failure.exit_code


def _defect(error: Exception) -> EdgekitError:
    return DefectError(
        f"{type(error).__name__}: {error}",
        blame="edgekit",
        remedy="Run again with --debug and report what it prints.",
    )
