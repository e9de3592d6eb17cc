"""Random tensors and in-place random fills.

Every draw takes one call number from a generator; the numbers follow from (seed, call, element).
"""

from __future__ import annotations

import math
from typing import Any

from gpugrad import backends, dtypes
from gpugrad.backends import philox
from gpugrad.config import config
from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.inplace import check_writable, write
from gpugrad.op import Array, function, op
from gpugrad.random import Generator, generator_for
from gpugrad.samples import A, Sample
from gpugrad.signature import int_tuple
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


def _size(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    given = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
    shape = int_tuple(name, "size", given)
    if any(s < 0 for s in shape):
        raise ShapeError(f"{name}: sizes cannot be negative, got {shape}")
    return shape


def _drawn(kind: str, shape: tuple[int, ...], dtype: DType, device: Device,
           generator: Generator | None, *args: Any) -> Any:  # fmt: skip
    """An array of draws: ``kind`` names the function of ``backends.philox``."""
    if device.type == "meta":
        return Spec(shape, dtype)
    backend = backends.for_device(device)
    seed, offset = generator_for(device, generator).draw()
    n = math.prod(shape)
    if kind in ("integers", "permutation"):
        array = getattr(philox, kind)(backend.library, seed, offset, n, *args)
    else:
        array = backend.run(getattr(philox, kind), backend.library, seed, offset, n, dtype.np)
    array = array.reshape(shape)
    return array if array.dtype == dtype.np else array.astype(dtype.np)


def _made(kind: str, shape: tuple[int, ...], dtype: Any, device: Any, generator: Any,
          requires_grad: bool, out: Any, *args: Any, default: DType | None = None) -> Tensor:  # fmt: skip
    chosen = (default or config.default_dtype) if dtype is None else dtypes.as_dtype(dtype)
    if not chosen.is_floating_point and default is None:
        raise DTypeError(f"{kind}: random reals need a floating dtype, got {chosen.name}")
    if out is not None:
        check_writable(kind, out)
        if tuple(out.shape) != shape:
            raise ShapeError(f"{kind}: out has shape {tuple(out.shape)}, the result {shape}")
        write(out, _drawn(kind, shape, out.dtype, out.device, generator, *args))
        return out
    place = Device(config.default_device if device is None else device)
    t = wrap(_drawn(kind, shape, chosen, place, generator, *args))
    return t.requires_grad_() if requires_grad else t


@function(method=False, samples=(), torch="", differentiable=False)
def rand(*size: Any, generator: Generator | None = None, out: Tensor | None = None,
         dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Uniform on [0, 1) in the given size."""
    return _made("uniform", _size("rand", size), dtype, device, generator, requires_grad, out)


@function(method=False, samples=(), torch="", differentiable=False)
def randn(*size: Any, generator: Generator | None = None, out: Tensor | None = None,
          dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Standard normal in the given size (Box and Muller 1958)."""
    return _made("normal", _size("randn", size), dtype, device, generator, requires_grad, out)


@function(method=False, samples=(), torch="", differentiable=False)
def randint(*args: Any, low: int | None = None, high: int | None = None, size: Any = None,
            generator: Generator | None = None, out: Tensor | None = None, dtype: Any = None,
            device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Uniform integers: ``randint(high, size)`` or ``randint(low, high, size)``, high exclusive."""
    given = list(args)
    if size is None:
        if not given:
            raise ArgumentError("randint: missing size; it is randint([low,] high, size)")
        size = given.pop()
    if len(given) == 2:
        low, high = given
    elif len(given) == 1:
        if high is None:
            high = given[0]
        else:
            low = given[0]
    low = 0 if low is None else int(low)
    if high is None or int(high) <= low:
        raise SettingError(f"randint: high must be above low, got low={low}, high={high}")
    return _made("integers", int_tuple("randint", "size", size), dtype, device, generator,
                 requires_grad, out, low, int(high), default=dtypes.int64)  # fmt: skip


@function(method=False, samples=(), torch="", differentiable=False)
def randperm(n: int, *, generator: Generator | None = None, out: Tensor | None = None,
             dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A random permutation of ``0 .. n-1``."""
    if not isinstance(n, int) or n < 0:
        raise SettingError(f"randperm: n must be a non-negative int, got {n!r}")
    return _made("permutation", (n,), dtype, device, generator, requires_grad, out,
                 default=dtypes.int64)  # fmt: skip


def _like(input: Tensor, dtype: Any, device: Any) -> dict[str, Any]:
    return {"dtype": input.dtype if dtype is None else dtype,
            "device": input.device if device is None else device}  # fmt: skip


@function(method=False, samples=(), torch="", differentiable=False)
def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``rand`` with the input's size, dtype and device."""
    return rand(tuple(input.shape), **_like(input, dtype, device), requires_grad=requires_grad)  # type: ignore[no-any-return]


@function(method=False, samples=(), torch="", differentiable=False)
def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``randn`` with the input's size, dtype and device."""
    return randn(tuple(input.shape), **_like(input, dtype, device), requires_grad=requires_grad)  # type: ignore[no-any-return]


@function(method=False, samples=(), torch="", differentiable=False)
def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None,
                 device: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """``randint`` with the input's size, dtype and device."""
    bounds = (0, low) if high is None else (low, high)
    return randint(*bounds, tuple(input.shape), **_like(input, dtype, device),  # type: ignore[no-any-return]
                   requires_grad=requires_grad)  # fmt: skip


def _uniforms(input: Tensor, generator: Generator | None) -> Tensor:
    """Uniforms of the input's shape, in float64 for float64 and float32 otherwise."""
    dtype = dtypes.float64 if input.dtype is dtypes.float64 else dtypes.float32
    return wrap(_drawn("uniform", tuple(input.shape), dtype, input.device, generator))


@function(samples=(), torch="", differentiable=False)
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None,
              out: Tensor | None = None) -> Tensor:  # fmt: skip
    """1 with probability ``input`` (or ``p``) elementwise, else 0, in the input's dtype."""
    if p is None and not input.dtype.is_floating_point:
        raise DTypeError(f"bernoulli: probabilities must be floating, got {input.dtype.name}")
    probability = input.detach() if p is None else p
    if not (p is None and input.is_meta):
        bad = bool(((probability < 0) | (probability > 1)).any()) if p is None else not 0 <= p <= 1
        if bad:
            raise SettingError("bernoulli: probabilities must be in [0, 1]")
    result = (_uniforms(input, generator) < probability).to(input.dtype)
    return result if out is None else out.copy_(result)  # type: ignore[no-any-return]


@function(samples=(), torch="", differentiable=False)
def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *,
                generator: Generator | None = None, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Draw ``num_samples`` indices per row, with probability proportional to the row's weights.

    With replacement by inverting the cumulative sum; without by the exponential race (Efraimidis and
    Spirakis 2006): the ``num_samples`` smallest of ``-log(u) / weight``.

    Args:
        input: weights of shape (n,) or (rows, n), non-negative, not all zero in a row.

    Returns:
        int64 indices of shape (num_samples,) or (rows, num_samples).
    """
    if input.ndim not in (1, 2):
        raise ShapeError(f"multinomial: weights must be 1-d or 2-d, got shape {tuple(input.shape)}")
    if not input.dtype.is_floating_point:
        raise DTypeError(f"multinomial: weights must be floating, got {input.dtype.name}")
    weights = input.detach().reshape((-1, input.shape[-1]))
    if num_samples <= 0:
        raise SettingError(f"multinomial: num_samples must be positive, got {num_samples}")
    if bool(((weights < 0) | ~weights.isfinite()).any()):
        raise SettingError("multinomial: weights must be finite and not negative")
    positive = (weights > 0).sum(-1)
    if bool((positive == 0).any()):
        raise SettingError("multinomial: the weights of a row are all zero")
    if not replacement and num_samples > weights.shape[1]:
        raise SettingError(
            f"multinomial: {num_samples} samples without replacement from {weights.shape[1]} weights"
        )
    if replacement:
        wide = weights.double().cumsum(-1)
        shape = (weights.shape[0], num_samples)
        u = wrap(_drawn("uniform", shape, dtypes.float64, input.device, generator))
        # right=True steps over zero weights; u < 1 keeps the index below n
        picked = wide.searchsorted(u * wide[:, -1:], right=True).clamp(max=weights.shape[1] - 1)
    else:
        shape = tuple(weights.shape)
        e = wrap(_drawn("exponential", shape, dtypes.float64, input.device, generator))
        race = e / weights.double()
        picked = race.topk(num_samples, dim=-1, largest=False).indices
    result = picked if input.ndim == 2 else picked.reshape((num_samples,))
    return result if out is None else out.copy_(result)  # type: ignore[no-any-return]


@function(method=False, samples=(), torch="", differentiable=False)
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
           out: Tensor | None = None, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Normal draws: ``normal(mean, std)`` with tensors, or ``normal(mean, std, size)`` with numbers."""
    lead = next((v for v in (mean, std) if isinstance(v, Tensor)), None)
    if lead is None and size is None:
        raise ArgumentError("normal: with numbers for mean and std, a size is needed")
    if lead is not None:
        spread = (mean + std * 0) if isinstance(mean, Tensor) else (std * 0 + mean)
        z = randn(tuple(spread.shape), generator=generator, dtype=spread.dtype, device=spread.device)
        result = (mean + z * std).detach()
    else:
        _check_std("normal", std)
        z = randn(int_tuple("normal", "size", size), generator=generator, dtype=dtype, device=device)
        result = (z * std + mean).requires_grad_(requires_grad)
    return result if out is None else out.copy_(result)  # type: ignore[no-any-return]


def _check_std(name: str, std: float) -> None:
    if not std >= 0:
        raise SettingError(f"{name}: std must not be negative, got {std}")


@function(samples=(), torch="", differentiable=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson counts with mean ``input``, by inverting the distribution function term by term.

    Meant for moderate means; one pass per count up to the largest drawn.
    """
    if not input.dtype.is_floating_point:
        raise DTypeError(f"poisson: rates must be floating, got {input.dtype.name}")
    rate = input.detach().double()
    if bool(((rate < 0) | (rate > 500)).any()):
        raise SettingError("poisson: rates must be in [0, 500]")
    u = wrap(_drawn("uniform", tuple(input.shape), dtypes.float64, input.device, generator))
    term = (-rate).exp()
    total, count, k = term, rate * 0, 0
    while bool(((u >= total) & (k <= rate * 4 + 100)).any()):
        k += 1
        count = count + (u >= total).double()
        term = term * rate / k
        total = total + term
    return count.to(input.dtype)  # type: ignore[no-any-return]


# ---- in place --------------------------------------------------------------------------------


def _fill(name: str, target: Tensor, values: Any) -> Tensor:
    """Write draws through ``copy_``, which knows what a write does to history."""
    check_writable(name, target)
    return target.copy_(values)  # type: ignore[no-any-return]


def _reals(name: str, target: Tensor, kind: str, generator: Generator | None) -> Tensor:
    if not target.dtype.is_floating_point:
        raise DTypeError(f"{name}: takes floating dtypes, got {target.dtype.name}")
    check_writable(name, target)
    return wrap(_drawn(kind, tuple(target.shape), target.dtype, target.device, generator))


@function(name="uniform_", samples=(), torch="", differentiable=False)
def uniform(input: Tensor, from_: float = 0.0, to: float = 1.0, *,
            generator: Generator | None = None, **older: float) -> Tensor:  # fmt: skip
    """Fill with uniforms on [from, to)."""
    low = older.pop("from", from_)
    low, high = older.pop("a", low), older.pop("b", to)
    if older or not high >= low:
        raise SettingError(f"uniform_: to must be at least from, got {low} and {high} {older or ''}")
    return _fill("uniform_", input, _reals("uniform_", input, "uniform", generator) * (high - low) + low)


@function(name="normal_", samples=(), torch="", differentiable=False)
def normal_fill(input: Tensor, mean: float = 0.0, std: float = 1.0, *,
                generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with normal draws."""
    _check_std("normal_", std)
    return _fill("normal_", input, _reals("normal_", input, "normal", generator) * std + mean)


@function(name="log_normal_", samples=(), torch="", differentiable=False)
def log_normal(input: Tensor, mean: float = 1.0, std: float = 2.0, *,
               generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Fill with exponentials of normal draws."""
    _check_std("log_normal_", std)
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
    e = wrap(_drawn("exponential", shape, dtypes.float64, device, generator))
    return _fill("geometric_", input, (e / -math.log1p(-p)).ceil().clamp(min=1).to(input.dtype))


@function(name="bernoulli_", samples=(), torch="", differentiable=False)
def bernoulli_fill(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability ``p`` (a number or a tensor), else 0."""
    check_writable("bernoulli_", input)
    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise SettingError(f"bernoulli_: p must be in [0, 1], got {p}")
    return _fill("bernoulli_", input, (_uniforms(input, generator) < p).to(input.dtype))


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
    draws = _drawn("integers", tuple(input.shape), dtypes.int64, input.device, generator, low, high)
    return _fill("random_", input, wrap(draws).to(input.dtype))


def _largest(dtype: DType) -> int:
    if dtype is dtypes.bool_:
        return 2
    if dtype.is_floating_point:
        mantissa = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
        return int(2 ** mantissa[dtype.name]) + 1
    return min(dtypes.iinfo(dtype).max + 1, (1 << 63) - 1)


# ---- dropout ---------------------------------------------------------------------------------


@op(home="nn.functional", method=False, accepts="f", torch="",
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
    return input.copy_(result) if inplace else result  # type: ignore[no-any-return]
