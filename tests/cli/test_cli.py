"""The command line's contract: cheap help, one document on stdout, errors with their exit codes."""

import json
import subprocess
import sys

import pytest

_VERBS = ("build", "init", "inspect", "explain", "validate", "bench", "compare", "targets", "devices", "doctor")
# typer brings pydantic and, for errors, rich.
_HEAVY = (
    "ai_edge_litert", "ai_edge_quantizer", "keras", "nncf", "numpy", "onnx", "onnx_ir", "onnxruntime", "openvino",
    "PIL", "tensorflow", "tf_keras",
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [("--help",), *((verb, "--help") for verb in _VERBS), ("targets",), ("devices",), ("doctor",)]
)
def test_help_and_the_light_verbs_import_nothing_heavy(arguments):
    code = (
        "import sys\nsys.argv = ['edgekit', *sys.argv[1:]]\n"
        "from edgekit.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code in (None, 0, 10)\n"
        f"print([name for name in {_HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Example:" in done.stdout or arguments[-1] != "--help" or len(arguments) == 1


def test_targets_are_listed_as_text_and_as_json(edgekit):
    code, out, _ = edgekit("targets")
    assert code == 0
    assert "raspberry-pi-5" in out
    code, out, _ = edgekit("targets", "intel-cpu", "--json")
    assert (code, json.loads(out)["targets"][0]["backend"]) == (0, "openvino")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("build",), 2, "Missing"),
        (("frobnicate",), 2, "frobnicate"),
        (("build", "digits-cnn", "-t", "raspbery-pi-5"), 2, "raspberry-pi-5"),
        (("build", "no-such-model", "-t", "raspberry-pi-5"), 9, "digits-cnn"),
        (("build", "digits-cnn", "-t", "raspberry-pi-5", "--precision", "int7"), 2, "precision"),
        (("build", "digits-cnn", "-t", "raspberry-pi-5", "--input-shape", "x"), 2, "NAME=1,3,224,224"),
        (("build", "digits-cnn", "-t", "raspberry-pi-5", "--max-size", "many"), 2, "many"),
        (("build", "digits-cnn", "-t", "raspberry-pi-5", "--backend", "none"), 10, "none"),
        (("explain", "digits-cnn"), 2, "--pruning"),
        (("bench", "/nowhere/model.tflite"), 9, "nowhere"),
        (("validate", "/nowhere"), 9, "manifest.json"),
    ],
)
def test_a_mistake_gets_one_clear_error_and_its_exit_code(edgekit, arguments, code, words):
    found, out, err = edgekit(*arguments)
    assert found == code
    assert words in err
    assert "Traceback" not in err
    assert not out


def test_explain_ranks_the_layers_of_a_build(edgekit, tmp_path):
    code, _, err = edgekit(
        "build",
        "digits-cnn",
        "-t",
        "raspberry-pi-5",
        "--backend",
        "onnxruntime",
        "--precision",
        "int8",
        "--no-bias-correction",
        "--out",
        tmp_path,
    )
    assert code == 0, err
    manifest = json.loads((tmp_path / "raspberry-pi-5" / "manifest.json").read_text())
    assert manifest["recipe"]["precision"]["bias_correction"] is False
    code, out, _ = edgekit("explain", tmp_path, "--limit", "2")
    assert code == 0
    assert "raspberry-pi-5: built as int8 for onnxruntime" in out
    assert len([line for line in out.splitlines() if " int8 " in line and " dB" in line]) >= 2
    code, out, _ = edgekit("explain", tmp_path / "raspberry-pi-5", "--json")
    assert code == 0
    (target,) = json.loads(out)["targets"]
    assert {layer["layer"] for layer in target["layers"]} >= {"image", "stem", "residual", "digit"}
    assert {layer["blame"] for layer in target["layers"]} <= {"weights", "output"}
    assert target["ops"]


def test_explain_shows_groups_with_their_chains_and_what_stays(edgekit):
    code, out, _ = edgekit("explain", "--pruning", "digits-cnn")
    assert code == 0
    assert ": because of " in out
    assert "digit: its channels stay because digit/Softmax (Softmax) mixes all of them" in out
    code, out, _ = edgekit("explain", "--pruning", "digits-cnn", "--json")
    document = json.loads(out)
    assert code == 0
    assert 0.5 < document["prunable_share"] < 1
    for group in document["groups"]:
        assert len(group["because"]) == len(group["members"]) >= 2
        assert {member["role"] for member in group["members"]} >= {"makes", "reads"}
        assert 0 < group["macs_share"] < 1


def test_an_error_is_one_json_document_too(edgekit):
    code, out, _ = edgekit("build", "no-such-model", "-t", "raspberry-pi-5", "--json")
    document = json.loads(out)
    assert code == document["exit_code"] == 9
    assert set(document["error"]) == {"error", "cause", "blame", "remedy"}


def test_debug_adds_the_traceback_and_keeps_code_and_document(edgekit):
    code, out, err = edgekit("build", "no-such-model", "-t", "raspberry-pi-5", "--json", "--debug")
    assert code == json.loads(out)["exit_code"] == 9
    assert "Traceback" in err


def test_build_without_data_asks_for_it(edgekit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"x")
    code, _, err = edgekit("build", "m.onnx", "-t", "raspberry-pi-5")
    assert code == 2
    assert "--no-data" in err
    assert [item.name for item in tmp_path.iterdir()] == ["m.onnx"]
