"""Every array function that ops use exists for CuPy, too.  Needs CuPy installed, but no GPU."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest

import gpugrad
from gpugrad.backends.cupy import CupyBackend

cupy = pytest.importorskip("cupy", reason="CuPy is not installed: pip install 'gpugrad[cuda13]'")
PACKAGE = Path(gpugrad.__file__).parent


def used(folder, namespace):
    """Dotted names below ``namespace`` (``xp`` or ``lib``) in the sources of a folder."""
    found = {}
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            while isinstance(node, ast.Attribute):
                names.append(node.attr)
                node = node.value
            if names and isinstance(node, ast.Name) and node.id == namespace:
                found.setdefault(".".join(reversed(names)), f"{path.name}:{node.lineno}")
    return found


def missing(root, names):
    def has(name):
        value = root
        for part in name.split(".")[:2]:
            try:
                value = getattr(value, part)
            except AttributeError:
                return False
        return True

    return {name: where for name, where in names.items() if not has(name)}


@pytest.fixture(scope="module")
def backend():
    return CupyBackend(cupy, 1)


def test_what_op_functions_call(backend):
    assert missing(backend.xp, used("ops", "xp")) == {}


@pytest.mark.parametrize("namespace", ["lib", "xp"])
def test_what_additions_and_special_functions_call(backend, namespace):
    assert missing(cupy, used("backends", namespace)) == {}


def test_the_search_finds_names(backend):
    assert {"exp", "where"} <= used("ops", "xp").keys()
    assert missing(backend.xp, {"no_such_function": "here"}) == {"no_such_function": "here"}


def test_the_stand_in_offers_what_cupy_offers():
    """``tests/cupy_stand_in/api.json`` is as ``record.py`` writes it (for one version of CuPy)."""
    folder = Path(__file__).parents[1] / "cupy_stand_in"
    recorded = json.loads((folder / "api.json").read_text())
    if recorded["version"] != cupy.__version__:
        pytest.skip(f"recorded from CuPy {recorded['version']}, this is {cupy.__version__}")
    spec = importlib.util.spec_from_file_location("record", folder / "record.py")
    record = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(record)
    assert record.offered(cupy) == recorded
