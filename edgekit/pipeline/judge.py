"""How good the answers of a run are: against the original's and the truth, or against another machine's."""

from __future__ import annotations

from edgekit.core.errors import BrokenPromiseError
from edgekit.core.evidence import Metric
from edgekit.data.metrics import confusions, evaluate
from edgekit.devices.base import Device
from edgekit.pipeline.findings import Judgement
from edgekit.pipeline.job import Job, whole
from edgekit.pipeline.measure import MIN_GOLDEN_SQNR, Arrays, Run, echoed, worst_sqnr

__all__ = ["agreement", "judge", "same_golden"]


def judge(job: Job, run: Run, split: str, reference: Arrays | None = None) -> Judgement:
    """The quality of a run on a split; empty where the run had no samples.

    Args:
        job: whose data it is.
        run: with answers to the split.
        split: its name.
        reference: the answers that it is held against; None for the original model's.
    """
    if run.answers is None:
        return Judgement((), {})
    targets, samples = job.targets(split), job.samples(split).path
    reference = job.reference(split) if reference is None else reference
    answers = job.judged(run.answers, split)
    metrics = evaluate(
        reference,
        answers,
        targets,
        job.original.judged_outputs,
        split=whole(split),
        where=run.measurements[0].where,
        kind=run.measurements[0].kind,
        custom=job.recipe.data.metric,
        activations=job.original.activations,
        echoed=None if targets else echoed(job.original, samples),
        steps=job.original.steps,
        seed=job.recipe.run.seed,
    )
    return Judgement(tuple(metrics), confusions(answers, reference, targets or {}))


def agreement(job: Job, here: Run, there: Run, split: str) -> tuple[Metric, ...]:
    """A device's answers to a split held against this host's."""
    if here.answers is None or there.answers is None:
        return ()
    metrics = evaluate(
        job.judged(here.answers, split),
        job.judged(there.answers, split),
        None,
        job.original.judged_outputs,
        split=whole(split),
        where=there.measurements[0].where,
        kind=there.measurements[0].kind,
        activations=job.original.activations,
        steps=job.original.steps,
        seed=job.recipe.run.seed,
    )
    return tuple(metrics)


def same_golden(here: Run, there: Run, device: Device) -> float:
    """How well a device's golden answers agree with this host's, in dB, of the worst output.

    Raises:
        BrokenPromiseError: by less than is due.
    """
    found = worst_sqnr(here.golden[0], there.golden[0])
    if not found >= MIN_GOLDEN_SQNR:
        raise BrokenPromiseError(
            f"{device.uri} answers the golden samples otherwise than this host: {found:.1f} dB,"
            f" at least {MIN_GOLDEN_SQNR:.0f} dB are due",
            blame=f"{there.measurements[0].runtime} on that device",
            remedy="Try another version of the runtime there, or --precision fp32, and report which CPU it is.",
        )
    return found
