"""From a recipe to proven artifacts: stages, the store of their results, gates, and the output folder."""
