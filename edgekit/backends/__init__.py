"""Back ends: from a Model and a QuantPlan to files that a target's runtime runs. Found by entry point."""
