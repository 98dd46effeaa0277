"""What edgekit itself costs, in CPU seconds of all its processes, as a markdown table.

    [EDGEKIT_ACCEPTANCE_DATA=path/to/data] python benchmarks/cost.py

The build is digits-cnn for both families of targets, first with an empty store, then again. The deep network has 200
layers; the Det in the middle of its twin is an operator that neither target takes. UltraFace is looked at where its
file is at hand. Every inspection begins with an empty store.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.core.errors import UnsupportedOpError

TARGETS = ("--target", "raspberry-pi-5", "--target", "intel-cpu")
DEPTH = 200
REFUSED = UnsupportedOpError.exit_code


def main() -> None:
    """Print the table; end with 1 when a row misses its limit."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        deep, refused = save_deep(home / "deep.onnx"), save_deep(home / "refused.onnx", odd="Det")
        model = Path(__file__).parents[1] / "models" / "digits-cnn" / "digits-cnn.onnx"
        build = ["build", "digits-cnn", *TARGETS, "--out", home / "out"]
        rows = [
            ("edgekit --help (median of 9)", 0.3, statistics.median(cpu(home, "--help") for _ in range(9))),
            ("first build of digits-cnn, both targets", 120.0, cpu(home, *build)),
            ("second build", 60.0, cpu(home, *build)),
            ("inspect digits-cnn.onnx, both targets", 3.0, cpu(home / "a", "inspect", model, *TARGETS)),
            (f"inspect a network of {DEPTH} layers", 3.0, cpu(home / "b", "inspect", deep, *TARGETS)),
            ("inspect its twin with a Det", 5.0, cpu(home / "c", "inspect", refused, *TARGETS, code=REFUSED)),
            ("build the twin", 5.0, cpu(home / "d", "build", refused, "--no-data", *TARGETS, code=REFUSED)),
        ]
        if shared := os.environ.get("EDGEKIT_ACCEPTANCE_DATA"):
            face = Path(shared, "ultraface", "version-slim-320_simplified.onnx")
            rows.append(("inspect UltraFace, both targets", 3.0, cpu(home / "e", "inspect", face, *TARGETS)))
    print("| what | CPU seconds | limit |\n|---|---|---|")
    for what, limit, seconds in rows:
        print(f"| {what} | {seconds:.2f} | {limit:g} |")
    sys.exit(0 if all(seconds <= limit for _, limit, seconds in rows) else 1)


def cpu(store: Path, *arguments: object, code: int = 0) -> float:
    """CPU seconds, user and system, of an edgekit command, which must end with `code`, and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "EDGEKIT_CACHE": str(store / "store")},
    )
    assert finished.returncode == code, f"{arguments} ended with {finished.returncode}"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def save_deep(path: Path, odd: str = "Relu") -> Path:
    """A chain of convolutions and rectifiers with random weights; the one in the middle is `odd`.

    Behind it, matrix products follow, which take whatever shape it gives.
    """
    random = np.random.default_rng(0)
    weights, nodes = [], []
    for index in range(DEPTH):
        kind = odd if index == DEPTH // 2 else "MatMul" if index > DEPTH // 2 else ("Conv", "Relu")[index % 2]
        inputs = [f"v{index}"]
        if shape := {"Conv": (8, 8, 3, 3), "MatMul": (8, 8)}.get(kind):
            weights.append(numpy_helper.from_array(random.normal(0, 0.1, shape).astype(np.float32), f"w{index}"))
            inputs.append(f"w{index}")
        same: dict[str, Any] = {"pads": [1, 1, 1, 1]} if kind == "Conv" else {}
        nodes.append(helper.make_node(kind, inputs, [f"v{index + 1}"], name=f"layer{index}", **same))
    result: list[str | int | None] = ["n", 8] if odd == "Det" else ["n", 8, 8, 8]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, ["n", 8, 8, 8])],
        [helper.make_tensor_value_info(f"v{DEPTH}", TensorProto.FLOAT, result)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


if __name__ == "__main__":
    main()
