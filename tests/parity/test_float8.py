"""8-bit floats: every value and cast is PyTorch's; they are moved, never computed with."""

import copy
import pickle

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import DTypeError

torch = pytest.importorskip("torch")
NAMES = ("float8_e4m3fn", "float8_e5m2")
pytestmark = pytest.mark.parametrize("name", NAMES)
RNG = np.random.default_rng(0)
VALUES = np.concatenate([
    RNG.normal(size=2000) * np.exp(RNG.normal(size=2000) * 4),
    [0.0, -0.0, 448, 449, 464, 465, 480, 57344, 61439, 61440, 1e6, 2.0**-9, 2.0**-10, 1e-30,
     np.inf, -np.inf, np.nan],
])  # fmt: skip


def both(name, values):
    return [lib.tensor(values).to(getattr(lib, name)) for lib in (gg, torch)]


def same(ours, theirs):
    assert str(ours.dtype) == str(theirs.dtype).replace("torch", "gpugrad")
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.float().numpy(), theirs.float().detach().numpy())


@pytest.mark.parametrize("source", ["float64", "float32", "float16", "bfloat16", "int64", "int8",
                                    "bool"])  # fmt: skip
def test_casts(name, source):
    """To it, and from it to every dtype; what is too large is the largest number or infinite."""
    with np.errstate(all="ignore"):
        ours, theirs = (lib.tensor(np.nan_to_num(VALUES) if source[0] in "ib" else VALUES)
                        .clamp(-1e5, 1e5).to(getattr(lib, source))
                        for lib in (gg, torch))  # fmt: skip
    a, b = ours.to(getattr(gg, name)), theirs.to(getattr(torch, name))
    same(a, b)
    finite = torch.isfinite(b.float())
    for target in ("float64", "float16", "bfloat16", "bool", "int32"):
        mask = gg.tensor(finite.numpy())
        same(a[mask].to(getattr(gg, target)), b[finite].to(getattr(torch, target)))


def test_all_bytes(name):
    bits = np.arange(256, dtype=np.uint8)
    ours, theirs = (lib.tensor(bits).view(getattr(lib, name)) for lib in (gg, torch))
    same(ours, theirs)
    assert ours.view(gg.uint8).tolist() == bits.tolist()
    assert str(ours.tolist()) == str(theirs.tolist())


MOVES = {
    "slice": lambda t, x: x[1:, ::2],
    "index": lambda t, x: x[t.tensor([1, 0])],
    "mask": lambda t, x: x[t.tensor([True, False])],
    "cat": lambda t, x: t.cat([x, x]),
    "stack": lambda t, x: t.stack([x, x], 1),
    "transpose": lambda t, x: x.t().contiguous(),
    "reshape": lambda t, x: x.reshape(3, 2),
    "expand": lambda t, x: x[0].expand(4, 3),
    "repeat": lambda t, x: x.repeat(2, 1),
    "roll": lambda t, x: x.roll(1),
    "where": lambda t, x: t.where(t.tensor([True, False, True]), x, x.flip(0) if t is gg else
                                  x.float().flip(0).to(x.dtype)),
    "clone": lambda t, x: x.clone(),
    "zeros": lambda t, x: t.zeros(3, dtype=x.dtype),
    "ones": lambda t, x: t.ones_like(x),
    "full": lambda t, x: t.full((2,), 3.0, dtype=x.dtype),
    "data": lambda t, x: t.tensor([1.0, 500.0], dtype=x.dtype),
    "new": lambda t, x: x.new_zeros(2),
    "copy": lambda t, x: t.zeros(2, 3, dtype=x.dtype).copy_(1e6 * x.float()),
    "fill": lambda t, x: x.clone().fill_(2),
    "zero": lambda t, x: x.clone().zero_(),
    "write": lambda t, x: _written(x.clone()),
    "pickle": lambda t, x: pickle.loads(pickle.dumps(x)) if t is gg else x,
    "deepcopy": lambda t, x: copy.deepcopy(x),
    "element": lambda t, x: x[1, 2],
}  # fmt: skip


def _written(x):
    x[0] = 7
    return x


@pytest.mark.parametrize("move", MOVES)
def test_moves(name, move):
    ours, theirs = both(name, [[0.1, -2.5, 300.0], [1e-3, 5.0, 0.0]])
    same(MOVES[move](gg, ours), MOVES[move](torch, theirs))


def test_gradients_pass_casts(name):
    def run(lib):
        x = lib.tensor([0.3, -2.0, 5.0], requires_grad=True)
        y = x.to(getattr(lib, name))
        assert y.requires_grad
        (y.float() * lib.tensor([0.3, 2.0, 7.0])).sum().backward()
        return x.grad

    same(run(gg), run(torch))


def test_facts(name):
    ours, theirs = getattr(gg, name), getattr(torch, name)
    assert repr(gg.finfo(ours)) == repr(torch.finfo(theirs))
    assert (ours.itemsize, ours.is_floating_point) == (1, True)
    x, y = both(name, [1.5, -300.0])
    assert repr(x) == repr(y).replace("torch", "gpugrad")
    assert x[0].item() == 1.5
    assert gg.result_type(x, 2.0) is ours
    assert gg.promote_types(ours, ours) is ours


COMPUTED = {
    "add": lambda t, x: x + x, "number": lambda t, x: x * 2, "less": lambda t, x: x < x,
    "sum": lambda t, x: x.sum(), "negative": lambda t, x: -x, "exp": lambda t, x: x.exp(),
    "max": lambda t, x: x.max(), "sort": lambda t, x: x.sort(), "relu": lambda t, x: x.relu(),
    "mean": lambda t, x: x.mean(), "dot": lambda t, x: x @ x, "mixed": lambda t, x: x + x.float(),
    "joined": lambda t, x: t.cat([x, t.ones(2, dtype=t.bfloat16)]) + 1,
    "default": lambda t, x: t.set_default_dtype(x.dtype),
    "promoted": lambda t, x: t.promote_types(x.dtype, t.float32),
}  # fmt: skip


@pytest.mark.parametrize("what", COMPUTED)
def test_nothing_is_computed(name, what):
    ours, theirs = both(name, [1.0, 2.0])
    with pytest.raises((RuntimeError, TypeError)):
        COMPUTED[what](torch, theirs)
    with pytest.raises(DTypeError, match=name.replace("_", ".?")):
        COMPUTED[what](gg, ours)
