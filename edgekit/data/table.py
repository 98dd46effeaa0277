"""Data in a CSV: one sample a line, with or without a header, with or without a label column."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data.arrays import from_arrays
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data

__all__ = ["open_table"]

_LABEL_NAMES = frozenset({"label", "class", "target", "y"})
_DELIMITERS = ",;\t"


def open_table(path: str, request: Request) -> Source:
    """The samples of a CSV, one a line, cells separated by commas, semicolons or tabs.

    The label column is the one called label, class, target or y (its cells may be words, then classes in alphabetical
    order); without such a name it is the first column where the rest is as wide as the model's input. A table exactly
    as wide as the input is unlabelled.

    Raises:
        InvalidInputError: empty, ragged, a cell that is no number (with its line), or of another width.
    """
    if len(request.inputs) != 1:
        raise bad_data(
            f"{path}: a table feeds one input, the model has {len(request.inputs)}",
            "Give an .npz with one key an input name.",
        )
    header, rows, first_line = _read(path)
    width = math.prod(request.inputs[0].with_batch(1)[1:])
    label = _label_column(header, len(rows[0]), width, path)
    arrays: dict[str, NDArray[Any]] = {}
    names: tuple[str, ...] = ()
    if label is not None and request.labelled:
        arrays["y"], names = _labels([row[label] for row in rows], path, first_line)
    if label is not None:
        rows = [row[:label] + row[label + 1 :] for row in rows]
    arrays["x"] = _numbers(rows, path, first_line)
    return from_arrays(arrays, request, name=path, class_names=names, name_of=lambda row: f"line {row + first_line}")


def _read(path: str) -> tuple[list[str] | None, list[list[str]], int]:
    """Header or None, the rows, and the line number of the first row."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            delimiter = max(_DELIMITERS, key=first.count)
            stream.seek(0)
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream, delimiter=delimiter)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise bad_data(f"{path} can't be read as a CSV: {error}", "Save it as CSV in UTF-8.") from error
    while rows and not any(rows[-1]):
        rows.pop()
    header = rows[0] if rows and _is_header(rows[0]) else None
    first_line = 2 if header else 1
    if header:
        rows = rows[1:]
    if not rows:
        raise bad_data(f"{path} has no rows", "Give one sample a line.")
    width = len(header or rows[0])
    for line, row in enumerate(rows, first_line):
        if len(row) != width:
            raise bad_data(
                f"{path}, line {line}: {len(row)} cells where the first line has {width}", "Repair that line."
            )
    return header, rows, first_line


def _is_header(row: list[str]) -> bool:
    return any(cell.lower() in _LABEL_NAMES for cell in row) or not any(_is_number(cell) for cell in row)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_column(header: list[str] | None, columns: int, width: int, path: str) -> int | None:
    named = next((i for i, cell in enumerate(header or []) if cell.lower() in _LABEL_NAMES), None)
    features = columns - (named is not None)
    if features == width:
        return named
    if named is None and columns == width + 1:
        return 0
    raise bad_data(
        f"{path} has {features} columns{'' if named is None else ' beside the label'}, the model's input takes {width}",
        f"Give {width} columns, or {width + 1} with the label first.",
    )


def _labels(cells: list[str], path: str, first_line: int) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Numbers as they are; words as the index of their class, with the class names."""
    if any(_is_number(cell) for cell in cells):
        return _numbers([[cell] for cell in cells], path, first_line)[:, 0], ()
    names = tuple(sorted(set(cells)))
    return np.array([names.index(cell) for cell in cells]), names


def _numbers(rows: list[list[str]], path: str, first_line: int) -> NDArray[np.float64]:
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError as error:
        line, cell = next(
            (line, cell) for line, row in enumerate(rows, first_line) for cell in row if not _is_number(cell)
        )
        raise bad_data(
            f"{path}, line {line}: {cell!r} is not a number" if cell else f"{path}, line {line}: an empty cell",
            "Repair that cell, or name the label column 'label' in a header.",
        ) from error
