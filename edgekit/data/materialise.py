"""From the user's data to ready tensors: disjoint splits, preprocessed once, in files that every stage reads.

`materialise` and `synthesise` are the entries of a child process: they take and give JSON, and answer in files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import events
from edgekit.core.digest import digest_file, digest_json
from edgekit.core.errors import UsageError
from edgekit.core.plain import from_json
from edgekit.core.types import Preprocess, TensorSpec
from edgekit.data.opening import open_source
from edgekit.data.preprocess import check, image_shape, normalize
from edgekit.data.source import Request, Source
from edgekit.data.spec import bad_data
from edgekit.data.split import CALIBRATION, REPORT, SELECTION, TRAINING, sizes, split
from edgekit.data.training import sample_bytes, write_training

__all__ = ["materialise", "synthesise"]

_MAX_BYTES = 2 << 30  # of memory
_MAX_STORED = 8 << 30  # of the disk, for samples to train on
_FEW = 100
_SYNTHETIC_STEPS = 8


def materialise(
    *,
    out: str,
    inputs: Sequence[dict[str, Any]],
    outputs: Sequence[dict[str, Any]],
    data: str | None = None,
    eval_data: str | None = None,
    train_data: str | None = None,
    preprocess: dict[str, Any] | None = None,
    labelled: bool = True,
    batch: int = 1,
    seed: int = 0,
    states: Sequence[str] = (),
    training: bool = False,
) -> dict[str, Any]:
    """Split and preprocess data into `<out>/<split>.npz` and, where labelled, `<out>/<split>.labels.npz`.

    The report split comes from `eval_data`, or else from `data`; calibration from `train_data`, or else from `data`;
    selection from `data`, or else from `train_data`. What comes from one source is disjoint. `eval_data` alone gives
    the report and nothing else. With `training`, what the others leave of the source of the calibration samples goes to
    `<out>/training`, which `edgekit.passes.recover.samples.Samples.open` reads.

    Args:
        out: an existing folder.
        inputs: the model's inputs, as JSON of TensorSpec; each split's arrays carry their names, shapes, layouts.
        outputs: the model's outputs; targets carry their names, int64 labels (n,) or float32 values (n, …).
        data, eval_data, train_data: what the user named.
        preprocess: as JSON of Preprocess.
        labelled: False to ignore labels and class folders.
        batch: each split is cut to a multiple of it.
        seed: of the splits.
        states: the inputs that are recurrent state. Samples are then sequences: (n, steps, …) of every input but the
            states, which are (n, …); targets are (n × steps, …), or (n, …) for whole sequences.
        training: whether samples are wanted to train on; sequences come as any other split.

    Returns:
        `{"splits": {name: {"n", "digest", "source", "samples"}}, "class_names", "labelled", "notes"}`: `n` counts
        samples (sequences then have "steps", too), `digest` is
        over the split's files, `samples` over the ids of its samples, which `<out>/splits.json` lists. `labelled`
        tells whether the report split has targets.

    Raises:
        InvalidInputError: the data can't be read or does not fit the model.
        UsageError: flags that leave a split without a source.
    """
    steps = from_json(Preprocess, preprocess or {})
    check(steps)
    request = Request(_specs(inputs), _specs(outputs), steps, labelled, tuple(states))
    plan = _plan(data, eval_data, train_data, training=training)
    sources = {spec: open_source(spec, request) for spec in plan}
    notes = [note for source in sources.values() for note in source.notes]
    chosen = {
        name: (sources[spec], indices)
        for spec, wanted in plan.items()
        for name, indices in _choose(sources[spec], wanted, request, batch=batch, seed=seed, notes=notes).items()
    }
    total, done, splits = sum(len(indices) for _, indices in chosen.values()), 0, {}
    for name, (source, indices) in chosen.items():
        splits[name] = _write(Path(out), name, source, indices, request, done=done, total=total)
        done += len(indices)
    listing = {name: [source.ids[i] for i in indices] for name, (source, indices) in chosen.items()}
    Path(out, "splits.json").write_text(json.dumps(listing, indent=1))
    report = chosen[REPORT][0]
    return {
        "splits": splits,
        "class_names": list(report.class_names),
        "labelled": bool(report.targets),
        "notes": notes,
    }


def synthesise(
    *,
    out: str,
    inputs: Sequence[dict[str, Any]],
    preprocess: dict[str, Any] | None = None,
    count: int = 64,
    seed: int = 0,
    states: Sequence[str] = (),
) -> dict[str, Any]:
    """Write `<out>/calibration.npz` with random samples, for a build without data.

    An image input gets random pixels under its preprocessing, any other input standard normal numbers. With `states`,
    the samples are sequences of 8 steps that start from zeros. Returns what `materialise` returns.
    """
    steps = from_json(Preprocess, preprocess or {})
    check(steps)
    rng = np.random.default_rng(seed)
    arrays = {spec.name: _random(spec, steps, count, rng) for spec in _specs(inputs) if spec.name not in states}
    if states:
        count //= _SYNTHETIC_STEPS
        arrays = {name: values.reshape(count, -1, *values.shape[1:]) for name, values in arrays.items()}
        arrays |= {s.name: np.zeros((count, *s.sample_shape), s.dtype) for s in _specs(inputs) if s.name in states}
    path = Path(out, f"{CALIBRATION}.npz")
    np.savez(path, **arrays)  # type: ignore[arg-type]
    entry = {"n": count, "digest": digest_file(path), "source": "synthetic", "samples": digest_json([seed, count])}
    note = "calibrated on synthetic data: the accuracy is unknown"
    return {"splits": {CALIBRATION: entry}, "class_names": [], "labelled": False, "notes": [note]}


def _specs(values: Sequence[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(from_json(TensorSpec, value) for value in values)


def _plan(
    data: str | None, eval_data: str | None, train_data: str | None, *, training: bool
) -> dict[str, tuple[str, ...]]:
    """Which splits each source gives, in the order in which they are drawn."""
    if eval_data and not (data or train_data):
        # Nothing is built from it: all of it may judge.
        return {eval_data: (REPORT,)}
    origin = {CALIBRATION: train_data or data, SELECTION: data or train_data, REPORT: eval_data or data}
    if training:
        origin[TRAINING] = origin[CALIBRATION]
    plan: dict[str, tuple[str, ...]] = {}
    for name, spec in origin.items():
        if spec is None:
            given = "--train-data" if train_data else "nothing"
            raise UsageError(
                f"{given} alone gives no samples for {name}",
                blame="your command",
                remedy="Add --data DATA: it is split into calibration, selection and report.",
            )
        plan[spec] = (*plan.get(spec, ()), name)
    roles = [path for path in (data, eval_data, train_data) if path]
    if len({str(Path(path).resolve()) for path in roles}) < len(roles):
        raise UsageError(
            "the same data is named twice: the report would be made on samples that shaped the artifact",
            blame="your command",
            remedy="Name it once, with --data: it is split into disjoint parts.",
        )
    return plan


def _choose(
    source: Source, wanted: tuple[str, ...], request: Request, *, batch: int, seed: int, notes: list[str]
) -> dict[str, NDArray[np.int64]]:
    """The indices of each split that this source gives, within memory and in whole batches."""
    parts = sizes(len(source), wanted)
    # The answers to the samples are held in memory just like the samples.
    held_bytes = 4 * sum(math.prod(spec.with_batch(1)[1:]) for spec in (*request.inputs, *request.outputs))
    for name, size in parts.items():
        stored = name == TRAINING and not request.states
        most, where = (_MAX_STORED, "on disk") if stored else (_MAX_BYTES, "of memory")
        each = sample_bytes(request.inputs) if stored else held_bytes
        room = max(batch, most // (each * source.steps))
        if size > room:
            notes.append(f"{name}: {room} of {size} samples, so that they fit {most >> 30} GiB {where}")
        parts[name] = min(size, room) // batch * batch
        if parts[name] == 0:
            raise bad_data(
                f"{source.name}: {len(source)} samples leave {size} for {name}, less than a batch of {batch}",
                f"Give at least {5 * batch * len(wanted)} samples, or a smaller --batch.",
            )
    if len(source) * source.steps < _FEW:
        held = ", ".join(f"{size} for {name}" for name, size in parts.items())
        notes.append(f"{source.name}: only {len(source)} samples ({held}); {_FEW} and more calibrate better")
    return split(len(source), parts, classes=source.classes, seed=seed)


def _write(
    out: Path, name: str, source: Source, indices: NDArray[np.int64], request: Request, *, done: int, total: int
) -> dict[str, Any]:
    """Read, write and describe one split; only this split is held in memory."""

    def said(count: int) -> None:
        events.progress("reading data", (done + count) / total)

    about = {
        "n": len(indices),
        **({"steps": source.steps} if request.states else {}),
        "source": source.name,
        "samples": digest_json([source.ids[i] for i in indices]),
    }
    if name == TRAINING and not request.states:
        folder = out / TRAINING
        folder.mkdir()
        write_training(folder, source, indices, request, said)
        return {**about, "digest": _digest(sorted(folder.iterdir()))}
    first = source.read(int(indices[0]))
    arrays = {name: np.empty((len(indices), *sample.shape), sample.dtype) for name, sample in first.items()}
    for position, index in enumerate(indices):
        if position % 64 == 0:
            said(position)
        for key, value in source.read(int(index)).items():
            arrays[key][position] = value
    files = [out / f"{name}.npz"]
    np.savez(files[0], **arrays)  # type: ignore[arg-type]
    if source.targets:
        files.append(out / f"{name}.labels.npz")
        np.savez(files[1], **source.targets_of(indices))  # type: ignore[arg-type]
    return {**about, "digest": _digest(files)}


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(digest_file(file) for file in files).encode()).hexdigest()


def _random(spec: TensorSpec, steps: Preprocess, count: int, rng: np.random.Generator) -> NDArray[Any]:
    size = (count, *spec.with_batch(1)[1:])
    if np.dtype(spec.dtype).kind != "f":  # 0 and 1 are valid wherever whole numbers go
        return rng.integers(0, 2, size).astype(spec.dtype)
    shape = image_shape(spec)
    if shape is None:
        return rng.standard_normal(size, dtype=np.float32)
    return normalize(rng.integers(0, 256, size), steps, shape)
