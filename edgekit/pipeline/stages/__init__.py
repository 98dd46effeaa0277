"""The stages of a build, each a content-addressed step: what it needs, what it is keyed by, which child does it."""

from edgekit.pipeline.stages.changing import equalise, fuse, prune, repair_for, thin
from edgekit.pipeline.stages.compiling import compile_plan
from edgekit.pipeline.stages.data import Data, prepare_data, stored_data
from edgekit.pipeline.stages.importing import import_source
from edgekit.pipeline.stages.models import SourceModel, stored_model, tool_versions
from edgekit.pipeline.stages.training import Lesson, recover

__all__ = [
    "Data", "Lesson", "SourceModel", "compile_plan", "equalise", "fuse", "import_source", "prepare_data", "prune",
    "recover", "repair_for", "stored_data", "stored_model", "thin", "tool_versions",
]  # fmt: skip
