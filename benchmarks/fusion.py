"""What fusion saves on a network with HardSwish taken apart, on three runtimes, as markdown tables.

    python benchmarks/fusion.py [--size 224]

The network is MobileNetV2's with a HardSwish behind each convolution but the last of a block, as MobileNetV3 has them,
and random weights: latency does not depend on them. HardSwish is spelled as exporters before opset 14 spell it, as
x · clip(x + 3, 0, 6) / 6, and each convolution has its BatchNormalization. The Model before and after fusion goes the
same way to each runtime; both run in the bench script, interleaved inference by inference on one thread, and the ratio
is that of the CPU medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.core.plain import to_json
from edgekit.core.types import Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.pipeline import child

NODES_LIMIT = 0.5
ONNXRUNTIME_LIMIT = 0.7
# Expansion, channels, repetitions and stride of each stage: Sandler et al., arXiv:1801.04381, table 2.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def main() -> None:
    """Print the tables; end with 1 when a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="height and width of the image")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(hard_swish_network(size), folder / "network.onnx")
        unfused, fused = folder / "unfused", folder / "fused"
        run_stage("formats.importer:import_model", folder / "network.onnx", unfused)
        answer = run_stage("passes.fuse.stage:fuse_model", unfused / "model.onnx", fused)
        share = print_nodes(answer)
        print("\n| runtime | unfused, ms | fused, ms | ratio of CPU medians | of wall minima |\n|---|---|---|---|---|")
        ratios = [compare(kind, unfused, fused) for kind in ("onnx", "tflite", "openvino")]
    sys.exit(0 if share <= NODES_LIMIT and ratios[0] <= ONNXRUNTIME_LIMIT else 1)


def print_nodes(answer: dict[str, Any]) -> float:
    """Print how many nodes are left and what each pass found; the share that is left."""
    before, after = answer["nodes_before"], answer["nodes_after"]
    fired = ", ".join(f"{each['name']} {each['fired']}" for each in answer["passes"] if each["fired"])
    print("| nodes before | after | change | passes that fired |\n|---|---|---|---|")
    print(f"| {before} | {after} | {after / before - 1:+.0%} | {fired} |", flush=True)
    return float(after / before)


def compare(kind: str, unfused: Path, fused: Path) -> float:
    """Print one row; the ratio of the CPU medians."""
    (first, options), (second, _) = (compiled(kind, folder) for folder in (fused, unfused))
    (mine, other), _ = measure(first, options=options, against=[(second, options)], max_seconds=20)
    assert mine.timing is not None
    assert other.timing is not None
    assert mine.ratio is not None
    times = f"{other.timing.cpu_ms:.3f} | {mine.timing.cpu_ms:.3f} | {mine.ratio:.3f} | {mine.ratio_wall_min:.3f}"
    print(f"| {mine.runtime} | {times} |", flush=True)
    return mine.ratio


def compiled(kind: str, folder: Path) -> tuple[Path, Any]:
    """The Model in `folder` for a runtime, float32: as it is for ONNX Runtime, else as the back end makes it."""
    if kind == "onnx":
        return folder / "model.onnx", ()
    workdir = folder / kind
    workdir.mkdir()
    request = {
        "model": folder / "model.onnx", "plan": to_json(QuantPlan(Precision.FP32)), "baseline": None,
        "calibration": None, "workdir": workdir,
    }  # fmt: skip
    what, blame = f"compiling with {kind}", "the benchmark"
    job = "edgekit.pipeline.native:compile_artifact"
    answer = child.call(job, {"backend": kind, "request": request}, what=what, blame=blame)
    options = tuple((name, value) for name, value in answer["runtime_options"])
    return workdir / answer["files"][0], options


def run_stage(stage: str, source: Path, out: Path) -> dict[str, Any]:
    """A stage of the build in its child process."""
    out.mkdir()
    arguments = {"source": source, "out": out, "seed": 0}
    answer: dict[str, Any] = child.call(
        f"edgekit.{stage}", arguments, what=f"{stage} of {source.name}", blame="the benchmark"
    )
    return answer


def hard_swish_network(size: int) -> onnx.ModelProto:
    """The network for one image of 3 × `size` × `size`."""
    writer = _Writer()
    y = writer.layer("image", 3, 32, "stem", stride=2)
    channels = 32
    for stage, (expansion, width, repetitions, stride) in enumerate(STAGES):
        for place in range(repetitions):
            name, inner, skip = f"block{stage}_{place}", channels * expansion, y
            y = writer.layer(y, channels, inner, f"{name}/expand", kernel=1) if expansion > 1 else y
            y = writer.layer(y, inner, inner, f"{name}/depthwise", stride=stride if place == 0 else 1, group=inner)
            y = writer.layer(y, inner, width, f"{name}/project", kernel=1, activation=False)
            y = writer.op("Add", [y, skip], f"{name}/add") if place else y
            channels = width
    y = writer.layer(y, channels, 1280, "head", kernel=1)
    y = writer.op("Flatten", [writer.op("GlobalAveragePool", [y], "pool")], "flatten")
    y = writer.op("Gemm", [y, writer.weight("logits/W", 1280, 1000), writer.weight("logits/B", 1000)], "logits")
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, size, size])
    logits = helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, [1, 1000])
    graph = helper.make_graph(writer.nodes, "hard_swish", [image], [logits], writer.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


class _Writer:
    """Collects nodes and constants; a node's name is its output's."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, content: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(content, np.float32), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self._random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1))

    def layer(
        self, x: str, inputs: int, outputs: int, name: str, *, kernel: int = 3, stride: int = 1, group: int = 1,
        activation: bool = True,
    ) -> str:  # fmt: skip
        """Convolution, BatchNormalization, and HardSwish as four operators."""
        weight = self.weight(f"{name}/W", outputs, inputs // group, kernel, kernel)
        pads = [kernel // 2] * 4
        y = self.op("Conv", [x, weight], f"{name}/conv", strides=[stride] * 2, pads=pads, group=group)
        roles = {"scale": 0.5, "bias": 0, "mean": 0, "var": 0.5}
        figures = [
            self.constant(f"{name}/{role}", self._random.uniform(low, low + 1, outputs)) for role, low in roles.items()
        ]
        y = self.op("BatchNormalization", [y, *figures], f"{name}/norm")
        if not activation:
            return y
        three, zero, six = (self.constant(f"{name}/{figure}", figure) for figure in (3, 0, 6))
        gate = self.op("Clip", [self.op("Add", [y, three], f"{name}/act/Add"), zero, six], f"{name}/act/Clip")
        return self.op("Div", [self.op("Mul", [y, gate], f"{name}/act/Mul"), six], f"{name}/act/Div")


if __name__ == "__main__":
    main()
