"""TensorFlow, imported at the first use of a name: the op files can then be read, and asked, without it."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import tensorflow as tf

    return getattr(tf, name)
