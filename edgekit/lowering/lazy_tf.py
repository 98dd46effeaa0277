"""TensorFlow, imported at the first use of a name: the op files can then be read, and asked, without it.

It comes without Keras, unless something asks for that: a quarter of what importing it takes.
"""

from __future__ import annotations

import sys
from typing import Any

# What TensorFlow imports of Keras, and does without: it registers optimizers in SavedModels.
_OF_KERAS = "keras.src.optimizers"


def __getattr__(name: str) -> Any:
    return getattr(_tensorflow(), name)


def _tensorflow() -> Any:
    if "tensorflow" in sys.modules or _OF_KERAS in sys.modules:
        import tensorflow as tf

        return tf
    sys.modules[_OF_KERAS] = None  # type: ignore[assignment]  # importing it fails then
    try:
        import tensorflow as tf
    finally:
        del sys.modules[_OF_KERAS]
    return tf
