"""Ending the work of other threads: an interrupt reaches only the main one, so whoever waits elsewhere looks here."""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator

__all__ = ["check_stopped", "stoppable"]

_stopped: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("edgekit_stopped", default=None)


@contextlib.contextmanager
def stoppable(stopped: threading.Event) -> Iterator[None]:
    """Let `stopped` end this block, at its next `check_stopped`."""
    token = _stopped.set(stopped)
    try:
        yield
    finally:
        _stopped.reset(token)


def check_stopped() -> None:
    """Whoever waits calls this now and then.

    Raises:
        KeyboardInterrupt: the work of this context was stopped, so it cleans up as it would after Ctrl-C.
    """
    stopped = _stopped.get()
    if stopped is not None and stopped.is_set():
        raise KeyboardInterrupt
