"""A back end from another package: the one in docs/writing-a-backend.md works as it stands; broken ones are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BUILD = ("build", _ROOT / "models/digits-cnn/digits-cnn.onnx", "-t", "intel-cpu", "--backend", "onnx")
_DATA = ("--train-data", _ROOT / "models/digits-cnn/train.npz", "--eval-data", _ROOT / "models/digits-cnn/eval.npz")


def test_the_back_end_in_the_docs_builds_a_proven_artifact(plugin):
    text = (_ROOT / "docs" / "writing-a-backend.md").read_text()
    source = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    done = plugin(source, *_BUILD, *_DATA, "--json")
    assert done.returncode == 0, done.stderr
    target = json.loads(done.stdout)["targets"][0]
    assert (target["backend"], target["precision"], target["passed"]) == ("onnx", "fp32", True)


_CRASHES_IN_INT8 = """
import os, signal
from edgekit.backends.openvino import OpenVINOBackend

class OnnxBackend(OpenVINOBackend):
    name = "onnx"

    def compile(self, request):
        if request.plan.default == "int8":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().compile(request)
"""


def test_auto_goes_on_without_a_precision_whose_compiler_crashes_and_says_so(plugin):
    done = plugin(_CRASHES_IN_INT8, *_BUILD, *_DATA, "--json")
    assert done.returncode == 0, done.stderr
    target = json.loads(done.stdout)["targets"][0]
    assert target["precision"] in {"fp16", "fp32"}
    assert "SIGSEGV" in target["candidates"][0]["error"]
    assert "int8 is out" in done.stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("class OnnxBackend:\n    name = 'onnx'\n", "not a Backend"),
        ("from edgekit.backends.openvino import OpenVINOBackend as OnnxBackend", "calls itself 'openvino'"),
        ("def OnnxBackend():\n    raise RuntimeError('no licence')\n", "no licence"),
    ],
)
def test_a_broken_plugin_fails_loudly_and_is_named(plugin, source, words):
    done = plugin(source, *_BUILD, *_DATA)
    assert done.returncode == 10
    assert words in done.stderr
    assert "my-package" in done.stderr
    assert "Traceback" not in done.stderr
