"""The public API: what it is, that it costs nothing to import, and that every name is there."""

import subprocess
import sys

import edgekit

_PUBLIC = [
    "BuildReport", "EdgekitError", "Model", "Recipe", "Target", "bench", "build", "compare", "inspect", "list_targets",
    "load", "load_recipe", "load_target", "validate",
]  # fmt: skip


def test_the_public_names_are_these_and_resolve():
    assert edgekit.__all__ == _PUBLIC
    for name in _PUBLIC:
        assert getattr(edgekit, name).__doc__, name
    assert set(_PUBLIC) < set(dir(edgekit))


def test_paths_may_be_text(tmp_path, monkeypatch):
    import pytest

    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(edgekit.EdgekitError, match="out"):
        edgekit.build("digits-cnn", ["intel-cpu"], out="out/put")
    for verb in (edgekit.validate, edgekit.bench):
        with pytest.raises(edgekit.EdgekitError, match="nowhere"):
            verb("nowhere/model.xml")


def test_importing_edgekit_imports_nothing_else_of_weight():
    code = "import sys, edgekit; print([m for m in ('numpy', 'onnx', 'pydantic', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_packages_exports_exist():
    """`__all__` is the boundary of each module; a name in it that isn't there breaks `import *` and the docs."""
    import importlib
    import pkgutil

    missing = []
    for info in pkgutil.walk_packages(edgekit.__path__, "edgekit."):
        if info.name == "edgekit.__main__" or "_resources" in info.name:
            continue
        module = importlib.import_module(info.name)
        missing += [f"{info.name}.{name}" for name in getattr(module, "__all__", []) if not hasattr(module, name)]
    assert missing == []
