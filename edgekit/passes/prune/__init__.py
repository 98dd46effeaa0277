"""Structured pruning: which channels go together, which of them go, and their physical removal from a Model."""
