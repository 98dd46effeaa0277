"""The store: made once, damaged entries made again, killed or failed work leaves nothing."""

import pytest

from edgekit.core import events
from edgekit.pipeline.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def _work(calls):
    def work(folder):
        calls.append(1)
        (folder / "sub").mkdir()
        (folder / "sub" / "a.bin").write_bytes(b"content")
        return {"answer": len(calls)}

    return work


def test_the_same_inputs_are_worked_once(store):
    calls: list[int] = []
    first = store.make("s", "t", {"x": 1}, _work(calls))
    second = store.make("s", "t", {"x": 1}, _work(calls))
    assert len(calls) == 1
    assert second == first
    assert second.file("sub/a.bin").read_bytes() == b"content"


@pytest.mark.parametrize("other", [("s", {"x": 2}), ("r", {"x": 1})])
def test_other_inputs_and_other_stages_are_other_entries(store, other):
    calls: list[int] = []
    store.make("s", "t", {"x": 1}, _work(calls))
    store.make(other[0], "t", other[1], _work(calls))
    assert len(calls) == 2


def test_a_damaged_entry_is_made_again(store):
    calls: list[int] = []
    entry = store.make("s", "t", {}, _work(calls))
    entry.file("sub/a.bin").write_bytes(b"contenT")
    again = store.make("s", "t", {}, _work(calls))
    assert len(calls) == 2
    assert again.file("sub/a.bin").read_bytes() == b"content"


def test_an_entry_that_another_build_made_meanwhile_stays(store):
    """It may be reading it."""
    calls: list[int] = []

    def slow(folder):
        store.make("s", "t", {}, _work(calls))
        return _work(calls)(folder)

    entry = store.make("s", "t", {}, slow)
    assert (entry.value, len(calls)) == ({"answer": 1}, 2)
    assert not list((store.root / "tmp").iterdir())


def test_failed_work_leaves_nothing(store):
    def work(folder):
        (folder / "half").write_text("")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.make("s", "t", {}, work)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_sweep_removes_what_a_killed_build_left_and_nothing_else(store):
    calls: list[int] = []
    store.make("s", "t", {}, _work(calls))
    dead = store.root / "tmp" / "999999999-abc"
    dead.mkdir(parents=True)
    store.sweep()
    assert not dead.exists()
    store.make("s", "t", {}, _work(calls))
    assert len(calls) == 1


def test_events_say_what_came_from_the_store(store):
    heard: list[events.Event] = []
    with events.listening(heard.append):
        store.make("s", "title", {}, _work([]))
        store.make("s", "title", {}, _work([]))
    assert [(e.kind, e.cached) for e in heard] == [("stage", False), ("done", False), ("stage", False), ("done", True)]
