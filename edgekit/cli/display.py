"""What the terminal shows while work goes on, and when it fails: always on stderr, so that stdout is the result."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from edgekit.core.errors import EdgekitError
from edgekit.core.events import Event, listening

__all__ = ["print_error", "print_json", "progress_display", "show_error"]


@contextlib.contextmanager
def progress_display() -> Iterator[None]:
    """Show stages, progress and warnings of this block on stderr: a live bar on a terminal, plain lines elsewhere."""
    from rich.console import Console

    # A pipe has no width: a line of a log stays one line.
    console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
    shown: _Live | _Lines = _Live(console) if console.is_terminal else _Lines(console)
    with shown, listening(shown.hear):
        yield


def print_json(document: Any) -> None:
    """The one JSON document of a verb, on stdout."""
    from edgekit.core.plain import to_json

    sys.stdout.write(json.dumps(to_json(document), indent=2, allow_nan=False) + "\n")


def print_error(error: EdgekitError) -> None:
    """The one JSON document of a verb that failed, on stdout."""
    print_json({"schema_version": 1, "error": error.to_dict(), "exit_code": error.exit_code})


def show_error(error: EdgekitError, source: str = "") -> None:
    """What happened, whose doing it is, what to do next; `source` is which of several boards it happened to."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error[/]: {escape(f'{source}: ' if source else '')}{escape(error.cause)}")
    console.print(f"  [dim]whose:[/] {escape(error.blame)}")
    console.print(f"  [dim]next:[/]  {escape(error.remedy)}")


class _Lines:
    """Plain lines, for logs: one when a stage ends, one a warning."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._began: dict[str, float] = {}

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def hear(self, event: Event) -> None:
        if event.kind == "stage":
            self._began[event.source] = time.monotonic()
        elif event.kind in {"done", "failed"}:
            now = time.monotonic()
            self._console.print(_ended(event, now - self._began.pop(event.source, now)))
        elif event.kind == "warning":
            self._console.print(_warning(event))


class _Live(_Lines):
    """A live line with a spinner, a bar where the stage knows how far it is, and the time it takes."""

    def __init__(self, console: Any) -> None:
        super().__init__(console)
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def hear(self, event: Event) -> None:
        super().hear(event)
        task = self._tasks.get(event.source)
        if event.kind == "progress" and task is not None:
            description = _told(event) if event.source else None
            self._progress.update(task, total=1.0, completed=event.fraction, description=description)
            return
        if task is not None and event.kind in {"stage", "done", "failed"}:
            self._progress.remove_task(self._tasks.pop(event.source))
        if event.kind == "stage":
            self._tasks[event.source] = self._progress.add_task(event.text, total=None)


def _ended(event: Event, seconds: float) -> str:
    from rich.markup import escape

    if event.kind == "failed":
        return f"[red]✗[/] {escape(event.text)} [dim]{seconds:.1f} s[/]"
    took = "from the store" if event.cached else f"{seconds:.1f} s"
    return f"[green]✓[/] {escape(event.text)} [dim]{took}[/]"


def _warning(event: Event) -> str:
    from rich.markup import escape

    return f"[yellow]note[/]: {escape(_told(event))}"


def _told(event: Event) -> str:
    return f"{event.source}: {event.text}" if event.source else event.text
