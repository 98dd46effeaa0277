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

__all__ = ["Event", "current_listener", "emit", "listening", "progress", "stage", "warn"]


@dataclass(frozen=True)
class Event:
    """Something worth showing.

    Attributes:
        kind: "stage" (a stage begins), "progress" (within the stage), "done" or "failed" (the stage ended), or
            "warning".
        text: the stage's name in the user's words, or the warning.
        fraction: for "progress", 0..1.
        cached: for "done", whether the result came from the store.
        source: which of several boards says it, where they work side by side; stages of different sources overlap.
    """

    kind: Literal["stage", "progress", "done", "failed", "warning"]
    text: str
    fraction: float = 0.0
    cached: bool = False
    source: str = ""


Listener = Callable[[Event], None]
_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("edgekit_listener", default=None)


def emit(event: Event) -> None:
    """Tell the current listener, if any."""
    listener = current_listener()
    if listener is not None:
        listener(event)


def current_listener() -> Listener | None:
    """Who hears what is said in this context."""
    return _listener.get()


def progress(text: str, fraction: float) -> None:
    """The current stage is `fraction` (0..1) done with `text`."""
    emit(Event("progress", text, fraction))


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """This block is a stage."""
    emit(Event("stage", text))
    yield
    emit(Event("done", text))


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
