"""Fails when a test was skipped that should have run: skipped.py RESULTS (pytest's JUnit XML).

A reason is accepted when it begins with "not on this machine:", or when it names the acceptance data and there are
none.
"""

# ruff: noqa: INP001 - a script
from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

NOT_HERE = "not on this machine:"
DATA = "EDGEKIT_ACCEPTANCE_DATA"


def unexcused(results: Path) -> list[str]:
    """The skipped tests whose reason is not accepted, with that reason."""
    found = []
    for case in ET.parse(results).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        for skip in case.iter("skipped"):
            reason = skip.get("message", "")
            without_data = DATA in reason and DATA not in os.environ
            if skip.get("type") == "pytest.skip" and not reason.startswith(NOT_HERE) and not without_data:
                found.append(f"{case.get('classname')}::{case.get('name')}: {reason}")
    return found


if __name__ == "__main__":
    skipped = unexcused(Path(sys.argv[1]))
    if skipped:
        sys.exit("skipped without an accepted reason (see .ci/skipped.py):\n  " + "\n  ".join(skipped))
