"""In-place random fills, and dropout."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError, SettingError
from gpugrad.inplace import check_writable
from gpugrad.op import Array, function, op
from gpugrad.ops.random import check_std, drawn, uniforms
from gpugrad.random import Generator, generator_for
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


def _fill(name: str, target: Tensor, values: Any) -> Tensor:
    """Write draws through ``copy_``, which knows what a write does to history."""
    check_writable(name, target)
    return target.copy_(values)


def _reals(name: str, target: Tensor, kind: str, generator: Generator | None) -> Tensor:
    if not target.dtype.is_floating_point:
        raise DTypeError(f"{name}: takes floating dtypes, got {target.dtype.name}")
    check_writable(name, target)
    return wrap(drawn(kind, tuple(target.shape), target.dtype, target.device, generator))


@function(name="uniform_", samples=(), torch="", differentiable=False)
def uniform(input: Tensor, from_: float = 0.0, to: float = 1.0, *,
            generator: Generator | None = None, **older: float) -> Tensor:  # fmt: skip
    """Fill with uniforms on [from, to)."""
    low = older.pop("from", from_)
    low, high = older.pop("a", low), older.pop("b", to)
    if older or not high >= low:
        raise SettingError(
            f"uniform_: to must be at least from, got {low} and {high} {older or ''}"
        )
    return _fill(
        "uniform_", input, _reals("uniform_", input, "uniform", generator) * (high - low) + low
    )


@function(name="normal_", samples=(), torch="", differentiable=False)
def normal_fill(input: Tensor, mean: float = 0.0, std: float = 1.0, *,
                generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with normal draws."""
    check_std("normal_", std)
    return _fill("normal_", input, _reals("normal_", input, "normal", generator) * std + mean)


@function(name="log_normal_", samples=(), torch="", differentiable=False)
def log_normal(input: Tensor, mean: float = 1.0, std: float = 2.0, *,
               generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with exponentials of normal draws."""
    check_std("log_normal_", std)
    draws = _reals("log_normal_", input, "normal", generator)
    return _fill("log_normal_", input, (draws * std + mean).exp())


@function(name="exponential_", samples=(), torch="", differentiable=False)
def exponential(input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponential draws of rate ``lambd``."""
    if not lambd > 0:
        raise SettingError(f"exponential_: lambd must be positive, got {lambd}")
    draws = _reals("exponential_", input, "exponential", generator)
    return _fill("exponential_", input, draws / lambd)


@function(name="cauchy_", samples=(), torch="", differentiable=False)
def cauchy(input: Tensor, median: float = 0.0, sigma: float = 1.0, *,
           generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with Cauchy draws: ``median + sigma * tan(pi * (u - 1/2))``."""
    draws = _reals("cauchy_", input, "uniform", generator)
    return _fill("cauchy_", input, ((draws - 0.5) * math.pi).tan() * sigma + median)


@function(name="geometric_", samples=(), torch="", differentiable=False)
def geometric(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success: ``ceil(log(u) / log(1 - p))``."""
    if not 0 < p < 1:
        raise SettingError(f"geometric_: p must be in (0, 1), got {p}")
    check_writable("geometric_", input)
    shape, device = tuple(input.shape), input.device
    e = wrap(drawn("exponential", shape, dtypes.float64, device, generator))
    return _fill("geometric_", input, (e / -math.log1p(-p)).ceil().clamp(min=1).to(input.dtype))


@function(name="bernoulli_", samples=(), torch="", differentiable=False)
def bernoulli_fill(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability ``p`` (a number or a tensor), else 0."""
    check_writable("bernoulli_", input)
    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise SettingError(f"bernoulli_: p must be in [0, 1], got {p}")
    return _fill("bernoulli_", input, (uniforms(input, generator) < p).to(input.dtype))


@function(name="random_", samples=(), torch="", differentiable=False)
def random_integers(input: Tensor, low: int = 0, high: int | None = None, *,
                    generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with integers: ``random_()``, ``random_(high)`` or ``random_(low, high)``.

    Without bounds: 0 up to what the dtype holds exactly.
    """
    check_writable("random_", input)
    if high is None:
        low, high = (0, low) if low else (0, _largest(input.dtype))
    if high <= low:
        raise SettingError(f"random_: high must be above low, got {low} and {high}")
    draws = drawn("integers", tuple(input.shape), dtypes.int64, input.device, generator, low, high)
    return _fill("random_", input, wrap(draws).to(input.dtype))


def _largest(dtype: DType) -> int:
    if dtype is dtypes.bool_:
        return 2
    if dtype.is_floating_point:
        mantissa = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
        return int(2 ** mantissa[dtype.name]) + 1
    return min(dtypes.iinfo(dtype).max + 1, (1 << 63) - 1)


@op(home="nn.functional", method=False, accepts="f", torch="", half="kernel",
    samples=[Sample(A((3, 4)), p=0.5, seed=1, offset=2), Sample(A(()), p=0.3, seed=3, offset=0),
             Sample(A((0, 2)), p=0.0, seed=0, offset=0), Sample(A((5,)), p=1.0, seed=9, offset=1)],
    result=lambda input, *, p, seed, offset: Spec(input.shape, input.dtype))  # fmt: skip
def philox_dropout(xp, input: Array, *, p: float, seed: int, offset: int) -> Array:
    """Zero where the uniform of (seed, offset, element) is below ``p``, else ``input / (1 - p)``.

    The mask follows from two numbers, so none is kept for the gradient.
    """
    return xp.philox_dropout(input, p, seed, offset)


@philox_dropout.vjp
def _(xp, g, p, seed, offset):
    return xp.philox_dropout(g, p, seed, offset)


@function(home="", method=False, samples=(), torch="", aliases=("nn.functional.dropout",))
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability ``p`` while training, and scale the rest by 1/(1-p)."""
    if not 0 <= p <= 1:
        raise SettingError(f"dropout: p must be in [0, 1], got {p}")
    if not training or p == 0:
        return input
    seed, offset = generator_for(input.device).draw()
    result = philox_dropout(input, float(p), seed, offset)
    return input.copy_(result) if inplace else result
