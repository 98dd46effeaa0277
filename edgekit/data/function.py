"""Data from the user's own code: `module:function`, imported from the current folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import EdgekitError, InvalidInputError
from edgekit.data.arrays import from_arrays
from edgekit.data.sequences import from_sequences
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data

__all__ = ["load_function", "open_function"]


def open_function(spec: str, request: Request) -> Source:
    """The samples that a function returns: `(x, y)`, `x`, or dicts by input and output name in either place.

    Raises:
        InvalidInputError: it can't be imported, it fails, or it returns something else.
    """
    function = load_function(spec)
    try:
        answer = function()
    except EdgekitError:
        raise
    except Exception as error:
        raise bad_data(f"{spec} failed: {type(error).__name__}: {error}", f"Try it alone: {_try_line(spec)}") from error
    return (from_sequences if request.states else from_arrays)(_named(answer, spec), request, name=spec)


def load_function(spec: str, *, blame: str = "your data") -> Any:
    """The function that `module:function` names; the current folder is searched first.

    Args:
        spec: `module:function`.
        blame: what it is to the user.

    Raises:
        InvalidInputError: the module can't be imported or has no such function.
    """
    module, _, name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise InvalidInputError(
            f"{spec} can't be imported: {type(error).__name__}: {error}",
            blame=blame,
            remedy=f'Try it alone: python -c "from {module} import {name}"',
        ) from error
    if not callable(function):
        raise InvalidInputError(
            f"{spec} is no function but a {type(function).__name__}", blame=blame, remedy="Name a function."
        )
    return function


def _named(answer: Any, spec: str) -> dict[str, NDArray[Any]]:
    """The answer as arrays under the names that an .npz would have."""
    x, y = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
    arrays = dict(x) if isinstance(x, Mapping) else {"x": x}
    if isinstance(y, Mapping):
        arrays |= {f"y_{name}": values for name, values in y.items()}
    elif y is not None:
        arrays["y"] = y
    try:
        return {str(name): np.asarray(values) for name, values in arrays.items()}
    except ValueError as error:
        raise bad_data(f"{spec} returned rows of different lengths", "Return arrays: (x, y), x, or dicts.") from error


def _try_line(spec: str) -> str:
    module, _, name = spec.partition(":")
    return f'python -c "from {module} import {name}; print({name}())"'
