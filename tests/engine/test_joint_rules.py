"""Rules that give several gradients at once: when they run, and that they say what others say."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import RegistrationError
from gpugrad.op import Array, Op, op, registry

CALLS: list[str] = []


@pytest.fixture(scope="module")
def axpby() -> Op:
    """``a * x + b * y`` with a rule for each array, and one for both x and y."""

    @op(home="_test", method=False, torch="", promotion="same", samples=())
    def axpby(xp, x: Array, y: Array, z: Array, *, a: float, b: float) -> Array:
        """Weighted sum."""
        return a * x + b * y + z

    @axpby.vjp("x")
    def _(xp, g, a):
        CALLS.append("x")
        return a * g

    @axpby.vjp("y")
    def _(xp, g, b):
        CALLS.append("y")
        return b * g

    @axpby.vjp("z")
    def _(xp, g):
        CALLS.append("z")
        return g

    @axpby.vjp_of("y", "x")
    def _(xp, g, x, a, b):
        CALLS.append("both")
        return b * g, a * g + 0 * x

    yield axpby
    del registry.ops["_test.axpby"]


def gradients(record: Op, wanted: str, create_graph: bool = False) -> tuple[list[str], list]:
    """Rules that ran, and the gradients of x, y and z."""
    x, y, z = (gg.ones(3).requires_grad_(n in wanted) for n in "xyz")
    out = record.public(x, y, z, a=2.0, b=3.0)
    CALLS.clear()
    out.backward(gg.tensor([1.0, 2.0, 4.0]), create_graph=create_graph)
    found = [None if t.grad is None else t.grad.tolist() for t in (x, y, z)]
    return sorted(CALLS), found


def test_it_runs_where_all_of_its_gradients_are_wanted(axpby) -> None:
    """Otherwise each runs its own rule; recorded gradients always do."""
    x, y, z = [2, 4, 8], [3, 6, 12], [1, 2, 4]
    assert gradients(axpby, "xyz") == (["both", "z"], [x, y, z])
    assert gradients(axpby, "xy") == (["both"], [x, y, None])
    assert gradients(axpby, "xz") == (["x", "z"], [x, None, z])
    assert gradients(axpby, "y") == (["y"], [None, y, None])
    assert gradients(axpby, "xyz", create_graph=True) == (["x", "y", "z"], [x, y, z])


def test_what_it_reads_is_kept(axpby) -> None:
    """A write to that is noticed, as for any rule."""
    x, y = gg.ones(3, requires_grad=True), gg.ones(3, requires_grad=True)
    mid = x * 1
    out = axpby.public(mid, y, gg.zeros(3), a=1.0, b=1.0)
    with gg.no_grad():
        mid.add_(1)
    with pytest.raises(gg.errors.AutogradError, match="modified by an in-place operation"):
        out.sum().backward()


def test_it_needs_the_rules_of_each(axpby) -> None:
    """One array, an unknown one, and what a rule cannot have are refused."""
    for targets in (("x",), ("x", "w"), ()):
        with pytest.raises(RegistrationError, match="one rule for each of two"):
            axpby.vjp_of(*targets)
    with pytest.raises(RegistrationError, match=r"asks for \['w'\]"):
        axpby.vjp_of("x", "z")(lambda xp, g, w: (g, g))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [gg.float64, gg.bfloat16])
def test_linear_says_the_same_both_ways(shape, dtype) -> None:
    """Weight and bias together, and each alone: the same bits."""

    def run(weight: bool, bias: bool) -> list:
        rng = np.random.default_rng(0)
        x, w, b = (gg.from_numpy(rng.standard_normal(s)).to(dtype) for s in (shape, (5, 4), (5,)))
        w, b = w.requires_grad_(weight), b.requires_grad_(bias)
        out = gg.nn.functional.linear(x, w, b)
        out.backward(gg.from_numpy(rng.standard_normal(out.shape)).to(dtype))
        return [w.grad, b.grad]

    both, one, other = run(True, True), run(True, False), run(False, True)
    assert gg.equal(both[0], one[0])
    assert gg.equal(both[1], other[1])
