"""The networks in TensorFlow: one step of training, and the score on the selection samples."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.core.types import Layout, permutation
from edgekit.ir.model import Model
from edgekit.lowering import lazy_tf as tf
from edgekit.lowering.layout import Laid
from edgekit.lowering.module import LoweredModule
from edgekit.passes.quantize.ranges import Range
from edgekit.passes.recover.fake_quantize import FakeQuantization
from edgekit.passes.recover.heads import Head, heads
from edgekit.passes.recover.hints import hint_loss, matching_layers
from edgekit.passes.recover.losses import distillation, label_shares, supervision
from edgekit.passes.recover.optimizing import make_optimizer
from edgekit.passes.recover.planning import SMALLEST_BATCH, Plan
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.scoring import Score, score
from edgekit.passes.recover.settings import BatchNorm, Hint, RecoverSettings
from edgekit.passes.recover.thinned import restoring
from edgekit.passes.recover.training import batch_statistics, decays, trained
from edgekit.passes.recover.widening import widened

__all__ = ["Trainer"]

_EVALUATED = 256
_REWRITE = "auto_mixed_precision_onednn_bfloat16"


class Trainer:
    """A student and its teacher.

    Attributes:
        heads: the student's.
        fake: how the student rounds, where it is trained in int8.
    """

    def __init__(
        self,
        student: Model,
        teacher: Model,
        samples: Samples,
        settings: RecoverSettings,
        plan: Plan,
        *,
        ranges: Mapping[str, Range] | None = None,
    ) -> None:
        """`samples` say how inputs are stored and which outputs have targets, `ranges` what the student's values take.

        With ranges, the student is trained in int8 as `settings.integers` says.
        """
        self.heads = heads(student, samples.targets)
        self._settings, self._plan, self._affine = settings, plan, samples.affine
        self._student, self._teacher = LoweredModule(student), LoweredModule(teacher)
        self._teacher_heads = heads(teacher, samples.targets)
        self._all_labelled = all(head.output in samples.targets for head in self.heads)
        self._inputs = student.inputs
        self._layers = matching_layers(student, teacher, settings.hint)
        self._trained = trained(student, self._student)
        self._variables = dict(self._student.weights)
        self.fake: FakeQuantization | None = None
        if settings.integers is not None and ranges is not None:
            self.fake = FakeQuantization(student, self._student.weights, ranges, settings.integers)
            self._variables |= self.fake.variables
        self._moving = self.fake and self.fake.following(plan.momentum if plan.batch >= SMALLEST_BATCH else 1.0)
        undecayed = [variable for variable in self._trained.values() if not decays(variable)]
        self._optimizer = make_optimizer(settings, list(self._trained.values()), undecayed)
        self._restore = restoring(student, self._trained) if settings.thinned else None
        self._lowerings: dict[str, Callable[..., Any]] = {}
        if plan.batch_norm is BatchNorm.BATCH:
            self._lowerings["BatchNormalization"] = batch_statistics(plan.momentum)
        self._train = tf.function(self._train_step, autograph=False)
        self._examine = tf.function(self._examined, autograph=False, reduce_retracing=True)
        self._teach = tf.function(self._taught, autograph=False, reduce_retracing=True)

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss asks for the teacher's answers."""
        return self._plan.label_share < 1 or self._settings.hint is not Hint.NONE or not self._all_labelled

    def step(
        self, inputs: Sequence[Array], targets: Mapping[str, Array], taught: Mapping[str, Array], learning_rate: float
    ) -> Any:
        """One step; gives the loss as a tensor, without waiting for it."""
        self._optimizer.learning_rate.assign(learning_rate)
        with _narrow() if self._plan.bfloat16 else contextlib.nullcontext():
            return self._train(tuple(inputs), dict(targets), dict(taught))

    def teach(self, samples: Samples) -> Iterator[dict[str, Array]]:
        """The teacher's logits by output, part by part."""
        for part in self._parts(samples):
            answers = self._teach(tuple(part.inputs[spec.name] for spec in self._inputs))
            yield {name: answer.numpy() for name, answer in answers.items()}

    def evaluate(self, samples: Samples, taught: Mapping[str, Array]) -> Score:
        """How good the student is now on `samples`, in the form that it has for inference."""
        answers: dict[str, list[Array]] = {head.output: [] for head in self.heads}
        losses, at = [], 0
        for part in self._parts(samples):
            rows = slice(at, at + len(part))
            at += len(part)
            logits, loss = self._examine(
                tuple(part.inputs[spec.name] for spec in self._inputs),
                dict(part.targets),
                {name: array[rows] for name, array in taught.items()},
            )
            for name, answer in logits.items():
                answers[name].append(answer.numpy())
            losses.append(float(loss) * len(part))
        whole = {name: np.concatenate(parts) for name, parts in answers.items()}
        counted = samples.take(slice(0, at))
        return score(self.heads, whole, counted.targets, taught, sum(losses) / at)

    def weights(self) -> dict[str, Array]:
        """The variables, ranges and statistics that training changes, by name."""
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def set_weights(self, arrays: Mapping[str, Array]) -> None:
        """Put in what `weights` gave."""
        for name, array in arrays.items():
            self._variables[name].assign(array)

    def slots(self) -> list[Array]:
        """The optimizer's state."""
        return [np.asarray(variable) for variable in self._optimizer.variables]

    def set_slots(self, arrays: Sequence[Array]) -> None:
        """Put in what `slots` gave."""
        for variable, array in zip(self._optimizer.variables, arrays, strict=True):
            variable.assign(array)

    def _parts(self, samples: Samples) -> Iterator[Samples]:
        """Some samples at a time: as many as the network fixes, the rest then left out."""
        fixed = next((spec.shape[0] for spec in self._inputs if spec.shape), None)
        size = fixed or _EVALUATED
        for begin in range(0, len(samples) - (size - 1 if fixed else 0), size):
            yield samples.take(slice(begin, begin + size))

    def _train_step(self, inputs: Any, targets: Any, taught: Any) -> Any:
        ready = self._prepared(inputs)
        teacher = None
        if self.needs_teacher and not taught:
            teacher = self._teacher.activations(*ready)
            taught = {name: tf.stop_gradient(logits) for name, logits in _logits(self._teacher_heads, teacher).items()}
        variables = list(self._trained.values())
        lowerings = widened(self._lowerings) if self._lowerings and self._plan.bfloat16 else self._lowerings
        with tf.GradientTape() as tape:
            student = self._student.activations(*ready, training=lowerings, simulation=self._moving)
            loss = self._loss(_logits(self.heads, student), targets, taught)
            if self._layers:
                assert teacher is not None
                hint = hint_loss(self._settings.hint, self._layers, student, teacher)
                loss += self._settings.hint_weight * hint
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self._restore is not None:
            self._restore()
        return loss

    def _examined(self, inputs: Any, targets: Any, taught: Any) -> tuple[dict[str, Any], Any]:
        logits = _logits(self.heads, self._student.activations(*self._prepared(inputs), simulation=self.fake))
        return logits, self._loss(logits, targets, taught)

    def _taught(self, inputs: Any) -> dict[str, Any]:
        return _logits(self._teacher_heads, self._teacher.activations(*self._prepared(inputs)))

    def _loss(self, logits: Mapping[str, Any], targets: Mapping[str, Any], taught: Mapping[str, Any]) -> Any:
        """The sum over outputs; one without targets is all the teacher's."""
        losses = []
        for head in self.heads:
            own, wanted, told = logits[head.output], targets.get(head.output), taught.get(head.output)
            share = 0.0 if wanted is None else self._plan.label_share
            shared = 0 < share < 1 and told is not None
            shares = label_shares(head, told, wanted, share) if shared else share
            if share > 0:
                losses.append(supervision(head, own, wanted, shares))
            if share < 1 and told is not None:
                losses.append(distillation(head, own, told, self._settings.temperature, 1 - shares))
        return tf.add_n(losses)

    def _prepared(self, inputs: Sequence[Any]) -> list[Any]:
        """The stored inputs as the lowered network takes them: laid out, and pixels made numbers."""
        ready = []
        for tensor, spec, own in zip(inputs, self._inputs, self._student.inputs, strict=True):
            order = permutation(spec.layout, own.layout, len(spec.shape))
            laid = tensor if order == tuple(range(len(order))) else tf.transpose(tensor, order)
            value = tf.cast(laid, spec.dtype)
            if spec.name in self._affine:
                axis = -1 if own.layout is Layout.NHWC else 1
                shape = [1] * len(spec.shape)
                shape[axis] = -1
                scale, offset = (np.asarray(each, np.float32).reshape(shape) for each in self._affine[spec.name])
                value = value * scale + offset
            ready.append(value)
        return ready


@contextlib.contextmanager
def _narrow() -> Iterator[None]:
    """What TensorFlow starts in this block runs rewritten: multiplications in bfloat16, variables in float32."""
    before = tf.config.optimizer.get_experimental_options().get(_REWRITE, False)
    tf.config.optimizer.set_experimental_options({_REWRITE: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_REWRITE: before})


def _logits(found: Sequence[Head], values: Mapping[str, Laid]) -> dict[str, Any]:
    """The logits by output; the classes of a softmax come last."""
    result = {}
    for head in found:
        laid = values[head.logits]
        logical = laid.in_logical_order()
        axis = head.axis % laid.rank
        if head.kind == "softmax" and axis != laid.rank - 1:
            logical = tf.transpose(logical, [*(i for i in range(laid.rank) if i != axis), axis])
        result[head.output] = logical
    return result
