"""Data sets, preprocessing, disjoint splits and metrics: from the user's files to ready tensors and honest figures."""
