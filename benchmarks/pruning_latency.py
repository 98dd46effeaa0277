"""Networks pruned to half of their MACs, int8: what is left, and pruned ÷ unpruned time on TFLite and OpenVINO.

Both are int8 on the same runtime, interleaved inference by inference in one process on one thread of this machine:
medians of CPU time. Networks without weights of their own have random ones; these and their random data make no
difference to time.

EDGEKIT_ACCEPTANCE_DATA=path/to/data python -m benchmarks.pruning_latency [--factorize] [NAME…]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import models
from edgekit.pipeline.build import build

TARGETS = ("raspberry-pi-5", "intel-cpu")
SHARED = ("ResNet-8", "VWW", "DS-CNN", "ultraface")
# Keras' own classes, and the small ones of the tests.
APPLICATIONS = {"MobileNetV2": "MobileNetV2", "MobileNetV3": "MobileNetV3Small", "EfficientNet-B0": "EfficientNetB0",
                "ResNet-50": "ResNet50"}  # fmt: skip
SMALL = {"U-Net": "unet", "ViT": "vit"}


def main() -> None:
    """Print the table; end with 1 when a network could not be pruned or got slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the networks; all of them if left out")
    parser.add_argument("--factorize", action="store_true", help="ranks go instead of channels")
    asked = parser.parse_args()
    failed = False
    print("| model | target | MACs left | parameters left | bytes | time against unpruned int8 |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, prepare in networks(Path(folder)).items():
            if asked.names and name not in asked.names:
                continue
            path, data = prepare()
            shrink = {"prune": 0.5, "factorize": asked.factorize}
            flags: Any = {"data": data, "shrink": shrink, "precision": {"precision": "int8"}}
            for target in build(str(path), TARGETS, flags=flags, out=Path(folder, "out", name)).targets:
                if not target.pruned:
                    failed = True
                    print(f"| {name} | {target.target} | {(target.error or {}).get('cause')} |", flush=True)
                    continue
                ratio = target.pruned.dense_ratio
                assert ratio is not None
                failed |= ratio > 1
                left = f"{target.pruned.macs:.2f} | {target.pruned.params:.2f} | {target.bytes:,}"
                print(f"| {name} | {target.target} | {left} | {ratio:.2f}× |", flush=True)
    sys.exit(failed)


def networks(home: Path) -> Mapping[str, Callable[[], tuple[Path | str, Mapping[str, str]]]]:
    """How to make each network's file, and which data it gets; files are laid out in `home`."""
    shared = models.prepare(Path(os.environ["EDGEKIT_ACCEPTANCE_DATA"]), home)
    return {
        "digits-cnn": lambda: ("digits-cnn", {}),
        **{name: partial(shared.__getitem__, name) for name in SHARED},
        **{name: partial(_small, which, home) for name, which in SMALL.items()},
        **{name: partial(_application, which, home) for name, which in APPLICATIONS.items()},
    }


def _application(which: str, home: Path) -> tuple[Path, dict[str, str]]:
    import keras

    keras.utils.set_random_seed(0)
    path = home / f"{which}.keras"
    getattr(keras.applications, which)((224, 224, 3), weights=None).save(path)
    return path, _noise(home / f"{which}.npz", (224, 224, 3))


def _small(which: str, home: Path) -> tuple[Path, dict[str, str]]:
    import keras

    if not (home / f"{which}-keras.keras").exists():
        script = Path(__file__).parents[1] / "tests" / "architectures" / "keras_networks.py"
        subprocess.run([sys.executable, str(script), str(home)], check=True, capture_output=True)
    path = home / f"{which}-keras.keras"
    return path, _noise(home / f"{which}.npz", keras.models.load_model(path).input_shape[1:])


def _noise(path: Path, shape: tuple[int, ...]) -> dict[str, str]:
    np.savez(path, x=np.random.default_rng(0).normal(0, 0.5, (48, *shape)).astype(np.float32))
    return {"data": str(path)}


if __name__ == "__main__":
    main()
