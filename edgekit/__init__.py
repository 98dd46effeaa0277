"""edgekit: from a trained neural network to a proven artifact on an edge device.

The public API. Names are loaded when they are first used, so that `import edgekit` costs nothing:

    import edgekit

    report = edgekit.build("digits-cnn", ["raspberry-pi-5", "intel-cpu"], out="build/digits-cnn")
    print(report.passed, [target.precision for target in report.targets])
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

# ONNX Runtime reports home from the moment it is imported, here or in a child process.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from edgekit.core.errors import EdgekitError
    from edgekit.core.recipe import Recipe
    from edgekit.core.recipe_file import load_recipe
    from edgekit.ir.model import Model
    from edgekit.pipeline.bench import bench
    from edgekit.pipeline.build import build
    from edgekit.pipeline.compare import compare
    from edgekit.pipeline.inspect import inspect, load
    from edgekit.pipeline.targets import Target, list_targets, load_target
    from edgekit.pipeline.validate import validate
    from edgekit.report.build_report import BuildReport

_HOMES = {
    "BuildReport": "edgekit.report.build_report",
    "EdgekitError": "edgekit.core.errors",
    "Model": "edgekit.ir.model",
    "Recipe": "edgekit.core.recipe",
    "Target": "edgekit.pipeline.targets",
    "bench": "edgekit.pipeline.bench",
    "build": "edgekit.pipeline.build",
    "compare": "edgekit.pipeline.compare",
    "inspect": "edgekit.pipeline.inspect",
    "list_targets": "edgekit.pipeline.targets",
    "load": "edgekit.pipeline.inspect",
    "load_recipe": "edgekit.core.recipe_file",
    "load_target": "edgekit.pipeline.targets",
    "validate": "edgekit.pipeline.validate",
}

__all__ = [
    "BuildReport", "EdgekitError", "Model", "Recipe", "Target", "bench", "build", "compare", "inspect", "list_targets",
    "load", "load_recipe", "load_target", "validate",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        message = f"module 'edgekit' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
