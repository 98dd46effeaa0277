"""Bad input through the command line: one clear error, the contract's exit code, and nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from edgekit.core.resources import resource as shipped

MODEL, DATA = "model.onnx", "data.npz"
CLASSES, SIDE, SAMPLES = 4, 16, 40
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a sound model and sound data, and a temporary folder of its own."""
    work, scratch = tmp_path / "work", tmp_path / "scratch"
    work.mkdir()
    scratch.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    _save(_network(), MODEL)
    _samples(DATA)
    return work


@pytest.fixture
def refused(edgekit: Cli, lab: Path) -> Callable[..., str]:
    """Run `edgekit build` (or another verb) and hold its refusal to the contract; gives what it said."""

    def run(code: int, *words: str, arguments: Sequence[Any] = (), verb: str = "build", out: str = "out/deep") -> str:
        before = sorted(lab.rglob("*"))
        where = ("--out", out) if verb == "build" else ()
        target = ("-t", "raspberry-pi-5") if verb == "build" and "-t" not in arguments else ()
        found, stdout, stderr = edgekit(verb, *arguments, *target, *where)
        assert found == code, stderr
        assert not stdout
        _is_one_clear_error(stderr, words)
        assert sorted(lab.rglob("*")) == before, "something was left behind"
        assert _nothing_half_made()
        return stderr

    return run


def _is_one_clear_error(said: str, words: Sequence[str]) -> None:
    assert said.count("error: ") == said.count("  whose: ") == said.count("  next:  ") == 1, said
    assert "Traceback" not in said
    assert "edgekit-" not in said, "a temporary path says nothing to the user"
    for word in words:
        assert word in said


def _nothing_half_made() -> bool:
    pending = Path(os.environ["EDGEKIT_CACHE"], "tmp").glob(f"{os.getpid()}-*")
    return not any(Path(tempfile.gettempdir()).iterdir()) and not any(pending)


def _network(
    *, op: str | None = None, domain: str = "", weights: Any = None, shape: Sequence[int | str] = ("n", 3, SIDE, SIDE)
) -> onnx.ModelProto:
    """Conv, maybe an odd operator, average, dense: 3×16×16 to 4 scores."""
    random = np.random.default_rng(0)
    kernel = random.standard_normal((8, 3, 3, 3), np.float32) if weights is None else weights
    dense = random.standard_normal((8, CLASSES), np.float32)
    odd = [helper.make_node(op, ["c"], ["odd"], name="odd_layer", domain=domain)] if op else []
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="first", pads=[1, 1, 1, 1]),
        *odd,
        helper.make_node("GlobalAveragePool", ["odd" if op else "c"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "d"], ["score"], name="dense"),
    ]
    return _model(nodes, shape, {"w": kernel, "d": dense})


def _model(
    nodes: Sequence[onnx.NodeProto], shape: Sequence[int | str], weights: dict[str, Any], scores: int = CLASSES
) -> onnx.ModelProto:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "small",
        [tensor("image", onnx.TensorProto.FLOAT, shape)],
        [tensor("score", onnx.TensorProto.FLOAT, ("n", scores))],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    domains = {node.domain for node in nodes if node.domain}
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def _save(model: onnx.ModelProto, path: str) -> str:
    Path(path).write_bytes(model.SerializeToString())
    return path


def _samples(path: str, **changed: Any) -> str:
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "x": random.random((SAMPLES, 3, SIDE, SIDE), np.float32),
        "y": np.arange(SAMPLES) % CLASSES,
    }
    np.savez(path, **(arrays | changed))
    return path


def _images(folder: str, classes: int, each: int = 10) -> Path:
    random = np.random.default_rng(0)
    for name in range(classes):
        home = Path(folder, f"class{name}")
        home.mkdir(parents=True)
        for index in range(each):
            Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(home / f"{index}.png")
    return Path(folder)


# --- model files ---


def test_a_truncated_model(refused: Callable[..., str]) -> None:
    whole = Path(MODEL).read_bytes()
    Path(MODEL).write_bytes(whole[: len(whole) // 2])
    refused(9, MODEL, "damaged", "Save it again", arguments=[MODEL, "-d", DATA])


def test_an_empty_model(refused: Callable[..., str]) -> None:
    Path(MODEL).write_bytes(b"")
    refused(9, f"{MODEL} is empty (0 bytes)", arguments=[MODEL, "-d", DATA])


def test_a_model_with_the_wrong_extension(refused: Callable[..., str]) -> None:
    Path(MODEL).rename("model.h5")
    refused(9, "model.h5 is an ONNX model", "mv model.h5 model.onnx", arguments=["model.h5", "-d", DATA])


def test_a_torch_pickle(refused: Callable[..., str]) -> None:
    Path("model.pt").write_bytes(b"\x80\x02}q\x00.")
    refused(9, "model.pt is a Python pickle", "torch.onnx.export(", arguments=["model.pt", "-d", DATA])


def test_a_model_without_weights(refused: Callable[..., str]) -> None:
    flat = [
        helper.make_node("GlobalAveragePool", ["image"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["score"], name="flat"),
    ]
    _save(_model(flat, ("n", 3, 4, 4), {}, scores=3), "bare.onnx")
    refused(9, "no weights", "trained model", arguments=["bare.onnx", "-d", DATA])


def test_a_model_whose_weights_are_all_zero(refused: Callable[..., str]) -> None:
    flat = [
        helper.make_node("Flatten", ["image"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "d"], ["score"], name="dense"),
    ]
    _save(_model(flat, ("n", 3, 4, 4), {"d": np.zeros((48, CLASSES))}), "zero.onnx")
    refused(9, "every weight of the model is zero", arguments=["zero.onnx", "-d", DATA])


def test_weights_that_are_nan(refused: Callable[..., str]) -> None:
    kernel = np.ones((8, 3, 3, 3), np.float32)
    kernel[0, 0, 0, :2] = np.nan
    _save(_network(weights=kernel), "nan.onnx")
    refused(9, "'w' hold 2 NaN or infinite values of 216", "checkpoint", arguments=["nan.onnx", "-d", DATA])


def test_weights_that_make_every_answer_nan(refused: Callable[..., str]) -> None:
    # A whole tensor of infinities may be meant (an attention mask): what it leads to is not.
    _save(_network(weights=np.full((8, 3, 3, 3), np.inf)), "inf.onnx")
    refused(9, "the float model itself", "report split is NaN", arguments=["inf.onnx", "-d", DATA])


@pytest.mark.parametrize(("op", "domain"), [("Frobnicate", ""), ("Frobnicate", "com.acme"), ("GlobalLpPool", "")])
def test_an_operator_that_nobody_takes(op: str, domain: str, refused: Callable[..., str]) -> None:
    _save(_network(op=op, domain=domain), "odd.onnx")
    refused(3, "odd_layer", op, f"Replace {domain}{'.' if domain else ''}{op}", arguments=["odd.onnx", "-d", DATA])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((), ("leaves the size of its input 'image' open", "--input-shape image=1,3,224,224")),
        (("--input-shape", "image=1,3"), ("image=1,3 contradicts", "?×3×?×?")),
        (("--input-shape", "image=1,4,16,16"), ("image=1,4,16,16 contradicts", "?×3×?×?")),
        (("--input-shape", "picture=1,3,16,16"), ("no input called 'picture'", "image")),
    ],
)
def test_a_wrong_input_shape(shape: Sequence[str], words: Sequence[str], refused: Callable[..., str]) -> None:
    _save(_network(shape=("n", 3, "h", "w")), "open.onnx")
    refused(9, *words, arguments=["open.onnx", "-d", DATA, *shape])


def test_keras_files_whose_lambda_would_write_a_file(refused: Callable[..., str], lab: Path) -> None:
    maker = (
        "import sys, pathlib, keras\n"
        "inside = keras.Input((4,))\n"
        "outside = keras.layers.Dense(3)(keras.layers.Lambda(\n"
        "    lambda x: (__import__('pathlib').Path('pwned').touch(), x)[1], name='evil')(inside))\n"
        "model = keras.Model(inside, outside)\n"
        "mark = pathlib.Path('pwned')\n"
        "for name in ('evil.keras', 'evil.h5'):\n"
        "    model.save(name)\n"
        "    mark.unlink(missing_ok=True)\n"
        "    keras.models.load_model(name, safe_mode=False, compile=False)\n"
        "    assert mark.exists(), 'the file is not dangerous, and the test shows nothing'\n"
        "    mark.unlink()\n"
    )
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", maker], check=True, capture_output=True, env=quiet)
    for name in ("evil.keras", "evil.h5"):
        refused(9, name, "'evil'", "--trust-model", arguments=[name, "-d", DATA])
        assert not (lab / "pwned").exists()


def test_a_model_that_takes_more_memory_than_there_is(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.core.process._physical_memory", lambda: 400 << 20)
    _save(_network(shape=("n", 3, "h", "w")), "open.onnx")
    refused(
        9,
        "importing open.onnx took more than 300 MiB of memory and was stopped",
        "less",
        arguments=["open.onnx", "-d", DATA, "--input-shape", "image=1,3,4096,4096"],
    )


# --- data ---


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": np.zeros((SAMPLES, 3, 8, SIDE), np.float32)}, ("(3, 8, 16)", "(3, 16, 16)", "reshape")),
        ({"x": np.full((SAMPLES, 3, SIDE, SIDE), np.nan, np.float32)}, ("NaN", "row ", "'image'")),
        ({"x": np.zeros((0, 3, SIDE, SIDE), np.float32)}, ("no samples",)),
        ({"x": np.array([{}] * SAMPLES, object)}, ("never unpickles", "np.savez")),
        ({"x": np.array(["a"] * SAMPLES)}, ("instead of numbers",)),
        ({"y": np.arange(SAMPLES) % 5}, ("the label 4 in row 4", "(0..3)", "Number the classes from 0")),
        ({"y": np.arange(SAMPLES) % 4 - 1}, ("the label -1 in row 0",)),
        ({"y": np.zeros(SAMPLES, np.int64)}, ("all 40 samples are of class 0", "--no-labels")),
        ({"y": np.full(SAMPLES, np.nan)}, ("y holds NaN",)),
        ({"y": np.arange(7)}, ("7 entries for 40 samples",)),
    ],
)
def test_arrays_that_do_not_fit(changed: dict[str, Any], words: Sequence[str], refused: Callable[..., str]) -> None:
    _samples("bad.npz", **changed)
    refused(9, "bad.npz", *words, arguments=[MODEL, "-d", "bad.npz"])


@pytest.mark.parametrize("part", [0, 0.5])
def test_a_truncated_or_empty_array_file(part: float, refused: Callable[..., str]) -> None:
    content = Path(DATA).read_bytes()
    Path("cut.npz").write_bytes(content[: int(part * len(content))])
    refused(9, "cut.npz can't be read as an .npz", "np.savez", arguments=[MODEL, "-d", "cut.npz"])


def test_a_folder_with_one_class(refused: Callable[..., str]) -> None:
    folder = _images("photos", classes=1)
    refused(9, f"{folder} holds one class folder, class0", "--no-labels", arguments=[MODEL, "-d", folder])


def test_an_empty_folder(refused: Callable[..., str]) -> None:
    Path("photos/class0").mkdir(parents=True)
    refused(9, "photos holds no image", "class folders", arguments=[MODEL, "-d", "photos"])


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no image"])
def test_a_corrupt_image(damage: Callable[[bytes], bytes], refused: Callable[..., str]) -> None:
    victim = _images("photos", classes=2) / "class1" / "7.png"
    victim.write_bytes(damage(victim.read_bytes()))
    refused(9, f"{victim} can't be decoded", f"rm {victim}", arguments=[MODEL, "-d", "photos"])


def test_data_that_is_not_there(refused: Callable[..., str]) -> None:
    refused(9, "there is no photoz", "relative path", arguments=[MODEL, "-d", "photoz"])


def test_wrong_preprocessing_that_puts_the_float_model_at_chance(refused: Callable[..., str]) -> None:
    """The zoo's network takes 0..16; here it scales pixels of 0..255 itself, and gets them scaled to 0..1."""
    zoo = shipped("models/digits-cnn")
    model = onnx.load(zoo / "digits-cnn.onnx")
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["scaled" if each == name else each for each in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array(16 / 255, np.float32), "scale"))
    model.graph.node.insert(0, helper.make_node("Mul", [name, "scale"], ["scaled"], name="scaling"))
    _save(model, "digits.onnx")
    with np.load(zoo / "eval.npz") as held:
        for index, (image, label) in enumerate(zip(held["x"][:150], held["y"][:150], strict=True)):
            home = Path("digits", str(label))
            home.mkdir(parents=True, exist_ok=True)
            pixels = np.rint(image.reshape(8, 8) * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).save(home / f"{index}.png")
    refused(9, "which is chance", "--normalize=none", arguments=["digits.onnx", "-d", "digits", "--normalize", "0..1"])


# --- the command line and its files ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gates]\nmax_dorp = 1.0\n", ("there is no key gates.max_dorp", "Did you mean max_drop?")),
        ("[gate]\nmax_drop = 1.0\n", ("there is no section [gate]", "Did you mean gates?")),
        ("[gates]\nmax_drop = 'lots'\n", ("gates.max_drop = 'lots'", "number")),
        ("[precision]\nprecision = 'int7'\n", ("precision.precision = 'int7'", "int8")),
        ("[gates\n", ("line 1", "edgekit init")),
        ("data = 'photos'\n", ("data is a section", "[data]")),
    ],
)
def test_a_recipe_with_a_mistake(text: str, words: Sequence[str], refused: Callable[..., str]) -> None:
    Path("edgekit.toml").write_text(text)
    refused(9, "edgekit.toml", *words, arguments=[MODEL, "-d", DATA, "-c", "edgekit.toml"])


@pytest.mark.parametrize(
    ("code", "flags", "words"),
    [
        (2, ("-t", "raspbery-pi-5"), ("'raspbery-pi-5'", "raspberry-pi-5", "edgekit targets")),
        (2, ("-t", "./board.toml"), ("./board.toml",)),
        (10, ("--backend", "tpu"), ("'tpu'", "onnxruntime, openvino, tflite")),
        (2, ("--precision", "int4"), ("--precision int4", "auto, int8, mixed, dynamic, fp16, fp32")),
        (2, ("--normalize", "0..2"), ("--normalize 0..2", "'0..1'")),
        (2, ("--no-data",), ("--no-data",)),
        (2, ("--max-latency", "20"), ("'20' is not a duration", "20ms")),
        (2, ("--metric", "score"), ("--metric", "module:NAME")),
        (9, ("--metric", "nowhere:score"), ("nowhere:score can't be imported", "your metric")),
        (9, ("--batch", "512"), ("less than a batch of 512", "smaller --batch")),
    ],
)
def test_a_wrong_flag(code: int, flags: Sequence[str], words: Sequence[str], refused: Callable[..., str]) -> None:
    refused(code, *words, arguments=[MODEL, "-d", DATA, *flags])


@pytest.mark.parametrize("out", ["in_the_way", "in_the_way/deeper", "/proc/edgekit", "/dev/full"])
def test_an_output_folder_that_can_not_be_written(out: str, refused: Callable[..., str]) -> None:
    Path("in_the_way").write_text("a file")
    refused(2, f"{out} can't be written", "--out", arguments=[MODEL, "-d", DATA], out=out)
    assert Path("in_the_way").read_text() == "a file"


@pytest.mark.parametrize("thing", ["thesis.tex", "raspberry-pi-5/thesis.tex"])
def test_an_output_folder_that_is_not_ours(thing: str, refused: Callable[..., str]) -> None:
    file = Path("mine", thing)
    file.parent.mkdir(parents=True)
    file.write_text("years of work")
    refused(2, "mine holds things", Path(thing).parts[0], "--out", arguments=[MODEL, "-d", DATA], out="mine")
    assert file.read_text() == "years of work"


def test_a_lock_that_is_damaged(refused: Callable[..., str]) -> None:
    Path("out").mkdir()
    Path("out/edgekit.lock").write_text("{")
    refused(9, "out/edgekit.lock is not a lock", "rm out/edgekit.lock", arguments=[MODEL, "-d", DATA], out="out")


# --- the machine ---


def _start(lab: Path, **how: Any) -> subprocess.Popen[str]:
    """A build in a process of its own, with a store of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgekit", "build", MODEL, "-d", DATA, "-t", "raspberry-pi-5", "-o", "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EDGEKIT_CACHE": str(lab.parent / "store")},
        **how,
    )


def _left_nothing(lab: Path) -> bool:
    halves = [*lab.parent.joinpath("scratch").iterdir(), *lab.parent.joinpath("store", "tmp").glob("*")]
    return not halves and sorted(file.name for file in lab.iterdir()) == sorted([MODEL, DATA])


def test_a_full_disk(lab: Path) -> None:
    def let_no_file_grow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with _start(lab, preexec_fn=let_no_file_grow) as build:
        stdout, stderr = build.communicate(timeout=120)
    assert (build.returncode, stdout) == (2, "")
    _is_one_clear_error(stderr, ["File too large", "this machine", "free space"])
    assert _left_nothing(lab)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_build_and_its_children(how: signal.Signals, lab: Path) -> None:
    with _start(lab, start_new_session=True) as build:
        assert build.stderr is not None
        assert "import" in build.stderr.readline()
        children = Path(f"/proc/{build.pid}/task/{build.pid}/children").read_text().split()
        build.send_signal(how)
        stdout, stderr = build.communicate(timeout=60)
    assert (build.returncode, stdout) == (130, "")
    assert "run the same command again" in stderr
    assert "Traceback" not in stderr
    assert not any(Path("/proc", child).exists() for child in children)
    assert _left_nothing(lab)
