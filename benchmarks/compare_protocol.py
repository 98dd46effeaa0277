"""How far `edgekit compare` can be trusted on this machine, as a markdown table.

    python benchmarks/compare_protocol.py [--times 20] [--kind tflite --kind openvino --kind onnx]

Two networks of equal convolutions, ten and eleven: a slowdown of 10 % is planted in the second, as the MACs count it
and the runtime's own account of its operators shows. What the clock shows differs a little: loading, the first and the
last layer are not free. Each is compared with the first `--times` times, as a user would, with nothing but defaults.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import edgekit
from edgekit.pipeline.compare import Comparison

LAYERS, SLOWER = 10, 11
CHANNELS, SIZE = 16, 32
REPEATS, SPREAD_LIMIT = 5, 0.02
VERDICTS = ("slower", "the same", "faster", "not resolved")
TARGETS = {"tflite": "raspberry-pi-5", "openvino": "intel-cpu"}


def main() -> None:
    """Print the table; end with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="comparisons of each pair, at least 5")
    parser.add_argument("--kind", action="append", choices=[*TARGETS, "onnx"], help="default: all")
    arguments = parser.parse_args()
    times = max(arguments.times, REPEATS)
    titles = ("artifact", "pair", "MACs", "convolutions run", "ratio", f"spread of {REPEATS}", f"of {times}",
              *VERDICTS, "widest interval", "seconds", "load")  # fmt: skip
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    held = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["EDGEKIT_CACHE"] = str(folder / "store")
        macs = build(folder)
        for kind in arguments.kind or [*TARGETS, "onnx"]:
            first = artifact(kind, LAYERS, folder)
            for layers in (LAYERS, SLOWER):
                results = [timed(artifact(kind, layers, folder), first) for _ in range(times)]
                held &= show(kind, macs[layers] / macs[LAYERS], results)
    sys.exit(0 if held else 1)


def timed(a: Path, b: Path) -> tuple[Comparison, float]:
    """One comparison with nothing but defaults, and its seconds."""
    began = time.monotonic()
    return edgekit.compare(a, b), time.monotonic() - began


def show(kind: str, macs: float, results: Sequence[tuple[Comparison, float]]) -> bool:
    """Print a row; whether every verdict is right and the ratio repeats."""
    comparisons, times = [comparison for comparison, _ in results], len(results)
    ratios = [comparison.ratio for comparison in comparisons if comparison.ratio is not None]
    said = {word: sum(comparison.verdict == word for comparison in comparisons) for word in VERDICTS}
    cells = (
        kind,
        "identical" if macs == 1 else "slower",
        f"{macs:.2f}×",
        " ÷ ".join(map(str, convolutions(comparisons[0]))),
        f"{statistics.median(ratios):.4f}",
        f"{spread(ratios[:REPEATS]):.2%}",
        f"{spread(ratios):.2%}",
        *map(str, said.values()),
        f"{max(high - low for low, high in (each.ci95 for each in comparisons if each.ci95)):.4f}",
        f"{statistics.median(seconds for _, seconds in results):.0f}",
        f"{os.getloadavg()[0]:.1f}",
    )
    print(f"| {' | '.join(cells)} |", flush=True)
    right = said["slower"] + said["faster"] == 0 if macs == 1 else said["slower"] == times
    return right and spread(ratios[:REPEATS]) <= SPREAD_LIMIT


def spread(ratios: Sequence[float]) -> float:
    """Largest ÷ smallest, less one."""
    return max(ratios) / min(ratios) - 1


def convolutions(result: Comparison) -> list[int]:
    """How many convolutions each of the two ran, by the runtime's own account."""
    return [
        sum(op.count for op in measurement.account.compute if "conv" in op.op.lower())
        for measurement in result.measurements
    ]


def build(folder: Path) -> dict[int, int]:
    """Both networks as float artifacts for both families of targets; their MACs."""
    macs = {}
    for layers in (LAYERS, SLOWER):
        onnx.save(network(layers), folder / f"{layers}.onnx")
        flags: dict[str, Any] = {"data": {"none": True}, "precision": {"precision": "fp32"}}
        report = edgekit.build(
            str(folder / f"{layers}.onnx"), list(TARGETS.values()), flags=flags, out=folder / str(layers)
        )
        found = {target.macs for target in report.targets}
        assert len(found) == 1, report
        macs[layers] = found.pop() or 0
    assert macs[SLOWER] * LAYERS == macs[LAYERS] * SLOWER, macs
    return macs


def artifact(kind: str, layers: int, folder: Path) -> Path:
    """Where it lies."""
    return folder / str(layers) / TARGETS[kind] if kind in TARGETS else folder / f"{layers}.onnx"


def network(layers: int) -> onnx.ModelProto:
    """Equal convolutions of 3 × 3 in a row, with random weights that keep the size of what flows."""
    random = np.random.default_rng(0)
    shape = (CHANNELS, CHANNELS, 3, 3)
    weights = [
        numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(9 * CHANNELS)).astype(np.float32), f"w{index}")
        for index in range(layers)
    ]
    nodes = [
        helper.make_node("Conv", [f"v{index}", f"w{index}"], [f"v{index + 1}"], f"conv{index}", pads=[1] * 4)
        for index in range(layers)
    ]
    image, result = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", CHANNELS, SIZE, SIZE])
        for name in ("v0", f"v{layers}")
    )
    graph = helper.make_graph(nodes, "convolutions", [image], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


if __name__ == "__main__":
    main()
