"""edgekit: from a trained neural network to a proven artifact on an edge device."""

__version__ = "0.1.0.dev0"
