"""A new op in a new file of ``ops/``, and nowhere else, has everything that ops have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.codegen import c
from gpugrad.codegen.trace import trace_forward, trace_gradient
from gpugrad.op import Array, elementwise, registry
from gpugrad.testing import check_op, gradcheck, gradgradcheck
from gpugrad.testing.scratch import scratch

NEW_FILE = '''
"""One op more."""

from __future__ import annotations

from gpugrad.op import Array, elementwise


@elementwise(domain=(-2.0, 2.0), accepts="f", inplace=True, aliases=("bent",), torch="")
def soft_bend(xp, input: Array, other: Array) -> Array:
    """Sum that is bent by the hyperbolic tangent of the product."""
    return input + xp.tanh(input * other)


@soft_bend.vjp("input")
def _(xp, g, input, other):
    t = xp.tanh(input * other)
    return g * (1 + (1 - t * t) * other)


@soft_bend.vjp("other")
def _(xp, g, input, other):
    t = xp.tanh(input * other)
    return g * (1 - t * t) * input
'''

USE = """
import json
import gpugrad as gg
from gpugrad import listing
from gpugrad.codegen import c
from gpugrad.codegen.trace import trace_forward, trace_gradient
from gpugrad.op import registry
from gpugrad.testing import check_op, gradcheck, gradgradcheck

x = gg.from_numpy(__import__("numpy").array([0.5, -1.0])).requires_grad_()
y = gg.from_numpy(__import__("numpy").array([[2.0], [0.25]])).requires_grad_()
op = registry["soft_bend"]
entry = next(e for e in listing.entries() if e.name == "soft_bend")
check_op("soft_bend")
print(json.dumps({
    "from": gg.__file__,
    "value": gg.soft_bend(x, y).tolist(),
    "method": x.soft_bend(y).tolist(),
    "alias": gg.bent(x, y).tolist(),
    "in place": x.detach().clone().soft_bend_(y.detach()[0]).tolist(),
    "checked": gradcheck(gg.soft_bend, (x, y)) and gradgradcheck(gg.soft_bend, (x, y)),
    "c": c.source("k", *(lambda t: (t.inputs, t.outputs))(
        trace_forward(op, [gg.float64, gg.float64], {}))),
    "c of the gradient": c.source("k", *(lambda t: (t.inputs, t.outputs))(
        trace_gradient(op, "input", [gg.float64, gg.float64], {}))),
    "doc": gg.soft_bend.__doc__,
    "listed": [entry.signature, entry.doc, entry.differentiable, entry.kind],
}))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, and of the derived tests, with one file more."""
    source = Path(gg.__file__).parent
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, tmp_path / "gpugrad", ignore=skip)
    (tmp_path / "gpugrad" / "ops" / "soft_bend.py").write_text(NEW_FILE)
    shutil.copy(Path(__file__).with_name("test_records.py"), tmp_path)
    return tmp_path


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=package, text=True, capture_output=True, timeout=120,
        check=False, env=os.environ | {"PYTHONPATH": str(package)},
    )  # fmt: skip


def test_a_file_in_ops_is_all_it_takes(package: Path) -> None:
    """Callable, a method, in place, differentiable twice, printed as C, documented, listed."""
    done = run(package, "-c", USE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["from"]).is_relative_to(package)
    x, y = np.array([0.5, -1.0]), np.array([[2.0], [0.25]])
    np.testing.assert_allclose(found["value"], x + np.tanh(x * y), rtol=1e-15)
    assert found["value"] == found["method"] == found["alias"]
    np.testing.assert_allclose(found["in place"], x + np.tanh(x * 2), rtol=1e-15)
    assert found["checked"]
    assert "tanh(" in found["c"]
    assert "const double*" in found["c of the gradient"]
    assert found["doc"].startswith("soft_bend(input, other)")
    assert found["listed"][1:] == [
        "Sum that is bent by the hyperbolic tangent of the product.", True, "composite"
    ]  # fmt: skip


def test_the_derived_tests_find_it(package: Path) -> None:
    """No list of tests names it, and yet it is tested."""
    done = run(package, "-m", "pytest", "-q", "-k", "soft_bend and not cuda",
               "-p", "no:cacheprovider", "test_records.py")  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def _scratch() -> Iterator[None]:
    with scratch():
        yield


@pytest.mark.usefixtures("_scratch")
def test_an_op_of_a_user_at_run_time() -> None:
    """The same for an op that a program registers itself, and it can be forgotten again."""

    @elementwise(domain=(0.1, 3.0), promotion="float", torch="")
    def log_plus(xp, input: Array) -> Array:
        """Logarithm plus its argument."""
        return xp.log(input) + input

    @log_plus.vjp
    def _(xp, g, input):
        return g / input + g

    x = gg.from_numpy(np.array([0.5, 2.0])).requires_grad_()
    assert gradcheck(gg.log_plus, (x,), fast_mode=True)
    assert gradgradcheck(lambda t: t.log_plus(), (x,))
    check_op("log_plus")
    for trace in (
        trace_forward(log_plus, [gg.float32], {}),
        trace_gradient(log_plus, None, [gg.float32], {}),
    ):
        assert "log" in c.source("k", trace.inputs, trace.outputs) or trace.names == ("g", "input")


def test_scratch_leaves_nothing_behind() -> None:
    """After the block the name is free, as function, method and in every namespace."""
    names = set(registry.ops)
    with scratch():

        @elementwise(inplace=True, aliases=("fleeting_too",))
        def fleeting(xp, input: Array) -> Array:
            """Made up."""
            return input + input

        assert gg.fleeting(gg.from_numpy(np.ones(2))).tolist() == [2.0, 2.0]
    assert set(registry.ops) == names
    for name in ("fleeting", "fleeting_", "fleeting_too"):
        assert not hasattr(gg, name)
        assert not hasattr(gg.Tensor, name)
