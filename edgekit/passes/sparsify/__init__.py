"""Sparsity: weights that become zero, in one pattern a file. Each pattern answers with the masks of what stays."""
