"""Training in int8: it wins back what few bits cost, and what was trained is what back ends make of it, to the step."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import TensorType

from edgekit.backends.base import CompileRequest, IntegerBackend
from edgekit.backends.onnxruntime import OnnxRuntimeBackend
from edgekit.backends.openvino import OpenVINOBackend
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core import events
from edgekit.core.types import INT4_TOP, Integers, Precision, QuantPlan, permutation
from edgekit.devices.bench import measure
from edgekit.formats.tflite import flatbuffer
from edgekit.ir.model import Model
from edgekit.ir.quantization import made_for, recorded_params
from edgekit.ir.run import probe
from edgekit.lowering.module import LoweredModule
from edgekit.passes.cluster.clustering import ClusterWeights, code_books
from edgekit.passes.contract import apply
from edgekit.passes.fuse import FUSION
from edgekit.passes.layer_weights import layer_weights
from edgekit.passes.quantize import Range, measure_ranges
from edgekit.passes.recover.fake_quantize import FakeQuantization
from edgekit.passes.recover.recovery import recover_model
from edgekit.passes.recover.samples import Array, Samples
from edgekit.passes.recover.settings import RecoverSettings
from edgekit.passes.sparsify.masks import masks
from edgekit.passes.sparsify.sparsify import Sparsify
from tests.passes.fuse.conftest import GraphBuilder
from tests.passes.recover.conftest import Digits

# Of weights that are −1, 0 or 1 times a scale, nothing works before training.
TERNARY = Integers(top=1, answers=True)
FAST = RecoverSettings(epochs=2, learning_rate=1e-3)
BACKENDS = (TFLiteBackend(), OpenVINOBackend(), OnnxRuntimeBackend())


def trained(digits: Digits, settings: RecoverSettings, folder: Path, model: Model | None = None) -> Any:
    train, selection = digits.train.unlabelled(), digits.selection.unlabelled()
    return recover_model(model or digits.dense, digits.dense, train, selection, settings=settings, workdir=folder)


def simulated(model: Model, integers: Integers, images: Array) -> Array:
    """What the training graph answers to images, rounding as an int8 form has it recorded."""
    module = LoweredModule(model)
    known = {name: Range(params.low, params.high) for name, params in recorded_params(model).items()}
    (spec,) = model.inputs
    fake = FakeQuantization(model, module.weights, measure_ranges(model, {spec.name: images}) | known, integers)
    laid = images.transpose(permutation(spec.layout, module.inputs[0].layout, images.ndim))
    result: Array = module.activations(laid, simulation=fake)[model.outputs[0].name].in_logical_order().numpy()
    return result


def answers(backend: IntegerBackend, model: Model, images: Array, folder: Path) -> Array:
    """What the artifact of an int8 form answers, all of it in int8, on its own runtime."""
    (spec,), samples = model.inputs, folder / "samples.npz"
    model.save(folder / "model.onnx")
    np.savez(samples, **{spec.name: images})  # type: ignore[arg-type]
    plan = QuantPlan(Precision.INT8)
    request = CompileRequest(folder / "model.onnx", QuantPlan(Precision.FP32), None, None, _new(folder / "float"))
    baseline = backend.compile(request)
    artifact = backend.compile(
        dataclasses.replace(request, plan=plan, baseline=baseline, calibration=samples, workdir=_new(folder / "int8"))
    )
    own = artifact.inputs[0]
    np.savez(samples, **{own.name: images.transpose(permutation(spec.layout, own.layout, images.ndim))})  # type: ignore[arg-type]
    measured, _ = measure(
        artifact.path, options=artifact.runtime_options, inputs=samples, outputs=folder / "answers.npz",
        runtime=backend.runtime, timing=False,
    )  # fmt: skip
    assert artifact.plan.precision is plan.precision  # no layer is excepted
    assert backend.prove(plan, measured[0].account).violations == ()
    (given,) = artifact.outputs or model.outputs
    with np.load(folder / "answers.npz") as archive:
        (found,) = archive.values()
    return np.asarray(found.transpose(permutation(given.layout, model.outputs[0].layout, found.ndim)))


def agree(promised: Array, found: Array) -> None:
    """Within two steps of the output, and the same class but for one in a hundred."""
    step = (promised.max() - promised.min()) / 255
    assert np.abs(found - promised).max() <= 2.1 * step
    assert (found.argmax(1) == promised.argmax(1)).mean() >= 0.99


def logits(digits: Digits) -> Digits:
    """The network without its softmax, whose steps can be seen."""
    model = digits.dense.clone()
    softmax = model.graph.outputs[0].producer()
    assert softmax is not None
    assert softmax.op_type == "Softmax"
    source = softmax.inputs[0]
    assert source is not None
    model.graph.outputs[0] = source
    model.graph.remove(softmax, safe=True)
    (name,) = digits.train.targets
    assert source.name != name
    return digits._replace(dense=model, train=digits.train.unlabelled(), selection=digits.selection.unlabelled())


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: str(backend.name))
def test_the_artifact_answers_as_the_training_graph_did(
    backend: IntegerBackend, digits: Digits, tmp_path: Path
) -> None:
    digits, integers = logits(digits), backend.integers(saturates=True)
    model, _ = trained(digits, dataclasses.replace(FAST, integers=integers), tmp_path)
    images = next(iter(digits.selection.inputs.values()))
    agree(simulated(model, integers, images), answers(backend, model, images, tmp_path))


def test_litert_has_weights_of_four_bits(digits: Digits, tmp_path: Path) -> None:
    digits, backend, images = logits(digits), TFLiteBackend(), next(iter(digits.selection.inputs.values()))
    files = {}
    for top in (127, INT4_TOP):
        folder = _new(tmp_path / str(top))
        integers = dataclasses.replace(backend.integers(saturates=False), top=top)
        model, _ = trained(digits, dataclasses.replace(FAST, integers=integers), folder)
        agree(simulated(model, integers, images), answers(backend, model, images, folder))
        files[top] = flatbuffer.read((folder / "int8" / "model.tflite").read_bytes())
    graph = files[INT4_TOP].subgraphs[0]
    assert sum(tensor.type == TensorType.INT4 for tensor in graph.tensors) == len(layer_weights(digits.dense))
    assert len(flatbuffer.write(files[INT4_TOP])) < 0.7 * len(flatbuffer.write(files[127]))
    (measurement,), _ = measure(tmp_path / str(INT4_TOP) / "int8" / "model.tflite", timing=False)
    proof = backend.prove(QuantPlan(Precision.INT8), measurement.account)
    assert (proof.storage, proof.compute, proof.violations) == ("int4 + int8", "int8", ())
    narrow = sum((weights.content.size + 1) // 2 for weights in layer_weights(digits.dense))
    assert dict(measurement.account.weights)["int4"] == narrow


def test_litert_gives_an_average_pool_the_scale_of_its_input(tmp_path: Path) -> None:
    b = GraphBuilder()
    made = b.op("Relu", b.op("Conv", "x", b.normal(4, 3, 3, 3), b.normal(4), pads=[1, 1, 1, 1]))
    pooled = b.op("AveragePool", made, kernel_shape=[4, 4], strides=[4, 4])
    model = b.model(b.op("Conv", pooled, b.normal(4, 4, 1, 1)))
    feeds, backend = probe(model, 0, 32), TFLiteBackend()
    integers, samples = backend.integers(saturates=False), Samples(feeds)
    settings = RecoverSettings(epochs=1, learning_rate=1e-6, integers=integers, augment=())
    trained, _ = recover_model(model, model, samples, samples, settings=settings, workdir=tmp_path)
    params = recorded_params(trained)
    (pool,) = [node for node in trained.graph if node.op_type == "AveragePool"]
    source, result = (str(value.name) for value in (pool.inputs[0], pool.outputs[0]) if value is not None)
    assert params[source] == params[result]
    agree(simulated(trained, integers, feeds["x"]), answers(backend, trained, feeds["x"], tmp_path))


def test_training_wins_back_what_few_bits_cost(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, epochs=3, integers=TERNARY)
    model, curve = trained(digits, settings, tmp_path)
    assert curve.before < 50
    assert curve.after > 90
    assert digits.top1(model) > 90
    assert made_for(model) == 1
    for layer in layer_weights(model):
        by_channel = np.moveaxis(layer.content, layer.made, 0)
        assert all(len(np.unique(np.abs(channel))) <= 2 for channel in by_channel)
    images = next(iter(digits.selection.inputs.values()))
    wanted = simulated(digits.dense, Integers(), images).argmax(1)
    assert 100 * (simulated(model, TERNARY, images).argmax(1) == wanted).mean() == pytest.approx(curve.after, abs=1)


def test_a_training_in_int8_that_was_killed_ends_with_the_same_bytes(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, integers=TERNARY)
    whole, _ = trained(digits, settings, _new(tmp_path / "whole"))

    def kill(event: events.Event) -> None:
        if "epoch 2 of 2" in event.text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), events.listening(kill):
        trained(digits, settings, _new(tmp_path / "killed"))
    again, curve = trained(digits, settings, tmp_path / "killed")
    assert [epoch.number for epoch in curve.epochs] == [1, 2]
    assert again.digest == whole.digest


def test_where_nothing_is_gained_it_is_int8_untrained(digits: Digits, tmp_path: Path) -> None:
    settings = RecoverSettings(epochs=1, learning_rate=10.0, integers=Integers(answers=True))
    model, curve = trained(digits, settings, tmp_path)
    assert curve.best == 0
    assert digits.top1(model) > 98
    assert recorded_params(model).keys() >= {spec.name for spec in model.inputs}
    fused, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    for before, after in zip(layer_weights(fused), layer_weights(model), strict=True):
        assert np.abs(after.content - before.content).max() <= np.abs(before.content).max() / 254


def test_symmetric_scales_have_their_zero_in_the_middle_or_at_the_end(digits: Digits, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, epochs=1, integers=Integers(top=63, symmetric=True))
    model, _ = trained(digits, settings, tmp_path)
    assert {params.zero_point for params in recorded_params(model).values()} <= {-128, 0}


def test_zeros_and_code_books_outlast_it(digits: Digits, tmp_path: Path) -> None:
    fused, _ = apply(digits.dense, FUSION, 0, until_stable=True)
    thin, _ = apply(fused, [Sparsify(0.5), ClusterWeights(16)], 0)
    settings = dataclasses.replace(FAST, epochs=1, integers=Integers(), thinned=True)
    model, _ = trained(digits, settings, tmp_path, thin)
    before, after = masks(thin), masks(model)
    assert before.keys() == after.keys()
    assert all((mask <= before[name]).all() for name, mask in after.items())
    assert all(book.centres.size <= 16 for book in code_books(model).values())
    assert len(code_books(model)) == len(code_books(thin))


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
