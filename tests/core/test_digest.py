"""What makes two inputs the same: contents, and in a folder the names as well."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.digest import digest_file, digest_path


def test_a_folder_counts_by_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    weights = folder / "variables" / "variables.data"
    weights.write_bytes(b"weights")
    first = digest_path(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert digest_path(moved) == first
    (moved / "variables" / "variables.data").write_bytes(b"WEIGHTS")
    changed = digest_path(moved)
    assert changed != first
    (moved / "variables" / "variables.data").rename(moved / "variables" / "other.data")
    assert digest_path(moved) not in (first, changed)


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert digest_path(tmp_path / "a") == digest_file(tmp_path / "a")
