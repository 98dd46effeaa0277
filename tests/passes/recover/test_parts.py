"""The parts of a recovery: what is trained, on which samples, at which rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgekit.core.types import Layout, TensorSpec
from edgekit.ir.run import max_relative, run
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.recover.augment import augmented, flip, mixup, shift
from edgekit.passes.recover.batch_norm import InsertBatchNorm, has_batch_norm
from edgekit.passes.recover.checkpoint import Checkpoint, read, write
from edgekit.passes.recover.feeding import Feed
from edgekit.passes.recover.heads import heads
from edgekit.passes.recover.optimizing import learning_rate
from edgekit.passes.recover.planning import default_epochs, make_plan
from edgekit.passes.recover.range_test import find_learning_rate
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.settings import Augment, Epoch, Optimizer, RecoverSettings, Schedule
from edgekit.passes.recover.training import trained
from tests.lowering.conftest import make_model
from tests.passes.recover.conftest import Digits


def test_batch_norm_put_back_changes_no_answer(digits: Digits) -> None:
    folded, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    assert not has_batch_norm(folded)
    feeds = digits.train.take(slice(0, 128)).feeds(folded.inputs)
    again, (record,) = apply(folded, [InsertBatchNorm(feeds)], 0)
    assert record.fired == 4
    assert has_batch_norm(again)
    assert max_relative(run(again, feeds), run(folded, feeds)) < 1e-5
    for node in (node for node in again.graph if node.op_type == "Conv"):
        kernel = again.graph.initializers[str(node.inputs[1] and node.inputs[1].name)].const_value
        assert kernel is not None
        np.testing.assert_allclose(np.square(kernel.numpy()).sum((1, 2, 3)), 2, rtol=1e-5)


def test_the_logits_are_what_goes_into_the_softmax(digits: Digits) -> None:
    (head,) = heads(digits.dense, {})
    softmax = digits.dense.graph.outputs[0].producer()
    assert softmax is not None
    assert softmax.inputs[0] is not None
    assert (head.kind, head.logits) == ("softmax", softmax.inputs[0].name)


def test_only_what_was_learnt_is_trained(digits: Digits) -> None:
    from edgekit.lowering.module import LoweredModule

    module = LoweredModule(digits.dense)
    names = trained(digits.dense, module)
    norms = [node for node in digits.dense.graph if node.op_type == "BatchNormalization"]
    for norm in norms:
        scale, bias, mean, variance = (str(value and value.name) for value in norm.inputs[1:])
        assert {scale, bias} <= set(names)
        assert not {mean, variance} & set(names)
    assert len(names) == len(module.weights) - 2 * len(norms)


def test_augmented_images_keep_their_type_shape_and_pixels() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (32, 16, 16, 3), np.uint8)
    spec = TensorSpec("x", (None, 16, 16, 3), layout=Layout.NHWC)
    changes = (Augment.FLIP, Augment.SHIFT, Augment.CROP, Augment.NOISE)
    (changed,) = augmented({"x": images}, [spec], changes, random).values()
    assert (changed.dtype, changed.shape) == (images.dtype, images.shape)
    flipped = flip(images, random)
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (flipped == images).all((1, 2, 3))).all()
    assert 4 < mirrored.sum() < 28
    moved = shift(images, random)
    assert all(np.isin(moved[i], images[i]).all() for i in range(len(images)))
    first = spec.__class__("x", (None, 3, 16, 16), layout=Layout.NCHW)
    turned = images.transpose(0, 3, 1, 2)
    same = augmented({"x": turned}, [first], (Augment.SHIFT,), np.random.default_rng(1))["x"]
    straight = augmented({"x": images}, [spec], (Augment.SHIFT,), np.random.default_rng(1))["x"]
    np.testing.assert_array_equal(same.transpose(0, 2, 3, 1), straight)
    _, mixed = mixup({"x": images}, {"y": np.eye(32, dtype=np.float32)}, random)
    np.testing.assert_allclose(mixed["y"].sum(1), 1, rtol=1e-5)


def test_an_epoch_has_each_sample_once_and_repeats() -> None:
    samples = Samples({"x": np.arange(40, dtype=np.float32)[:, None]})
    feed = Feed(samples, (TensorSpec("x", (None, 1)),), 10, (), 3, {})
    rows = [np.concatenate([inputs[0] for inputs, _, _ in feed.epoch(number, 4)]).ravel() for number in (1, 1, 2)]
    assert sorted(rows[0]) == sorted(rows[2]) == list(range(40))
    assert (rows[0] == rows[1]).all()
    assert (rows[0] != rows[2]).any()


def test_learning_rates_over_time() -> None:
    def rates(schedule: Schedule, curve: tuple[Epoch, ...] = ()) -> list[float]:
        settings = RecoverSettings(schedule=schedule, warmup=0.1)
        return [learning_rate(settings, 1.0, step, 100, curve) for step in range(100)]

    assert rates(Schedule.CONSTANT)[:10] == pytest.approx(np.arange(1, 11) / 10)
    cosine = rates(Schedule.COSINE)
    assert cosine[10] == 1.0
    assert cosine[-1] < 0.02
    assert all(np.diff(cosine[10:]) < 0)
    worse = tuple(Epoch(number, 1.0, 1.0, 0.0, 1.0, 1.0) for number in range(1, 8))
    assert rates(Schedule.PLATEAU, worse)[-1] == 0.25


def test_the_range_test_takes_the_rate_that_ends_best() -> None:
    def trial(rates: list[float]) -> list[float]:
        return [(np.log10(rates[0]) + 2.5) ** 2 if rate < rates[0] / 2 else -1.0 for rate in rates]

    assert find_learning_rate(Optimizer.ADAM, trial, 40) == pytest.approx(3e-3)
    assert find_learning_rate(Optimizer.SGD, lambda rates: [np.nan for _ in rates], 40) == pytest.approx(9e-3)


@pytest.mark.parametrize(
    ("count", "wide", "tried"), [(500, 64, 40), (16_000, 64, 83), (64_000, 64, 100), (64_000, 8192, 69)]
)
def test_a_rate_is_tried_longer_where_there_is_more_to_see_and_it_is_cheap(count: int, wide: int, tried: int) -> None:
    weights = {"w": np.zeros((8192, wide), np.float32)}
    student = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 8192]}, weights, ["y"])
    train = Samples({"x": np.broadcast_to(np.float32(0), (count, 8192))})
    assert make_plan(student, train, RecoverSettings()).tried == tried


@pytest.mark.parametrize(
    ("targets", "share"),
    [({}, 0), ({"y": np.arange(64) % 4}, 0.25), ({"y": np.zeros((64, 4), np.float32)}, 0.5)],
    ids=["no labels", "classes", "values"],
)
def test_the_share_of_the_labels_follows_from_what_they_are(targets: dict[str, Array], share: float) -> None:
    weights = {"w": np.zeros((8, 4), np.float32)}
    student = make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 8]}, weights, ["y"])
    train = Samples({"x": np.zeros((64, 8), np.float32)}, targets)
    assert make_plan(student, train, RecoverSettings()).label_share == share
    assert make_plan(student, train, RecoverSettings(label_share=0.7)).label_share == (0.7 if targets else 0)


def test_few_samples_are_seen_more_often() -> None:
    assert [default_epochs(count, 1.0) for count in (1000, 18_000, 10_000_000)] == [100, 50, 5]
    assert default_epochs(18_000, 0.5) == 25


def test_a_damaged_or_foreign_checkpoint_is_none(tmp_path: Path) -> None:
    state = Checkpoint("key", {"epoch": 3}, {"w": np.arange(5.0)})
    write(tmp_path, state)
    found = read(tmp_path, "key")
    assert found is not None
    assert found.about == {"epoch": 3}
    np.testing.assert_array_equal(found.arrays["w"], np.arange(5.0))
    assert read(tmp_path, "another") is None
    path = tmp_path / "checkpoint"
    path.write_bytes(path.read_bytes()[:-1])
    assert read(tmp_path, "key") is None


def test_samples_are_stored_as_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), np.uint8)
    affine = {"x": (np.full(3, 2, np.float32), np.full(3, -1, np.float32))}
    samples = Samples({"x": pixels}, {"y": np.arange(7)}, affine)
    samples.save(tmp_path)
    again = Samples.open(tmp_path)
    assert again.digest == samples.digest
    assert again.inputs["x"].dtype == np.uint8
    (fed,) = again.feeds((TensorSpec("x", (None, 4, 4, 3), layout=Layout.NHWC),)).values()
    np.testing.assert_array_equal(fed, pixels * np.float32(2) - 1)
