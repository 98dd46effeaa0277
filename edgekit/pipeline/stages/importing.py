"""The stage that reads the user's model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core import events
from edgekit.core.digest import digest_file, digest_path
from edgekit.core.recipe import ModelSection
from edgekit.pipeline import child
from edgekit.pipeline.stages.models import ONNX_TOOLS, SourceModel, source_model, tool_versions
from edgekit.pipeline.store import Store

__all__ = ["import_source"]

_TF_TOOLS = ("tensorflow", "tf2onnx", *ONNX_TOOLS)
_KERAS_TOOLS = ("keras", "tf_keras", *_TF_TOOLS)
_IMPORT_TOOLS = {
    "onnx": ONNX_TOOLS,
    "keras": _KERAS_TOOLS,
    "h5": _KERAS_TOOLS,
    "savedmodel": _TF_TOOLS,
    "tflite": ("ai-edge-litert", *_TF_TOOLS),
}


def import_source(
    store: Store, source: Path, options: ModelSection, seed: int, *, needed_by: Mapping[str, str] | None = None
) -> SourceModel:
    """Import the model, a file or a folder, checked against its own framework.

    Args:
        needed_by: target name → back end name: a model that none of these takes is refused before it is run.
    """
    from edgekit.data.fingerprint import fingerprint
    from edgekit.formats import detect

    detected = detect(source)
    inputs = {
        "source": digest_path(source),
        "format": detected,
        "options": options.model_dump(mode="json", exclude={"path"}),
        "custom_objects": fingerprint(options.custom_objects) if options.custom_objects else None,
        "seed": seed,
        "tools": tool_versions(_IMPORT_TOOLS[detected]),
    }

    def work(folder: Path) -> Any:
        return child.call(
            "edgekit.pipeline.native:import_model",
            {
                "source": str(source.resolve()),
                "out": str(folder),
                "input_shapes": {name: list(shape) for name, shape in options.input_shapes.items()} or None,
                "trust_model": options.trust,
                "custom_objects": options.custom_objects,
                "seed": seed,
                "needed_by": needed_by or {},
                "states": options.states,
            },
            what=f"importing {source.name}",
            blame="your model",
        )

    entry = store.make("import", f"import {source.name}", inputs, work)
    # Weights in files beside the model may have changed under an unchanged model file: then they join the key.
    found = {name: _digest_if_there(source.parent / name) for name in entry.value["beside"]}
    if found != entry.value["beside"]:
        entry = store.make("import", f"import {source.name}", {**inputs, "beside": found}, work)
    for warning in entry.value["warnings"]:
        events.warn(warning)
    return source_model(entry)


def _digest_if_there(path: Path) -> str | None:
    """None for a file that is gone: the importer then says what is missing, and for whom."""
    return digest_file(path) if path.is_file() else None
