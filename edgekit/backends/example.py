"""The part of an `example.py` that every runtime shares: run, print, and feed the state back."""

from __future__ import annotations

from edgekit.core.types import States

__all__ = ["run_and_print"]


def run_and_print(call: str, each: str, shown: str, states: States) -> str:
    """Python lines that run an artifact and print its outputs; five steps of one that carries state.

    Args:
        call: the expression that gives the outputs as a dictionary.
        each: the loop variables for its items.
        shown: what to print of them.
        states: the artifact's state.
    """
    if not states:
        return f"for {each} in {call}.items():\n    print({shown})\n"
    lines = [
        "for step in range(5):",
        f"    outputs = {call}",
        f"    for {each} in outputs.items():",
        f"        print(step, {shown})",
        "    # The state that came out goes in at the next step; a copy, since the runtime may use its memory again.",
        *(f'    inputs["{source}"] = outputs["{target}"].copy()' for source, target in states),
    ]
    return "\n".join(lines) + "\n"
