"""ONNX's own backend node tests: what passes stays so, what does not stands in the table with its reason."""

from __future__ import annotations

import pytest

from benchmarks.node_tests import collect, run
from benchmarks.operators import PAGE, known_operators, page, skips

pytestmark = pytest.mark.long

WANTED = 0.90


def test_node_tests_pass_but_for_the_table_of_skips() -> None:
    cases, foreign = collect(known_operators())
    reasons = skips()
    failures = run(cases, alone=reasons)
    assert {name: why for name, why in failures.items() if name not in reasons} == {}
    assert sorted(reasons.keys() - failures.keys()) == [], "these pass now: take them out of node_test_skips.toml"
    passed = len(cases) - len(failures)
    print(f"{passed} of {len(cases)} node tests pass: {passed / len(cases):.1%}")
    assert passed >= WANTED * len(cases)
    assert PAGE.read_text() == page(cases, foreign, reasons), "run: python benchmarks/operators.py"
