"""Which ONNX operators go to TFLite, held against ONNX's own backend node tests, as the page docs/operators.md.

    python benchmarks/operators.py

Takes about a minute and a half of CPU. How a node test is run says benchmarks/node_tests.py.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from benchmarks.node_tests import Case, collect, run
from edgekit.lowering import operators

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operators.md"
SKIPS = ROOT / "tests" / "lowering" / "node_test_skips.toml"
# These have no lowering: normalisation computes them, or spells them out.
_EARLIER = {
    "Attention": "spelled out as MatMul, Softmax and Transpose",
    "ConstantOfShape": "computed at import",
    "EyeLike": "computed at import",
    "Range": "computed at import",
    "RotaryEmbedding": "spelled out in simpler operators",
    "Shape": "computed at import",
    "Size": "computed at import",
}
_HEAD = """# Operators

What of ONNX goes to TFLite: made by `python benchmarks/operators.py`, and held to by
`tests/lowering/test_node_tests.py`. OpenVINO reads ONNX itself; its list is OpenVINO's.

Each operator runs ONNX's own backend node tests through import, normalisation, lowering, TFLite's converter and
LiteRT, with the test's own tolerances: those in float32, int32, int64 and bool, the types that a Model has. Inputs that
a trained network has as constants (weights, shapes, axes, indices, scales) are constants here, too, and the others get
a batch of 1 in front. `_expanded` tests, which spell an operator in simpler ones, are left out. An operator without a
test has its own in `tests/lowering`, as all others do.

"""


def skips() -> dict[str, str]:
    """The node tests that do not pass, and why."""
    groups = tomllib.loads(SKIPS.read_text())["skip"]
    return {name: group["reason"] for group in groups for name in group["tests"]}


def known_operators() -> set[str]:
    """The operators whose node tests are run: those with a lowering, and those that are gone before it."""
    return operators().keys() | _EARLIER.keys()


def page(cases: list[Case], foreign: Mapping[str, list[str]], reasons: Mapping[str, str]) -> str:
    """The page, from the tests that there are and those that do not pass."""
    passed = sum(case.name not in reasons for case in cases)
    lines = [
        f"**{passed} of {len(cases)} node tests pass ({100 * passed / len(cases):.1f} %).**",
        "",
        "| operator | how | passed / all | in other types |",
        "|---|---|---|---|",
    ]
    how = operators() | _EARLIER
    for op in sorted(how):
        own = [case.name for case in cases if case.op == op]
        figure = f"{sum(name not in reasons for name in own)} / {len(own)}" if own else "–"
        says = how[op].replace("|", "\\|")
        lines.append(f"| {op} | {says} | {figure} | {len(foreign[op]) or '–'} |")
    lines += ["", "## What does not pass", "", "| why | tests |", "|---|---|"]
    counts = Counter(reasons.values())
    for reason in dict.fromkeys(reasons.values()):
        names = ", ".join(f"`{name.removeprefix('test_')}`" for name, own in reasons.items() if own == reason)
        lines.append(f"| {reason} ({counts[reason]}) | {names} |")
    return _HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page; end with 1 when a test fails or passes against the table of skips."""
    cases, foreign = collect(known_operators())
    failures, reasons = run(cases), skips()
    PAGE.write_text(page(cases, foreign, reasons))
    for name in sorted(failures.keys() - reasons.keys()):
        print(f"fails: {name}: {failures[name]}")
    for name in sorted(reasons.keys() - failures.keys()):
        print(f"passes now: {name}")
    sys.exit(1 if failures.keys() ^ reasons.keys() else 0)


if __name__ == "__main__":
    main()
