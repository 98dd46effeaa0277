"""Sequences: what data a model with state takes, and what becomes of a run over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InvalidInputError
from edgekit.core.plain import to_json
from edgekit.core.types import TensorSpec
from edgekit.data.materialise import materialise, synthesise
from edgekit.data.opening import open_source
from edgekit.data.sequences import from_sequences
from edgekit.data.source import Request, Source
from edgekit.data.unroll import excerpt, judged, single_steps

X, H = TensorSpec("x", (None, 3)), TensorSpec("h", (None, 2))
LAYERS = TensorSpec("h", (2, 1, 4))
SCORES = (TensorSpec("y", (None, 5)),)
STATES = (("h", "h_out"),)


def source(arrays: dict[str, Any], inputs: tuple[TensorSpec, ...] = (X, H), **kwargs: Any) -> Source:
    arrays = {key: np.asarray(values) for key, values in arrays.items()}
    return from_sequences(arrays, Request(inputs, SCORES, states=("h",), **kwargs), name="data")


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_sample_is_a_sequence_with_the_state_that_it_starts_from() -> None:
    found = source({"x": numbers(4, 7, 3)})
    assert (len(found), found.steps, found.ids[1]) == (4, 7, "sequence 1")
    sample = found.read(2)
    assert list(sample) == ["x", "h"]
    np.testing.assert_array_equal(sample["x"], numbers(4, 7, 3)[2])
    np.testing.assert_array_equal(sample["h"], np.zeros(2))


def test_the_data_may_say_what_the_sequences_start_from() -> None:
    np.testing.assert_array_equal(source({"x": numbers(4, 7, 3), "h": numbers(4, 2)}).read(3)["h"], [6, 7])
    # PyTorch has the layers of a state in front, and no batch there: it comes whole.
    layered = source({"x": numbers(4, 7, 3), "h": numbers(4, 2, 1, 4)}, (X, LAYERS))
    np.testing.assert_array_equal(layered.read(1)["h"], numbers(4, 2, 1, 4)[1])
    assert source({"x": numbers(4, 7, 3)}, (X, LAYERS)).read(0)["h"].shape == (2, 1, 4)


def test_axes_of_one_may_be_missing_from_a_step() -> None:
    step = TensorSpec("x", (1, 1, 3))
    assert source({"x": numbers(4, 7, 3)}, (step, H)).read(0)["x"].shape == (7, 1, 3)
    assert source({"x": numbers(4, 7)}, (TensorSpec("x", (None, 1)), H)).read(0)["x"].shape == (7, 1)


@pytest.mark.parametrize(
    ("arrays", "inputs", "told"),
    [
        ({"x": numbers(40, 3)}, (X, H), r"'x' has shape \(40, 3\); .* takes sequences, \(sequences, steps, 3\)"),
        ({"x": numbers(40)}, (TensorSpec("x", (None, 1)), H), r"takes sequences, \(sequences, steps, 1\)"),
        # Could as well be single samples.
        ({"x": numbers(40, 1, 3)}, (TensorSpec("x", (1, 1, 3)), H), "takes sequences"),
        ({"x": numbers(40, 1)}, (TensorSpec("x", (None, 1)), H), "takes sequences"),
        ({"x": 3.0}, (X, H), r"'x' has shape \(\)"),
        ({"x": numbers(4, 0, 3)}, (X, H), "sequences of no steps"),
        ({"x": numbers(0, 4, 3)}, (X, H), "holds no sequences"),
        ({"x": numbers(4, 7, 5)}, (X, H), r"samples for 'x' have shape \(5,\), the model wants \(3,\)"),
        ({"z": numbers(4, 7, 3)}, (X, H), "lacks the key 'x': it holds 'z'"),
        ({"x": np.full((4, 7, 3), np.nan)}, (X, H), "sequence 0, step 0 of 'x' holds NaN"),
        ({"x": [[["a"] * 3]]}, (X, H), "instead of numbers"),
        ({"x": numbers(4, 7, 3), "h": numbers(4, 7, 2)}, (X, H), r"initial state 'h' .* shape \(4, 2\)"),
        ({"x": numbers(4, 7, 3), "h": np.full((4, 2), np.inf)}, (X, H), "initial state 'h'"),
        ({"x": numbers(4, 7, 3), "y": numbers(4, 3)}, (X, H), "y has shape"),
        ({"x": numbers(4, 7, 3), "y": np.zeros(9)}, (X, H), "y has 9 entries for 4 samples"),
        ({"x": numbers(4, 7, 3), "z": numbers(4, 6, 3)}, (X, TensorSpec("z", (None, 3)), H), "x 4 × 7, z 4 × 6"),
        ({"x": numbers(4, 7, 3)}, (X, TensorSpec("z", (None, 3)), H), "lacks the key 'z'"),
    ],
)
def test_what_is_no_sequence_is_refused(arrays: dict[str, Any], inputs: tuple[TensorSpec, ...], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told) as caught:
        source(arrays, inputs).read(0)
    assert caught.value.blame == "your data"
    assert caught.value.remedy


def test_a_plain_array_is_told_how_to_get_its_axis() -> None:
    with pytest.raises(InvalidInputError) as caught:
        source({"x": numbers(40, 3)})
    for code in ("x[None]", "x.reshape(-1, 50, 3)", "x[:, None]"):
        assert code in caught.value.remedy
        assert source({"x": eval(code, {"x": numbers(100, 3)})}).steps in {100, 50, 1}


def test_images_and_tables_are_no_sequences(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("1,2,3\n")
    with pytest.raises(InvalidInputError, match="takes sequences"):
        open_source(str(table), Request((X, H), SCORES, states=("h",)))


def test_targets_are_for_each_step_or_for_each_sequence() -> None:
    labels = np.arange(28).reshape(4, 7) % 5
    stepwise = source({"x": numbers(4, 7, 3), "y": labels})
    np.testing.assert_array_equal(stepwise.targets["y"], labels.ravel())
    np.testing.assert_array_equal(stepwise.targets_of(np.array([1, 3]))["y"], labels[[1, 3]].ravel())
    assert stepwise.classes is None
    whole = source({"x": numbers(4, 7, 3), "y": [0, 1, 2, 1]})
    np.testing.assert_array_equal(whole.classes, [0, 1, 2, 1])
    np.testing.assert_array_equal(whole.targets_of(np.array([2]))["y"], [2])
    values = source({"x": numbers(4, 7, 3), "y_y": numbers(4, 7, 5) / 3})
    assert values.targets["y"].shape == (28, 5)
    assert source({"x": numbers(4, 7, 3), "y": labels}, labelled=False).targets == {}


def test_targets_of_both_kinds_are_refused() -> None:
    outputs = (*SCORES, TensorSpec("z", (None, 5)))
    arrays = {"x": numbers(4, 7, 3), "y_y": np.zeros((4, 7)), "y_z": np.array([0, 1, 2, 3])}
    with pytest.raises(InvalidInputError, match="'y_y' has an entry for each step, 'y_z' one for each sequence"):
        from_sequences(arrays, Request((X, H), outputs, states=("h",)), name="data")


def test_splits_part_sequences_and_keep_each_whole(tmp_path: Path) -> None:
    x = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], (20, 7, 3))
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(140).reshape(20, 7) % 5)
    answer = materialise(
        out=str(tmp_path),
        data=str(tmp_path / "data.npz"),
        inputs=[to_json(X), to_json(H)],
        outputs=[to_json(SCORES[0])],
        states=["h"],
    )
    seen = []
    for name, split in answer["splits"].items():
        with np.load(tmp_path / f"{name}.npz") as arrays, np.load(tmp_path / f"{name}.labels.npz") as labels:
            assert (arrays["x"].shape, arrays["h"].shape) == ((split["n"], 7, 3), (split["n"], 2))
            assert split["steps"] == 7
            owners = arrays["x"][:, 0, 0].astype(int)
            assert (arrays["x"] == owners[:, None, None]).all()
            np.testing.assert_array_equal(labels["y"], (owners[:, None] * 7 + np.arange(7)).ravel() % 5)
            seen += owners.tolist()
    assert sorted(seen) == list(range(20))
    assert json.loads((tmp_path / "splits.json").read_text())["report"][0].startswith("sequence ")


def test_synthetic_samples_are_sequences_from_zeros(tmp_path: Path) -> None:
    synthesise(out=str(tmp_path), inputs=[to_json(X), to_json(LAYERS)], states=["h"])
    with np.load(tmp_path / "calibration.npz") as arrays:
        assert arrays["x"].shape == (8, 8, 3)
        np.testing.assert_array_equal(arrays["h"], np.zeros((8, 2, 1, 4)))


# A run, taken apart


def _run(x: np.ndarray[Any, Any], h: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The cell h' = h / 2 + sum of x, y = 3 h', over sequences."""
    outputs = []
    for step in range(x.shape[1]):
        h = h / 2 + x[:, step].sum(axis=-1, keepdims=True)
        outputs.append(h)
    states = np.stack(outputs, axis=1)
    return {"y": 3 * states, "h_out": states}


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 40), st.integers(0, 9))
def test_each_single_step_stands_for_itself(sequences: int, steps: int, most: int, seed: int) -> None:
    """Fed with the state that the sequence had there, a step alone gives the answer that the sequence gave."""
    random = np.random.default_rng(seed)
    samples = {"x": random.normal(size=(sequences, steps, 3)), "h": random.normal(size=(sequences, 2))}
    answers = _run(**samples)
    single = single_steps(samples, answers, STATES, most=most, seed=seed)
    assert len(single["x"]) == len(single["h"]) == min(most, sequences * steps)
    alone = _run(single["x"][:, None], single["h"])["y"][:, 0]
    rows = [int(np.flatnonzero((samples["x"].reshape(-1, 3) == row).all(axis=1))[0]) for row in single["x"]]
    np.testing.assert_allclose(alone, answers["y"].reshape(-1, 2)[rows])
    assert rows == sorted(set(rows))


def test_metrics_see_every_step_or_the_last_where_targets_are_for_sequences() -> None:
    answers = {"y": numbers(4, 7, 5)}
    assert judged(answers, {"y": np.zeros(28)}, STATES)["y"].shape == (28, 5)
    assert judged(answers, None, STATES)["y"].shape == (28, 5)
    np.testing.assert_array_equal(judged(answers, {"y": np.zeros(4)}, STATES)["y"], numbers(4, 7, 5)[:, -1])
    assert judged(answers, {"y": np.zeros(4)}, ())["y"].shape == (4, 7, 5)


def test_an_excerpt_is_the_beginning_of_the_first_sequences() -> None:
    samples = {"x": numbers(4, 7, 3), "h": numbers(4, 2)}
    few = excerpt(samples, STATES, most=2, steps=5)
    assert (few["x"].shape, few["h"].shape) == ((2, 5, 3), (2, 2))
    assert excerpt({"x": numbers(40, 7)}, (), most=8, steps=5)["x"].shape == (8, 7)
