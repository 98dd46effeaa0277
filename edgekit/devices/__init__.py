"""Where artifacts run. Every device runs the same bench script and gets one JSON back."""
