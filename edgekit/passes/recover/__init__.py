"""Recovery: train a compressed network on the user's data, with labels or none, until it is as good as it was."""
