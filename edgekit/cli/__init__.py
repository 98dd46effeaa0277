"""The command line: one file a verb. Each calls the library and prints; nothing heavy is imported before it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from edgekit.cli import bench, build, compare, doctor, init, inspect, targets, validate
from edgekit.core.errors import EdgekitError

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
for verb in (build, init, inspect, validate, bench, compare, targets, doctor):
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
        app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on where it stopped\n")
        sys.exit(130)
    except EdgekitError as error:
        failure = error
        if debug:
            raise
    except OSError as error:
        failure = _system_failure(error)
        if debug:
            raise
    except Exception as error:
        failure = _defect(error)
        if debug:
            raise
    else:
        return
    from edgekit.cli.display import show_error

    show_error(failure, as_json=as_json)
    sys.exit(failure.exit_code)


def _system_failure(error: OSError) -> EdgekitError:
    from edgekit.core.errors import UsageError

    place = f" ({error.filename})" if error.filename else ""
    return UsageError(
        f"the system said: {error.strerror or error}{place}",
        blame="this machine",
        remedy="Check free space and permissions there, then run the same command again: it goes on where it stopped.",
    )


def _defect(error: Exception) -> EdgekitError:
    from edgekit.core.errors import DefectError

    return DefectError(
        f"{type(error).__name__}: {error}",
        blame="edgekit",
        remedy="Run again with --debug and report what it prints.",
    )
