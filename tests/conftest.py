"""What every test shares: a store of its own, the command line, and the way to the acceptance data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import helper, numpy_helper

# Tests import ONNX Runtime by itself too, and it reports home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# How long an example takes says more about the machine than about the code.
settings.register_profile("edgekit", deadline=None)
settings.load_profile("edgekit")


# What the tests were started with.
_USER = dict(os.environ)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes begin first, lest one worker is at them when the others have nothing left to do."""
    sizes = Counter(item.path for item in items)

    def order(item: pytest.Item) -> tuple[bool, int]:
        is_long = "acceptance" in item.path.parts or item.get_closest_marker("long") is not None
        return not is_long, -sizes[item.path]

    items.sort(key=order)


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or fills the user's store; the workers of a run share one."""
    home = tmp_path_factory.getbasetemp()
    os.environ["EDGEKIT_CACHE"] = str((home.parent if "PYTEST_XDIST_WORKER" in os.environ else home) / "store")


@pytest.fixture(scope="session")
def _arm_sysroot() -> Path:
    """Where the emulated ARM boards are, the user's own; they are made first if need be."""
    script = Path(__file__).parents[1] / "scripts" / "arm-sysroot"
    subprocess.run([script], env=_USER, check=True)
    found = subprocess.run([script, "--find", "aarch64"], env=_USER, check=True, stdout=subprocess.PIPE, text=True)
    return Path(found.stdout.splitlines()[0].partition("=")[2]).parents[1]


@pytest.fixture(scope="module")
def emulated_arm(_arm_sysroot: Path) -> Iterator[None]:
    """The devices qemu://… work in this module; elsewhere they don't, lest all builds for a Raspberry Pi run there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_ARM_SYSROOT", str(_arm_sysroot))
        yield


@pytest.fixture
def edgekit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit code, stdout, stderr)."""
    from edgekit.cli import main

    # A terminal's width in the environment would wrap the tables that tests read.
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgekit", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def stream() -> Callable[..., onnx.ModelProto]:
    """Makes one step of a streaming network: 6 features in, 3 scores out, and state of 16.

    "lstm" and "gru" are cells of dense layers with an open batch and the states h → h_out and c → c_out; "LSTM" and
    "GRU" are ONNX's own operators, for a batch of 1, in `layers` of them, with h0 → hn and c0 → cn.
    """
    return _stream


def _stream(kind: str, layers: int = 1) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights: dict[str, Any] = {}

    def weight(name: str, *shape: int) -> str:
        weights[name] = (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        return name

    shapes: tuple[dict[str, list[Any]], dict[str, list[Any]]]
    names = ("h", "c") if kind.lower() == "lstm" else ("h",)
    if kind.isupper():
        nodes = _operators(kind, layers, names, weight)
        weights |= {f"at{layer}": np.array([layer]) for layer in range(layers + 1)} | {"second": np.array([1])}
        shapes = {"x": [1, 1, 6]}, {"y": [1, 1, 3]}
        ends = {f"{name}0": f"{name}n" for name in names}
        size: list[Any] = [layers, 1, 16]
    else:
        nodes = _cell(kind, weight)
        weights["one"] = np.float32(1)
        shapes = {"x": ["n", 6]}, {"y": ["n", 3]}
        ends = {name: f"{name}_out" for name in names}
        size = ["n", 16]
    nodes.append(helper.make_node("MatMul", ["last", weight("w", 16, 3)], ["y"], name="head"))

    def infos(named: dict[str, list[Any]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in named.items()]

    graph = helper.make_graph(
        nodes,
        kind,
        infos(shapes[0] | dict.fromkeys(ends, size)),
        infos(shapes[1] | dict.fromkeys(ends.values(), size)),
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _cell(kind: str, weight: Callable[..., str]) -> list[onnx.NodeProto]:
    node = helper.make_node

    def gate(name: str, activation: str, h: str = "h") -> list[onnx.NodeProto]:
        return [
            node("Concat", ["x", h], [f"{name}.in"], axis=1, name=f"{name}/concat"),
            node(
                "Gemm", [f"{name}.in", weight(f"{name}.w", 22, 16), weight(f"{name}.b", 16)], [f"{name}.sum"], name=name
            ),
            node(activation, [f"{name}.sum"], [name], name=f"{name}/{activation}"),
        ]

    if kind == "gru":
        return [
            *gate("z", "Sigmoid"),
            *gate("r", "Sigmoid"),
            node("Mul", ["r", "h"], ["rh"]),
            *gate("new", "Tanh", "rh"),
            node("Sub", ["one", "z"], ["rest"]),
            node("Mul", ["rest", "new"], ["taken"]),
            node("Mul", ["z", "h"], ["kept"]),
            node("Add", ["taken", "kept"], ["h_out"]),
            node("Identity", ["h_out"], ["last"]),
        ]
    return [
        *(each for name in "ifo" for each in gate(name, "Sigmoid")),
        *gate("g", "Tanh"),
        node("Mul", ["f", "c"], ["kept"]),
        node("Mul", ["i", "g"], ["taken"]),
        node("Add", ["kept", "taken"], ["c_out"]),
        node("Tanh", ["c_out"], ["shown"]),
        node("Mul", ["o", "shown"], ["h_out"]),
        node("Identity", ["h_out"], ["last"]),
    ]


def _operators(kind: str, layers: int, names: tuple[str, ...], weight: Callable[..., str]) -> list[onnx.NodeProto]:
    node, rows = helper.make_node, {"LSTM": 64, "GRU": 48}[kind]
    nodes = []
    for layer in range(layers):
        last = layer == layers - 1
        nodes += [
            node("Slice", [f"{name}0", f"at{layer}", f"at{layer + 1}", "at0"], [f"{name}.{layer}"]) for name in names
        ]
        recurrent = [
            weight(f"{part}.{layer}", 1, rows, size) for part, size in (("W", 6 if layer == 0 else 16), ("R", 16))
        ]
        nodes += [
            node(
                kind,
                [f"out.{layer}", *recurrent, weight(f"B.{layer}", 1, 2 * rows), "", *(f"{n}.{layer}" for n in names)],
                [f"Y.{layer}", *(f"{n}.{layer}.n" for n in names)],
                hidden_size=16,
                name=f"{kind}_{layer}",
            ),
            node("Squeeze", [f"Y.{layer}", "second"], ["last" if last else f"out.{layer + 1}"]),
        ]
    nodes += [node("Concat", [f"{n}.{layer}.n" for layer in range(layers)], [f"{n}n"], axis=0) for n in names]
    return [node("Identity", ["x"], ["out.0"]), *nodes]


@pytest.fixture(scope="session")
def acceptance_data() -> Path:
    """The folder of real models and data; the test is skipped, saying so, without it."""
    folder = os.environ.get("EDGEKIT_ACCEPTANCE_DATA")
    if not folder:
        pytest.skip("EDGEKIT_ACCEPTANCE_DATA is not set")
    return Path(folder).resolve()
