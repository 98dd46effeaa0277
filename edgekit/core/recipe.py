"""Recipe: what a build was asked for. A recipe's file, the command line's flags and Python share this schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgekit.core.repair import RangeMethod, Rounding
from edgekit.core.types import Precision, Preprocess

__all__ = [
    "DataSection", "GateSection", "ModelSection", "PrecisionSection", "Recipe", "RecoverSection", "RunSection",
    "ShrinkSection",
]  # fmt: skip


# N:M, of at most 64.
_PAIR = re.compile(r"([1-9]\d?):([1-5]?\d|6[0-4])")
_OBJECT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Which model, and what its file doesn't say.

    Attributes:
        path: the model file.
        input_shapes: static shapes for inputs whose file leaves sizes open, batch included.
        trust: allow the file to bring code (Keras Lambda layers).
        custom_objects: "module:NAME" of a dictionary of custom Keras layers.
        states: the model's recurrent state: each input with the output that feeds it at the next step; or "none",
            where what looks like state is ordinary input.
    """

    path: Path | None = None
    input_shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    states: dict[str, str] | Literal["none"] = Field(default_factory=dict)
    trust: bool = False
    custom_objects: str | None = None

    @field_validator("input_shapes")
    @classmethod
    def _positive(cls, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        for name, shape in shapes.items():
            if not shape or any(size < 1 for size in shape):
                message = f"the shape of {name} must be positive sizes, not {list(shape)}"
                raise ValueError(message)
        return shapes

    @field_validator("states", mode="before")
    @classmethod
    def _pairs(cls, states: Any) -> Any:
        if states == "none":
            return states
        if not isinstance(states, Mapping) or not all(isinstance(name, str) and name for name in states.values()):
            message = f'states are pairs, like {{ h = "h_out" }}, or "none", not {states!r}'
            raise ValueError(message)
        twice = next((name for name in states.values() if list(states.values()).count(name) > 1), None)
        if twice is not None:
            message = f"the output {twice} can't feed two states"
            raise ValueError(message)
        return states

    @field_validator("custom_objects")
    @classmethod
    def _object(cls, text: str | None) -> str | None:
        return _names_an_object(text)


class DataSection(_Section):
    """Which data, and how it becomes the model's input.

    Attributes:
        data: one source that is split in three; or `train` for calibration and selection and `eval` for the report.
        none: build without data; accuracy is then unknown.
        labels: False ignores the labels that the source has.
        metric: "module:function" called with (outputs, targets).
    """

    data: str | None = None
    train: str | None = None
    eval: str | None = None
    none: bool = False
    labels: bool = True
    metric: str | None = None
    normalize: Literal["none", "0..1", "-1..1", "imagenet"] = "none"
    resize: Literal["stretch", "crop", "letterbox"] = "stretch"
    color: Literal["rgb", "bgr"] = "rgb"

    @field_validator("metric")
    @classmethod
    def _function(cls, text: str | None) -> str | None:
        return _names_an_object(text)

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing as the rest of edgekit knows it."""
        return Preprocess(resize=self.resize, color=self.color, normalize=self.normalize)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.none and (self.data or self.train or self.eval):
            message = "data is given and refused at the same time (--no-data)"
            raise ValueError(message)
        if self.data and self.train:
            message = "give --data (split in three) or --train-data with --eval-data, not both --data and --train-data"
            raise ValueError(message)
        return self


class ShrinkSection(_Section):
    """What goes from the network before it is compiled.

    Attributes:
        prune: the share of the MACs that goes, between 0 and 1. None: nothing goes.
        factorize: whether it goes with ranks: layers become two thin ones that multiply less. Else whole channels go.
        speedup: instead, how many times as fast as the unpruned network in the same precision the result is to be.
        importance: the measure that decides which; None: activations, or l2 where there is no data.
        schedule: the same share of each group, one ranking of the channels of all groups, or the most where MACs have
            the fewest weights; a speed-up ranks them by what a clock says. None: capacity where training follows,
            uniform where not.
        prune_steps: in how many steps; after each the importance is measured anew.
        sparsity: the share of the weights that becomes zero, between 0 and 1; or "N:M", of which N of M stay.
        pattern: which weights of a share become zero.
        clusters: how many values the weights of a layer share. None: each keeps its own.
    """

    prune: float | None = None
    factorize: bool = False
    speedup: float | None = None
    importance: Literal["activations", "batch-norm", "l1", "l2", "random", "taylor"] | None = None
    schedule: Literal["uniform", "global", "capacity"] | None = None
    prune_steps: int = Field(default=1, ge=1, le=100)
    sparsity: float | str | None = None
    pattern: Literal["global", "magnitude", "block", "random"] = "global"
    clusters: int | None = Field(default=None, ge=3, le=256)

    @field_validator("prune")
    @classmethod
    def _share(cls, prune: float | None) -> float | None:
        if prune is not None and not 0 < prune < 1:
            message = f"{prune:g} is no share of the MACs that could go; give for example 0.5, which takes half of them"
            raise ValueError(message)
        return prune

    @field_validator("speedup")
    @classmethod
    def _faster(cls, speedup: float | None) -> float | None:
        if speedup is not None and not (1 < speedup < math.inf):
            message = f"{speedup:g} is no speed-up; give for example 2.0, which is twice as fast"
            raise ValueError(message)
        return speedup

    @field_validator("sparsity", mode="before")
    @classmethod
    def _share_or_pair(cls, sparsity: Any) -> Any:
        if isinstance(sparsity, str) and (found := _PAIR.fullmatch(sparsity)) and 0 < int(found[1]) < int(found[2]):
            return sparsity
        try:
            share = None if sparsity is None else float(sparsity)
        except (TypeError, ValueError):
            share = math.nan
        if share is not None and not 0 < share < 1:
            message = f"{sparsity} is neither a share of the weights, like 0.5, nor how many of how many stay, like 2:4"
            raise ValueError(message)
        return share

    @model_validator(mode="after")
    def _how_with_how_much(self) -> Self:
        # A manifest's recipe has every key: what is as it is by default says nothing.
        fields = type(self).model_fields
        said = {name for name in self.model_fields_set if getattr(self, name) != fields[name].default}
        given = sorted(said & {"importance", "schedule", "prune_steps"})
        of_channels = sorted(said & {"schedule", "prune_steps"})
        message = ""
        if self.prune is not None and self.speedup is not None:
            message = "prune and speedup both say how much goes: give one of them"
        elif self.factorize and self.prune is None:
            message = "factorize takes a share of the MACs: give that too, like --prune 0.5 (a speed-up is of channels)"
        elif self.speedup is not None and "schedule" in given:
            message = "a speed-up ranks channels by what a clock says: leave schedule out, or give prune instead"
        elif given and self.prune is None and self.speedup is None:
            message = (
                f"{given[0]} says how to prune, and nothing says how much: give prune or speedup too, like --prune 0.5"
            )
        elif self.factorize and (of_channels or self.importance not in {None, "activations", "l2"}):
            what = (of_channels or ["importance"])[0]
            message = f"{what} is of channels: leave it out, or factorize (ranks go by activations or l2)"
        elif "pattern" in said and not isinstance(self.sparsity, float):
            message = "pattern says which weights of a share become zero: give the share too, like --sparsity 0.5"
        if message:
            raise ValueError(message)
        return self


class RecoverSection(_Section):
    """How training on the user's data wins back what shrinking cost; see docs/recovery.md. None: the data decides.

    Attributes:
        recover: whether it does.
        qat: whether the network is trained in int8 at the end, as the back end computes; what follows holds for both.
        qat_bits: of the weights in that; 4 makes a smaller file where the back end stores them so.
        original_first: whether the original is trained on the labels, and nothing else, before anything goes, so that
            the smaller network starts from that and learns from that.
        epochs: of all training for a target, at most.
        max_seconds: the same on the clock.
        label_share: the share of the labels in what is trained for; the original model, as the teacher, has the rest
            where it is right by the label. 0 is without labels, but for the original's own training.
        learning_rate: the highest of the schedule.
        patience: epochs without a better score on the selection split that end it; None: half of all, 20 at least.
        augment: the random changes of the samples.
        reinsert: whether a network that came without BatchNormalization gets it back.
    """

    recover: bool = False
    qat: bool = False
    qat_bits: Literal[4, 8] = 8
    original_first: bool = False
    epochs: int | None = Field(default=None, ge=1, le=100_000)
    max_seconds: float | None = Field(default=None, gt=0)
    label_share: float | None = Field(default=None, ge=0, le=1)
    learning_rate: float | None = Field(default=None, gt=0)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] | None = None
    momentum: float | None = Field(default=None, ge=0, lt=1)
    nesterov: bool | None = None
    weight_decay: float | None = Field(default=None, ge=0)
    schedule: Literal["constant", "cosine", "plateau"] | None = None
    warmup: float | None = Field(default=None, ge=0, le=1)
    clip: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=1, le=65_536)
    patience: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, gt=0)
    hint: Literal["none", "features", "attention"] | None = None
    hint_weight: float | None = Field(default=None, gt=0)
    augment: tuple[Literal["flip", "shift", "crop", "noise", "mixup"], ...] | None = None
    batch_norm: Literal["batch", "frozen"] | None = None
    reinsert: bool | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """What is said of how to train."""
        return self.model_dump(mode="json", exclude={"recover", "qat", "qat_bits", "original_first"}, exclude_none=True)

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.recover or self.qat

    @model_validator(mode="after")
    def _how_only_if(self) -> Self:
        said, message = next(iter(self.settings), ""), ""
        if said and not self.trains:
            message = f"{said} says how to recover, and nothing says that: give --recover or --qat too"
        elif self.original_first and not self.recover:
            message = "original_first says how to recover, and nothing says that: give --recover too"
        elif self.qat_bits != 8 and not self.qat:
            message = "qat_bits says how to train in int8, and nothing says that: give --qat too"
        if message:
            raise ValueError(message)
        return self


class PrecisionSection(_Section):
    """Which precision, which element type at the artifact's inputs and outputs, and what is done for int8.

    Attributes:
        ranges: which range of an activation int8 covers; see docs/precision.md.
        rounding: of weights: each to the nearest integer, or so that the layer's outputs come out nearest.
        bias_correction: whether biases make up for the mean error. None: what does best, here as for "auto".
    """

    precision: Literal["auto"] | Precision = "auto"
    io: Literal["float32", "int8", "uint8"] = "float32"
    ranges: Literal["auto"] | RangeMethod = "auto"
    rounding: Literal["auto"] | Rounding = "auto"
    bias_correction: bool | None = None

    @property
    def repairs(self) -> Mapping[str, Any]:
        """The fields of a `Repair` that are said; measurements choose the others."""
        said = self.model_dump(include={"ranges", "rounding", "bias_correction"})
        return {key: value for key, value in said.items() if value not in (None, "auto")}


class GateSection(_Section):
    """What the result must keep. None: not asked.

    Attributes:
        max_drop: largest accuracy drop, in the metric's unit (points for accuracy).
        min_speedup: float's time divided by the artifact's.
        max_latency_ms: p90 of wall time on the device.
        strict: the accuracy verdict must be resolved, and every gate evaluated.
        require: the kind of evidence that accuracy and latency must have.
    """

    max_drop: float | None = Field(default=None, ge=0)
    min_speedup: float | None = Field(default=None, gt=0)
    max_latency_ms: float | None = Field(default=None, gt=0)
    max_size_bytes: int | None = Field(default=None, gt=0)
    max_memory_bytes: int | None = Field(default=None, gt=0)
    strict: bool = False
    require: Literal["measured", "emulated"] | None = None


class RunSection(_Section):
    """How it is run and measured.

    Attributes:
        devices: where, by URI; each target is proven on those that can run it. None: its own default.
        boards: a TOML file of more of them.
    """

    threads: int = Field(default=1, ge=1, le=256)
    batch: int = Field(default=1, ge=1, le=1024)
    seed: int = Field(default=0, ge=0, lt=2**32)
    backend: str | None = None
    devices: tuple[str, ...] = ()
    boards: Path | None = None


class Recipe(_Section):
    """Everything that decides a build, but for the targets and the output folder."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    shrink: ShrinkSection = ShrinkSection()
    recover: RecoverSection = RecoverSection()
    precision: PrecisionSection = PrecisionSection()
    gates: GateSection = GateSection()
    run: RunSection = RunSection()


def _names_an_object(text: str | None) -> str | None:
    """A `module:NAME`, checked here so that a slip costs no work."""
    if text is not None and not _OBJECT.fullmatch(text):
        message = f"{text!r} is not of the form module:NAME"
        raise ValueError(message)
    return text
