"""What every test shares: a store of its own, and the way to the acceptance data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the user's store."""
    os.environ["EDGEKIT_CACHE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def acceptance_data() -> Path:
    """The folder of real models and data; the test is skipped, saying so, without it."""
    folder = os.environ.get("EDGEKIT_ACCEPTANCE_DATA")
    if not folder:
        pytest.skip("EDGEKIT_ACCEPTANCE_DATA is not set")
    return Path(folder).resolve()
