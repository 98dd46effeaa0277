"""How long the layers of a model take on a target's runtime, by the clock that the target's choices go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.errors import DeviceError
from edgekit.core.plain import from_json, to_json
from edgekit.core.types import Artifact, Precision
from edgekit.devices.bench import LOCAL, measure
from edgekit.passes.prune.request import LayerTimes, TimeTable
from edgekit.pipeline import child
from edgekit.pipeline.measure import bench_script, identity
from edgekit.pipeline.store import Entry
from edgekit.pipeline.trial import TargetJob

__all__ = ["layer_times"]

# Networks that one process holds and times in turn, and how long and how often it does.
_AT_ONCE = 40
_ROUNDS = 40
_SECONDS = 40.0


def layer_times(target: TargetJob, precision: Precision) -> LayerTimes:
    """What each layer of the original model takes at some sizes, and what the whole of it takes, in a precision.

    Layers are timed as networks of their own (`edgekit.passes.prune.probes`), by CPU time, interleaved with each other,
    with the whole network and with one that does nothing.

    Raises:
        UnsupportedOpError: a layer can't be made in that precision.
        DeviceError: the clock gave no time.
    """
    probes = _compile(target, precision)
    idle, *artifacts = _artifacts(probes)
    dense = target.dense(precision)

    def work(_: Path) -> Any:
        return {"seconds": _measure(target, idle, dense, artifacts)}

    inputs = {
        "probes": probes.key,
        "dense": [dense.digest, dense.runtime_options],
        "threads": target.job.recipe.run.threads,
        "protocol": [_AT_ONCE, _ROUNDS, _SECONDS],
        "bench": bench_script(),
        "host": identity(target.clock, target.clock_facts),
    }
    title = f"time {len(artifacts)} layers · {target.backend.name}{target.on_clock}"
    idling, whole, *seconds = target.job.store.make("layer-times", title, inputs, work).value["seconds"]
    copies = probes.value["copies"]

    def table(grid: dict[str, Any]) -> TimeTable:
        own = tuple((seconds[number] - idling) / copies for number in grid["probes"])
        return TimeTable(from_json(tuple[tuple[int, ...], ...], grid["sizes"]), own)

    return LayerTimes(
        tables=tuple((layer, table(grid)) for layer, grid in probes.value["grids"].items()), idle=idling, whole=whole
    )


def _compile(target: TargetJob, precision: Precision) -> Entry:
    job, backend = target.job, target.backend
    request: dict[str, Any] = {
        "backend": backend.name,
        "precision": precision,
        "multiple": target.target.channel_multiple,
        "batch": job.recipe.run.batch,
        "options": tuple(sorted(target.options.items())),
    }

    def work(folder: Path) -> Any:
        return child.call(
            "edgekit.pipeline.probing:compile_probes",
            {**request, "source": str(job.original.path), "out": str(folder)},
            what=f"compiling the layers with {backend.name}",
            blame=f"the back end {backend.name} on your model",
        )

    inputs = {
        **request,
        "backend": [backend.name, backend.version],
        "model": job.original.digest,
        "tools": dict(backend.tools()),
    }
    return job.store.make("probes", f"compile the layers · {backend.name}", inputs, work)


def _artifacts(probes: Entry) -> list[Artifact]:
    return [
        replace(from_json(Artifact, each), files=tuple(probes.file(name) for name in each["files"]))
        for each in to_json(probes.value["artifacts"])
    ]


def _measure(target: TargetJob, idle: Artifact, dense: Artifact, artifacts: Sequence[Artifact]) -> list[float]:
    """Seconds of the network that idles, of the whole one, and of each artifact, all by the clock of the first run."""
    found: list[float] = []
    for begin in range(0, len(artifacts), _AT_ONCE):
        events.progress("timing", begin / len(artifacts))
        idling, whole, *seconds = _run(target, [idle, dense, *artifacts[begin : begin + _AT_ONCE]])
        if not found:
            found = [idling, whole]
        # Another run may meet the machine in another state; the whole network met both.
        found += [each * found[1] / whole for each in seconds]
    return found or _run(target, [idle, dense])


def _run(target: TargetJob, artifacts: Sequence[Artifact]) -> list[float]:
    first, *others = artifacts
    measurements, _ = measure(
        first.path,
        device=target.clock,
        options=first.runtime_options,
        against=[(other.path, other.runtime_options) for other in others],
        runtime=target.backend.runtime if target.clock is LOCAL else first.device_runtime or None,
        threads=target.job.recipe.run.threads,
        repeats=1,
        runs=_ROUNDS,
        max_seconds=_SECONDS,
        blame="edgekit",
    )
    timings = [each.timing for each in measurements]
    if None in timings:
        raise DeviceError(
            f"{target.clock.uri} gave no times for the layers: it is emulated",
            blame="the device",
            remedy="Prune to a share of the MACs instead: --prune 0.5",
        )
    return [timing.cpu_ms / 1e3 for timing in timings if timing is not None]
