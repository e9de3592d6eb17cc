"""``gradcheck`` and ``assert_close`` themselves: what passes, what fails, and how they say it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.autograd.gradcheck import GradcheckError
from gpugrad.errors import ArgumentError, NotSupportedError
from gpugrad.tensor import wrap
from gpugrad.testing import assert_allclose, assert_close, gradcheck, gradgradcheck
from gpugrad.testing.layouts import LAYOUTS


def leaf(*shape: int, seed: int = 0) -> gg.Tensor:
    """A float64 leaf with numbers between 1 and 2."""
    array = np.random.default_rng(seed).uniform(1, 2, shape)
    return gg.from_numpy(np.asarray(array)).requires_grad_()


class Scaled(gg.autograd.Function):
    """``x * x`` with a gradient that is ``factor`` times too large."""

    factor = 1.0

    @staticmethod
    def forward(ctx: Any, x: gg.Tensor) -> gg.Tensor:
        """Square."""
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: gg.Tensor) -> gg.Tensor:
        """Twice the input, or more."""
        (x,) = ctx.saved_tensors
        return g * x * (2 * Scaled.factor)


MODES = pytest.mark.parametrize("fast", [True, False], ids=["projected", "full"])


@MODES
@pytest.mark.parametrize("order", [2, 4])
def test_sound_gradients_pass(fast: bool, order: int) -> None:
    """Several inputs, several outputs, a 0-d input, an input without gradient."""

    def func(x: gg.Tensor, y: gg.Tensor, z: gg.Tensor, n: int) -> Any:
        return x * y * z, (x * n, y > 1)

    inputs = (leaf(2, 3), leaf(3, seed=1), leaf().detach(), 3)
    assert gradcheck(func, inputs, fast_mode=fast, order=order)
    assert gradgradcheck(func, inputs, fast_mode=fast, order=order)
    assert gradgradcheck(func, inputs, fast_mode=fast, gen_non_contig_grad_outputs=True)


@MODES
def test_a_function_off_by_a_little_fails(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message shows both numbers, the input and its shape; without raising it is False."""
    assert gradcheck(Scaled.apply, leaf(3), fast_mode=fast)
    monkeypatch.setattr(Scaled, "factor", 1.01)
    with pytest.raises(GradcheckError, match=r"input 0 of shape \(3,\).*analytical .*numerical"):
        gradcheck(Scaled.apply, leaf(3), fast_mode=fast)
    assert gradcheck(Scaled.apply, leaf(3), fast_mode=fast, raise_exception=False) is False


def test_a_lost_dependence_fails() -> None:
    """A gradient of None counts as zeros."""
    with pytest.raises(GradcheckError, match="analytical 0,"):
        gradcheck(lambda x, y: x + y.detach(), (leaf(2), leaf(2, seed=1)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_the_input_are_kept(layout: str) -> None:
    """A strided leaf is moved element by element like any other."""
    x = wrap(LAYOUTS[layout](leaf(2, 3)._array)).requires_grad_()
    assert gradcheck(lambda t: t * t, x)


def test_what_cannot_be_checked_is_refused() -> None:
    """Float32, nothing that requires a gradient, modes that do not exist."""
    with pytest.raises(ArgumentError, match="need float64"):
        gradcheck(lambda x: x, gg.ones(2, requires_grad=True))
    with pytest.raises(ArgumentError, match="no input requires"):
        gradcheck(lambda x: x, leaf(2).detach())
    with pytest.raises(NotSupportedError, match="reverse mode"):
        gradcheck(lambda x: x, leaf(2), check_forward_ad=True)


def test_nondeterminism_is_noticed() -> None:
    """Two backward passes of one graph must agree."""
    calls = iter(range(100))

    def hooked(x: gg.Tensor) -> gg.Tensor:
        y = x * 1.0
        y.register_hook(lambda g: g * (1 + 1e-3 * next(calls)))
        return y

    with pytest.raises(GradcheckError, match="differs between two backward passes"):
        gradcheck(hooked, leaf(2))


def test_assert_close_by_dtype() -> None:
    """PyTorch's default tolerances, and the largest difference in the message."""
    a = gg.tensor([1.0, 2.0])
    assert_close(a, a * (1 + 1e-6))
    with pytest.raises(AssertionError, match=r"1 of 2 elements differ.*at \(1,\): 2.* and 2.5"):
        assert_close(a, gg.tensor([1.0, 2.5]))
    with pytest.raises(AssertionError, match="dtypes differ"):
        assert_close(a, a.double())
    assert_close(a, a.double(), check_dtype=False)
    with pytest.raises(AssertionError, match="shapes differ"):
        assert_close(a, gg.tensor([1.0]))
    with pytest.raises(ArgumentError, match="both rtol and atol"):
        assert_close(a, a, rtol=0.1)


def test_assert_close_of_special_values() -> None:
    """NaN equals NaN when asked to, an infinity only itself."""
    nan, inf = gg.tensor([float("nan")]), gg.tensor([float("inf")])
    with pytest.raises(AssertionError):
        assert_close(nan, nan)
    assert_close(nan, nan, equal_nan=True)
    assert_allclose(nan, nan)
    assert_close(inf, inf)
    with pytest.raises(AssertionError):
        assert_close(inf, -inf)
    with pytest.raises(AssertionError):
        assert_close(gg.tensor([1.0]), inf, rtol=0.1, atol=0.1)


def test_assert_close_of_structures() -> None:
    """Lists, dicts and numbers; the place is named; ``msg`` replaces or wraps the text."""
    assert_close({"a": [gg.tensor(1), 2]}, {"a": [gg.tensor(1), 2]})
    with pytest.raises(AssertionError, match=r"\['a'\]\[1\]"):
        assert_close({"a": [1, 2]}, {"a": [1, 3]})
    with pytest.raises(AssertionError, match="lengths differ"):
        assert_close([1], [1, 2])
    with pytest.raises(AssertionError, match=r"^mine$"):
        assert_close(1, 2, msg="mine")
    with pytest.raises(AssertionError, match=r"^see: "):
        assert_close(1, 2, msg=lambda m: f"see: {m}")


def test_it_has_pytorchs_names():
    assert gg.autograd.gradcheck is gradcheck
    assert gg.autograd.gradgradcheck is gradgradcheck
