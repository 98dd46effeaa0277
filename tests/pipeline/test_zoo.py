"""What MODEL means: a file, a SavedModel folder, or a model of the zoo."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import InvalidInputError
from edgekit.pipeline.zoo import find_model


def saved_model(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"x")
    return path


@pytest.mark.parametrize("name", ["net", "net.v2", "net/"])
def test_a_folder_is_a_model_under_its_own_name(name: str, tmp_path: Path) -> None:
    path = saved_model(tmp_path / name)
    found = find_model(f"{tmp_path}/{name}")
    assert (found.name, found.path, found.recipe) == (path.name, path, None)


def test_a_folder_by_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved_model(tmp_path / "net"))
    assert find_model(".").name == "net"


def test_a_folder_like_a_model_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build leaves such folders; only a SavedModel goes before the zoo."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-cnn").mkdir()
    assert find_model("digits-cnn").recipe is not None
    saved_model(tmp_path / "other" / "digits-cnn")
    monkeypatch.chdir(tmp_path / "other")
    assert find_model("digits-cnn").recipe is None


def test_neither_a_path_nor_of_the_zoo() -> None:
    with pytest.raises(InvalidInputError, match="neither a file nor a model of the zoo") as caught:
        find_model("no-such-model")
    assert "SavedModel folder" in caught.value.remedy
