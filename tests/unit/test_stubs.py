"""The type stubs that are made from the records: complete, parsable, and what a checker sees."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gpugrad
from gpugrad import stubs
from gpugrad.methods import TensorMethods
from gpugrad.publish import homes

PACKAGE = Path(gpugrad.__file__).parent

USE = """
import gpugrad as gg
from gpugrad import Generator, Tensor, bool, device, long, use_deterministic_algorithms
x = gg.ones(2, 3)
reveal_type(x.sum(dim=1, keepdim=True))
reveal_type(gg.sort(x).values)
reveal_type(x + 1)
reveal_type(x[0])
reveal_type(gg.nn.functional.gelu(x, approximate="tanh"))
x.exp(base=2)
gg.softmax(x, dim="one")
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the package's sources with fresh stubs beside them."""
    root = tmp_path_factory.mktemp("stubs")
    for source in PACKAGE.rglob("*.py"):
        target = root / "gpugrad" / source.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (root / "gpugrad" / "py.typed").touch()
    stubs.write(root / "gpugrad")
    return root


def defined(path):
    module = ast.parse(path.read_text())
    names = {n.name for n in ast.walk(module) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names |= {n.target.id for n in module.body if isinstance(n, ast.AnnAssign)}
    return names | {a.asname for n in module.body if isinstance(n, ast.ImportFrom) for a in n.names}


def test_every_public_name_is_in_a_stub(tree):
    assert homes[""].keys() <= defined(tree / "gpugrad/__init__.pyi")
    assert homes["linalg"].keys() <= defined(tree / "gpugrad/linalg.pyi")
    assert homes["nn.functional"].keys() <= defined(tree / "gpugrad/nn/functional.pyi")
    methods = {n for n in vars(TensorMethods) if not n.startswith("__")}
    assert methods <= defined(tree / "gpugrad/methods.pyi")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_checker_sees_signatures_and_results(tree):
    (tree / "use.py").write_text(USE)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tree / "cache"),
         "--follow-imports", "silent", "use.py"],
        capture_output=True, text=True, cwd=tree, check=False,
        env={**os.environ, "MYPYPATH": str(tree)},
    )  # fmt: skip
    lines = [line for line in run.stdout.splitlines() if line.startswith("use.py")]
    revealed = [line for line in lines if "Revealed type" in line]
    assert len(revealed) == 5
    assert all('"gpugrad.tensor.Tensor"' in line for line in revealed), run.stdout
    errors = [line for line in lines if "error" in line]
    assert len(errors) == 2, run.stdout
    assert '"base"' in errors[0]
    assert 'expected "int"' in errors[1]
