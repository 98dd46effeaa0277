"""How long the layers of a network take within it, by the profile of the runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.sensitivity import Sensitivity
from edgekit.core.types import QuantPlan
from edgekit.devices.answer import OpTime, parse_profile
from edgekit.devices.bench import LOCAL, measure
from edgekit.pipeline.measure import bench_script, identity
from edgekit.pipeline.op_layers import op_rows
from edgekit.pipeline.trial import TargetJob

__all__ = ["layer_us"]

_INFERENCES = 50


def layer_us(target: TargetJob, found: Sensitivity, plan: QuantPlan) -> dict[str, float]:
    """Microseconds of each layer under a plan, by the runtime's own profile; empty where it has none."""
    artifact, device = target.artifact(plan), target.clock
    threads = target.job.recipe.run.threads

    def work(_: Path) -> Any:
        _measurements, answer = measure(
            artifact.path,
            device=device,
            options=artifact.runtime_options,
            states=artifact.states,
            runtime=target.backend.runtime if device is LOCAL else artifact.device_runtime or None,
            threads=threads,
            timing=False,
            profile=_INFERENCES,
            blame="edgekit",
        )
        return {"ops": [op.model_dump() for op in parse_profile(answer).ops]}

    inputs = {
        "artifact": [artifact.digest, artifact.runtime_options],
        "protocol": [_INFERENCES, threads],
        "bench": bench_script(),
        "host": identity(device, target.clock_facts),
    }
    title = f"time the operators of {plan.precision} · {target.backend.name}{target.on_clock}"
    ops = target.job.store.make("op-times", title, inputs, work).value["ops"]
    times: dict[str, float] = {}
    for row in op_rows([OpTime(**op) for op in ops], found):
        if row.layer is not None:
            times[row.layer] = times.get(row.layer, 0.0) + row.us
    return times
