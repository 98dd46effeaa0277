"""The vocabulary crosses process boundaries as JSON and comes back equal."""

import json
from pathlib import Path

import pytest

from edgekit.core.errors import EdgekitError, UnsupportedOpError, from_dict
from edgekit.core.evidence import Account, EvidenceKind, Measurement, OpAccount, Timing
from edgekit.core.plain import from_json, to_json
from edgekit.core.types import Artifact, Layout, Precision, QuantPlan, TensorSpec, permutation

_ARTIFACT = Artifact(
    backend="tflite",
    files=(Path("a/model.tflite"),),
    digest="00",
    plan=QuantPlan(Precision.INT8, (("head", Precision.FP32),)),
    runtime_options=(("k", "v"),),
    inputs=(TensorSpec("x", (1, 8, 8, 1), "float32", Layout.NHWC),),
)
_MEASUREMENT = Measurement(
    kind=EvidenceKind.MEASURED,
    where="here",
    runtime="r 1",
    threads=1,
    timing=Timing(1.0, 2.0, 3.0, 0.5, 0.9, 4.0, 5.0, 100),
    ratio=None,
    ratio_wall_min=0.5,
    peak_bytes=7,
    account=Account((("int8", 3),), (OpAccount("CONV_2D", "int8", 2),)),
)


@pytest.mark.parametrize("value", [_ARTIFACT, _MEASUREMENT, TensorSpec("x", (None, 3))])
def test_values_survive_json(value):
    assert from_json(type(value), json.loads(json.dumps(to_json(value)))) == value


def test_errors_survive_json_with_class_and_exit_code():
    error = UnsupportedOpError("layer a: op B", blame="your model", remedy="remove it")
    again = from_dict(json.loads(json.dumps(error.to_dict())))
    assert type(again) is UnsupportedOpError
    assert (again.exit_code, str(again), again.remedy) == (3, "layer a: op B", "remove it")


def test_every_exit_code_belongs_to_one_error():
    codes = [cls.exit_code for cls in EdgekitError.__subclasses__()]
    assert sorted(codes) == sorted(set(codes))


def test_permutation_brings_one_layout_to_another():
    assert permutation(Layout.NCHW, Layout.NHWC, 4) == (0, 2, 3, 1)
    assert permutation(Layout.ND, Layout.ND, 3) == (0, 1, 2)
    # The images of a sequence have one axis more.
    assert permutation(Layout.NCHW, Layout.NHWC, 5) == (0, 1, 3, 4, 2)
    with pytest.raises(ValueError, match="can't be ordered"):
        permutation(Layout.NC, Layout.NHWC, 4)


def test_batch_is_filled_in():
    assert TensorSpec("x", (None, 3, 4)).with_batch(2) == (2, 3, 4)
