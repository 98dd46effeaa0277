"""Float TFLite from the Model against Keras' own conversion: latency and op lists, as a markdown table.

    python benchmarks/lowering.py [--data FOLDER]

MobileNetV2-0.35 has random weights; ResNet-8 and VWW come from the acceptance data (`EDGEKIT_ACCEPTANCE_DATA`). Both
files run in the bench script, interleaved inference by inference on one thread; the ratio is that of the CPU medians.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from edgekit.backends.base import CompileRequest
from edgekit.backends.tflite import TFLiteBackend
from edgekit.core.types import Precision, QuantPlan
from edgekit.devices.bench import measure
from edgekit.pipeline import child

RATIO_LIMIT = 1.05
FILES = {"ResNet-8": "mlperf_tiny_models/pretrainedResnet.h5", "VWW": "mlperf_tiny_models/vww_96.h5"}


def main() -> None:
    """Print the table; end with 1 when a row misses its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("EDGEKIT_ACCEPTANCE_DATA"), help="the acceptance data")
    data = parser.parse_args().data
    print("| network | ops | op list | ours, ms | Keras, ms | ratio of CPU medians | of wall minima |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        sources = {"MobileNetV2-0.35": save_mobilenet(Path(folder, "mobilenet.keras"))}
        sources |= {name: Path(data, file) for name, file in FILES.items()} if data else {}
        held = [compare(name, source, Path(folder, name)) for name, source in sources.items()]
    sys.exit(0 if all(held) else 1)


def compare(name: str, source: Path, folder: Path) -> bool:
    """Print one row; whether the op list is the same and the ratio within its limit."""
    folder.mkdir()
    ours, keras = convert(source, folder), convert_by_keras(source, folder / "keras.tflite")
    (mine, theirs), _ = measure(ours, against=[(keras, ())], max_seconds=60)
    assert mine.timing is not None
    assert theirs.timing is not None
    assert mine.ratio is not None
    assert mine.ratio_wall_min is not None
    ops, wanted = (Counter({op.op: op.count for op in found.account.compute}) for found in (mine, theirs))
    verdict = "same" if ops == wanted else f"ours alone: {dict(ops - wanted)}, Keras' alone: {dict(wanted - ops)}"
    times = f"{mine.timing.cpu_ms:.3f} | {theirs.timing.cpu_ms:.3f} | {mine.ratio:.3f} | {mine.ratio_wall_min:.3f}"
    print(f"| {name} | {ops.total()} | {verdict} | {times} |", flush=True)
    return ops == wanted and mine.ratio <= RATIO_LIMIT


def convert(source: Path, folder: Path) -> Path:
    """Keras file → Model, fused → TFLite, as a build does it."""
    for stage, path in (("import_model", source), ("fuse_model", folder / "model.onnx")):
        arguments = {"source": str(path), "out": str(folder), "seed": 0}
        child.call(f"edgekit.pipeline.native:{stage}", arguments, what=f"{stage} of {path.name}", blame="the benchmark")
    request = CompileRequest(folder / "model.onnx", QuantPlan(Precision.FP32), None, None, folder)
    return TFLiteBackend().compile(request).path


def convert_by_keras(source: Path, result: Path) -> Path:
    """Keras file → TFLite by TensorFlow's converter, for one sample as ours is."""
    import tensorflow as tf

    with contextlib.redirect_stdout(sys.stderr):  # Keras lists every variable that it exports
        if source.suffix == ".keras":
            import keras

            converter = tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(source))
        else:
            import tf_keras  # Keras 3 refuses the depthwise layers of old files

            network = tf_keras.models.load_model(source, compile=False)
            one = [tf.TensorSpec((1, *network.input_shape[1:]))]
            function = tf.function(lambda x: network(x, training=False), input_signature=one).get_concrete_function()
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
        result.write_bytes(converter.convert())
    return result


def save_mobilenet(path: Path) -> Path:
    """MobileNetV2 of width 0.35 for 224 × 224, with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    keras.applications.MobileNetV2(alpha=0.35, weights=None).save(path)
    return path


if __name__ == "__main__":
    main()
