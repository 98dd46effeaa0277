"""Progress and warnings, from wherever work is done to whoever shows them.

Work reports to the listener of the current context; the command line shows a progress bar, a child process sends each
event to its parent as a line of JSON, a library user sees nothing unless they listen.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Event", "emit", "listening", "progress", "warn"]


@dataclass(frozen=True)
class Event:
    """Something worth showing.

    Attributes:
        kind: "stage" (a stage begins), "progress" (within the stage), "done" (the stage ended), or "warning".
        text: the stage's name in the user's words, or the warning.
        fraction: for "progress", 0..1.
        cached: for "done", whether the result came from the store.
    """

    kind: Literal["stage", "progress", "done", "warning"]
    text: str
    fraction: float = 0.0
    cached: bool = False


Listener = Callable[[Event], None]
_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("edgekit_listener", default=None)


def emit(event: Event) -> None:
    """Tell the current listener, if any."""
    listener = _listener.get()
    if listener is not None:
        listener(event)


def progress(text: str, fraction: float) -> None:
    """The current stage is `fraction` (0..1) done with `text`."""
    emit(Event("progress", text, fraction))


def warn(text: str) -> None:
    """Something the user should know, that does not stop the work."""
    emit(Event("warning", text))


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the events of this block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
