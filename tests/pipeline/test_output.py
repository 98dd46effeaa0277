"""The output folder: never over something that isn't ours, never half-written."""

import json
import os
from pathlib import Path

import pytest

from edgekit.core.digest import digest_file
from edgekit.core.errors import IntegrityError, InvalidInputError, UsageError
from edgekit.core.types import Precision
from edgekit.pipeline.lock import Choice, Lock
from edgekit.pipeline.output import OutputFolder, artifact_folder, read_manifest


def _fill(text, tool="edgekit"):
    def fill(folder):
        (folder / "a.txt").write_text(text)
        files = [{"name": "a.txt", "sha256": digest_file(folder / "a.txt")}]
        (folder / "manifest.json").write_text(json.dumps({"tool": {"name": tool}, "files": files}))

    return fill


def test_a_target_is_replaced_whole(tmp_path):
    out = OutputFolder(tmp_path / "out")
    out.replace("board", _fill("old"))
    out.replace("board", _fill("new"))
    assert (tmp_path / "out/board/a.txt").read_text() == "new"
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["board"]


def test_a_failure_keeps_the_old_folder(tmp_path):
    out = OutputFolder(tmp_path / "out")
    out.replace("board", _fill("old"))

    def fail(folder):
        (folder / "a.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        out.replace("board", fail)
    assert (tmp_path / "out/board/a.txt").read_text() == "old"
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["board"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    OutputFolder(tmp_path / "out").replace("board", _fill("old"))
    (tmp_path / "out/board").rename(tmp_path / "out/.edgekit-999999999-old-board")
    (tmp_path / "out/.edgekit-999999999-new-board").mkdir()
    OutputFolder(tmp_path / "out")
    assert (tmp_path / "out/board/a.txt").read_text() == "old"
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["board"]


def test_leftovers_with_our_own_number_are_cleared(tmp_path):
    """In a container every run may have the same process number."""
    out = tmp_path / "out"
    for name in (f".edgekit-{os.getpid()}-new-board", f".edgekit-{os.getpid()}-old-board"):
        (out / name).mkdir(parents=True)
    OutputFolder(out).replace("board", _fill("new"))
    assert [item.name for item in out.iterdir()] == ["board"]


def test_a_folder_that_is_not_ours_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        OutputFolder(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_with_another_tools_manifest_is_refused(tmp_path):
    (tmp_path / "board").mkdir()
    _fill("x", tool="other")(tmp_path / "board")
    with pytest.raises(UsageError, match="board"):
        OutputFolder(tmp_path)


def test_a_folder_that_can_not_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't be written"):
        OutputFolder(tmp_path / "file" / "out")


def test_a_folder_without_write_permission_is_refused():
    with pytest.raises(UsageError, match="can't be written"):
        OutputFolder(Path("/proc/edgekit-out"))


def test_a_changed_or_missing_file_breaks_integrity(tmp_path):
    home = OutputFolder(tmp_path / "out").replace("board", _fill("old"))
    assert read_manifest(home)["tool"]["name"] == "edgekit"
    (home / "a.txt").write_text("olD")
    with pytest.raises(IntegrityError, match=r"a\.txt"):
        read_manifest(home)
    (home / "a.txt").unlink()
    with pytest.raises(IntegrityError, match="missing"):
        read_manifest(home)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path):
    with pytest.raises(InvalidInputError, match="no artifact of edgekit"):
        artifact_folder(tmp_path)


def test_the_lock_remembers_and_refuses_what_it_did_not_write(tmp_path):
    lock = Lock({"board": Choice("digest", Precision.INT8, ({"precision": "int8", "ratio": 0.5},))})
    lock.save(tmp_path)
    assert Lock.load(tmp_path) == lock
    assert Lock.load(tmp_path / "elsewhere") == Lock()
    (tmp_path / "edgekit.lock").write_text('{"choices": []}')
    with pytest.raises(InvalidInputError, match="not a lock"):
        Lock.load(tmp_path)
