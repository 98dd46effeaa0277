"""Metrics: how much of the float model's quality an artifact keeps, on the same samples."""

from edgekit.data.metrics.classification import confusion_matrix, confusions
from edgekit.data.metrics.evaluate import evaluate
from edgekit.data.metrics.figure import Figure

__all__ = ["Figure", "confusion_matrix", "confusions", "evaluate"]
