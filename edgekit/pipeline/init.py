"""What `edgekit init` writes: a recipe with every key, its meaning and its default."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.recipe import DataSection, ModelSection
from edgekit.core.recipe_file import compression, load_recipe, model_section
from edgekit.core.types import TensorSpec
from edgekit.pipeline.stages import import_source
from edgekit.pipeline.store import default_store
from edgekit.pipeline.zoo import find_model

__all__ = ["has_data", "recipe_text"]

_TEMPLATE = """\
# The recipe of {name}: edgekit build {name} --config THIS-FILE --target raspberry-pi-5
# A flag of the command line wins over its key here. Paths are relative to this file.
# inputs:  {inputs}
# outputs: {outputs}

[model]
path = "{path}"
{shapes}{states}
# trust = false               # true lets code inside the model file run (Keras Lambda layers)
# custom_objects = "module:NAME"

[data]
{data}# labels = true               # false ignores the labels that the data has
# metric = "module:function"  # your own metric: f(outputs, targets) -> float
normalize = {normalize:<18}# none (0..255 as they are), 0..1, -1..1, imagenet
resize = {resize:<21}# stretch, crop, letterbox
color = {color:<22}# rgb, bgr

[shrink]
# prune = 0.5                 # the share of the MACs that goes, with whole channels; what follows says how
# factorize = false           # true takes it from ranks instead: layers become two thin ones
# speedup = 2.0               # or: how many times as fast as unpruned, measured; it has no schedule
# importance = "activations"  # activations, batch-norm, l1, l2, random, taylor
# schedule = "capacity"       # uniform, global, capacity: how that is spread over the layers
# prune_steps = 1             # each step ranks the channels anew
# sparsity = 0.5              # the share of the weights that becomes zero, or "2:4": two of each four stay
# pattern = "global"          # of a share: global, magnitude, block, random
# clusters = 16               # how many values the weights of a layer share

[recover]
# recover = false             # true trains on the data until the result is as good as it was; what follows says how
# qat = false                 # true trains in int8 at the end, as the back end computes; what follows holds for both
# qat_bits = 8                # of the weights in that: 8 or 4
# epochs = 30                 # of all training, at most; by the data if left out, as all that follows
# max_seconds = 1200.0        # the same on the clock
# original_first = false      # true trains the original by labels alone, before it is pruned and teaches
# label_share = 0.25          # of what is trained for; the teacher has the rest where it is right by the label
# learning_rate = 0.001       # the highest; found by a short test if left out
# optimizer = "adam"          # adam, adamw, rmsprop, sgd
# momentum = 0.9              # of sgd and rmsprop
# nesterov = true             # of sgd
# weight_decay = 0.0001       # of adamw
# schedule = "cosine"         # cosine, plateau, constant
# warmup = 0.05               # the share of all steps in which the rate rises first
# clip = 5.0                  # the largest norm of the gradients
# batch = 64                  # samples a step
# patience = 20               # epochs without a better score that end it; half of all, and 20 at least, if left out
# temperature = 2.0           # of the teacher's soft labels
# hint = "none"               # what else the teacher shows: none, features, attention
# hint_weight = 1.0           # how much that counts
# augment = ["flip", "shift"] # flip, shift, crop, noise, mixup
# batch_norm = "batch"        # batch: trains with each batch's statistics; frozen: keeps its own
# reinsert = true             # gives BatchNormalization back to a network that came without any

[precision]
precision = "auto"            # auto, fp32, fp16, mixed, int8
io = "float32"                # float32, int8, uint8: the artifact's inputs and outputs
ranges = "auto"               # of int8 activations: auto, min-max, percentile, mse, entropy
rounding = "auto"             # of int8 weights: auto, nearest, adaptive
# bias_correction = true      # whether biases make up for what rounding does to the mean; otherwise what does best

[gates]
# These two hold anyway, as far as they can be measured; written out, they must be proven, or the build exits 12.
# max_drop = 1.0              # points of accuracy, against the original float model
# min_speedup = 1.0           # float's time / the artifact's, on the target itself
# max_latency_ms = 20.0       # p90 on the device
# max_size_bytes = 500000
# max_memory_bytes = 64000000
# strict = false              # every gate must be evaluated, and resolved
# require = "measured"        # the kind of evidence that gates must have

[run]
threads = 1
batch = 1
seed = 0
# backend = "tflite"          # instead of the target's own
# devices = ["ssh://pi@host"] # where it is proven, instead of the target's default; see: edgekit devices --help
# boards = "boards.toml"      # more of them, by name
"""


_NO_STATES = """\
# states = { h = "h_out" }    # inputs that are state, each with the output that feeds it at the next step; or "none"\
"""


def recipe_text(
    model: str,
    *,
    relative_to: Path,
    input_shapes: Mapping[str, Sequence[int]],
    states: Mapping[str, str] | str | None = None,
    compress: str | None = None,
) -> str:
    """The text of a recipe for `model`, after it was imported: a model that can't be says so here.

    Args:
        model: a path, or a name of the zoo.
        relative_to: where the recipe will lie.
        input_shapes, states: what the model's file doesn't say.
        compress: the recipe that comes with edgekit and fills in its keys, or None.
    """
    said = compression(compress) if compress else {}
    named = find_model(model)
    path, data = named.path, load_recipe(named.recipe, {}).data if named.recipe else DataSection()
    options = model_section(input_shapes, states)
    imported = import_source(default_store(), path, options, seed=0)
    shapes = ", ".join(f'"{name}" = {list(shape)}' for name, shape in input_shapes.items())
    text = _TEMPLATE.format(
        name=model,
        path=os.path.relpath(path, relative_to),
        inputs=_names(imported.inputs),
        outputs=_names(imported.outputs),
        data=_sources(data, relative_to),
        normalize=f'"{data.normalize}"',
        resize=f'"{data.resize}"',
        color=f'"{data.color}"',
        states=_states(options),
        shapes=f"input_shapes = {{ {shapes} }}\n" if shapes else "",
    )
    return _filled(text, said)


def has_data(text: str) -> bool:
    """Whether a recipe that `recipe_text` wrote names data."""
    return bool({"data", "train"} & tomllib.loads(text)["data"].keys())


def _filled(text: str, said: Mapping[str, Mapping[str, Any]]) -> str:
    """The template with what a recipe says in the place of what it shows as an example."""
    section, lines = "", []
    for line in text.splitlines():
        header, key = re.fullmatch(r"\[(\w+)\]", line), re.match(r"(?:# )?(\w+) = [^#]*# ", line)
        section = header[1] if header else section
        if key and key[1] in said.get(section, {}):
            written = f"{key[1]} = {json.dumps(said[section][key[1]])}"
            lines.append(f"{written:<30}# {line[key.end() :]}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _sources(data: DataSection, relative_to: Path) -> str:
    """The three ways to name data; those that a model of the zoo brings are filled in."""
    rows = (
        ("data", data.data, "photos", "a folder of class folders, .npz, .csv or module:function; split in three"),
        ("train", data.train, "train.npz", "or: all but the report from here,"),
        ("eval", data.eval, "test.npz", "    and the report from here"),
    )
    lines = []
    for key, source, example, about in rows:
        unused = f'# {key} = "{example}"'
        lines.append(f'{key} = "{os.path.relpath(source, relative_to)}"' if source else f"{unused:<30}# {about}")
    return "\n".join(lines) + "\n"


def _states(options: ModelSection) -> str:
    if options.states == "none":
        return 'states = "none"'
    pairs = ", ".join(f'"{source}" = "{target}"' for source, target in options.states.items())
    return f"states = {{ {pairs} }}" if pairs else _NO_STATES


def _names(specs: Sequence[TensorSpec]) -> str:
    def sizes(spec: TensorSpec) -> str:
        return "×".join("batch" if size is None else str(size) for size in spec.shape)

    return ", ".join(f"{spec.name} {sizes(spec)} {spec.layout}" for spec in specs)
