"""Random tensors and in-place random fills.

Every draw takes one call number from a generator; the numbers follow from (seed, call, element).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from gpugrad import backends, dtypes
from gpugrad.config import config
from gpugrad.devices import Device, place
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.factory import check_layout, format_name, in_format, sizes
from gpugrad.inplace import check_writable, write
from gpugrad.op import function
from gpugrad.ops.creation import empty_like
from gpugrad.random import Generator, generator_for
from gpugrad.signature import int_tuple
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap


def drawn(kind: str, shape: tuple[int, ...], dtype: DType, device: Device,
           generator: Generator | None, *args: Any) -> Any:  # fmt: skip
    """An array of draws: ``kind`` names the function of the backend's ``draws``."""
    if device.type == "meta":
        return Spec(shape, dtype)
    backend = backends.for_device(device)
    seed, offset = generator_for(device, generator).draw()
    more = args if kind in ("integers", "permutation") else (dtype.np,)
    with backend.on(device):
        array = backend.run(getattr(backend.draws, kind), backend.library, seed, offset,
                            math.prod(shape), *more)  # fmt: skip
        array = array.reshape(shape)
        return array if array.dtype == dtype.np else array.astype(dtype.np)


def _made(kind: str, shape: tuple[int, ...], dtype: Any, device: Any, generator: Any,
          requires_grad: bool, out: Any, layout: Any, pin_memory: bool, *args: Any,
          default: DType | None = None) -> Tensor:  # fmt: skip
    check_layout(kind, layout)
    chosen = (default or config.default_dtype) if dtype is None else dtypes.as_dtype(dtype)
    if not chosen.is_floating_point and default is None:
        raise DTypeError(f"{kind}: random reals need a floating dtype, got {chosen.name}")
    if out is not None:
        check_writable(kind, out)
        if tuple(out.shape) != shape:
            raise ShapeError(f"{kind}: out has shape {tuple(out.shape)}, the result {shape}")
        write(out, drawn(kind, shape, out.dtype, out.device, generator, *args))
        return out
    t = wrap(drawn(kind, shape, chosen, place(device), generator, *args))
    t = t.pin_memory() if pin_memory else t
    return t.requires_grad_() if requires_grad else t


@function(method=False, samples=(), torch="", differentiable=False)
def rand(*given: Any, size: Any = None, generator: Generator | None = None,
         out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
         pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Uniform on [0, 1); sizes one by one or as one sequence."""
    shape = sizes("rand", given if size is None else (size,))
    return _made("uniform", shape, dtype, device, generator, requires_grad, out, layout, pin_memory)


@function(method=False, samples=(), torch="", differentiable=False)
def randn(*given: Any, size: Any = None, generator: Generator | None = None,
          out: Tensor | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
          pin_memory: bool = False, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Standard normal (Box and Muller 1958); sizes one by one or as one sequence."""
    shape = sizes("randn", given if size is None else (size,))
    return _made("normal", shape, dtype, device, generator, requires_grad, out, layout, pin_memory)


@function(method=False, samples=(), torch="", differentiable=False)
def randint(*args: Any, low: int | None = None, high: int | None = None, size: Any = None,
            generator: Generator | None = None, out: Tensor | None = None, dtype: Any = None,
            layout: Any = None, device: Any = None, pin_memory: bool = False,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
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
    if high is None or high <= low:
        raise SettingError(f"randint: high must be above low, got low={low}, high={high}")
    return _made("integers", int_tuple("randint", "size", size), dtype, device, generator,
                 requires_grad, out, layout, pin_memory, low, int(high),
                 default=dtypes.int64)  # fmt: skip


@function(method=False, samples=(), torch="", differentiable=False)
def randperm(n: int, *, generator: Generator | None = None, out: Tensor | None = None,
             dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A random permutation of ``0 .. n-1``."""
    if n < 0:
        raise SettingError(f"randperm: n must not be negative, got {n}")
    return _made("permutation", (n,), dtype, device, generator, requires_grad, out, layout,
                 pin_memory, default=dtypes.int64)  # fmt: skip


def _like(name: str, draw: Any, input: Tensor, dtype: Any, layout: Any, device: Any,
          pin_memory: bool, requires_grad: bool, memory_format: Any) -> Tensor:  # fmt: skip
    """``draw(shape, ...)`` in the input's shape, laid out as ``memory_format`` says."""
    wanted = input.dtype if dtype is None else dtype
    where = input.device if device is None else device
    t: Tensor = draw(tuple(input.shape), dtype=wanted, layout=layout, device=where)
    kept = format_name(name, memory_format, input.ndim)
    if not (input.is_contiguous() if kept == "preserve_format" else in_format(t, kept)):
        t = empty_like(input, dtype=wanted, device=where, memory_format=memory_format).copy_(t)
    t = t.pin_memory() if pin_memory else t
    return t.requires_grad_() if requires_grad else t


@function(method=False, samples=(), torch="", differentiable=False)
def rand_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None,
              layout: Any = None, device: Any = None, pin_memory: bool = False,
              requires_grad: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """``rand`` with the input's size, dtype, device and order in memory."""
    return _like("rand_like", partial(rand, generator=generator), input, dtype, layout, device,
                 pin_memory, requires_grad, memory_format)  # fmt: skip


@function(method=False, samples=(), torch="", differentiable=False)
def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None,
               layout: Any = None, device: Any = None, pin_memory: bool = False,
               requires_grad: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """``randn`` with the input's size, dtype, device and order in memory."""
    return _like("randn_like", partial(randn, generator=generator), input, dtype, layout, device,
                 pin_memory, requires_grad, memory_format)  # fmt: skip


@function(method=False, samples=(), torch="", differentiable=False)
def randint_like(input: Tensor, low: int | None = None, high: int | None = None, *,
                 generator: Generator | None = None, dtype: Any = None, layout: Any = None,
                 device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
                 memory_format: Any = None) -> Tensor:  # fmt: skip
    """``randint`` with the input's size, dtype, device and order in memory."""
    bounds = (low,) if high is None else (0 if low is None else low, high)
    if bounds == (None,):
        raise ArgumentError("randint_like: missing high; it is randint_like(input, [low,] high)")
    return _like("randint_like", partial(randint, *bounds, generator=generator), input, dtype,
                 layout, device, pin_memory, requires_grad, memory_format)  # fmt: skip


def uniforms(input: Tensor, generator: Generator | None) -> Tensor:
    """Uniforms of the input's shape, in float64 for float64 and float32 otherwise."""
    dtype = dtypes.float64 if input.dtype is dtypes.float64 else dtypes.float32
    return wrap(drawn("uniform", tuple(input.shape), dtype, input.device, generator))


@function(samples=(), torch="", differentiable=False)
def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None,
              out: Tensor | None = None) -> Tensor:  # fmt: skip
    """1 with probability ``input`` (or ``p``) elementwise, else 0, in the input's dtype."""
    if p is None and not input.dtype.is_floating_point:
        raise DTypeError(f"bernoulli: probabilities must be floating, got {input.dtype.name}")
    probability: Any = input.detach() if p is None else p
    if p is None and not input.is_meta:
        wrong = bool(((probability < 0) | (probability > 1)).any())
    else:
        wrong = p is not None and not 0 <= p <= 1
    if wrong:
        raise SettingError("bernoulli: probabilities must be in [0, 1]")
    result = (uniforms(input, generator) < probability).to(input.dtype)
    return result if out is None else out.copy_(result)


@function(samples=(), torch="", differentiable=False)
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Draw ``num_samples`` indices per row, with probability proportional to the row's weights.

    With replacement by inverting the cumulative sum; without by the exponential race (Efraimidis
    and Spirakis 2006): the ``num_samples`` smallest of ``-log(u) / weight``.

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
            f"multinomial: {num_samples} samples without replacement from {weights.shape[1]} "
            "weights"
        )
    if replacement:
        wide = weights.double().cumsum(-1)
        shape = (weights.shape[0], num_samples)
        u = wrap(drawn("uniform", shape, dtypes.float64, input.device, generator))
        # right=True steps over zero weights; u < 1 keeps the index below n
        picked = wide.searchsorted(u * wide[:, -1:], right=True).clamp(max=weights.shape[1] - 1)
    else:
        e = wrap(
            drawn("exponential", tuple(weights.shape), dtypes.float64, input.device, generator)
        )
        race = e / weights.double()
        picked = race.topk(num_samples, dim=-1, largest=False).indices
    result = picked if input.ndim == 2 else picked.reshape((num_samples,))
    return result if out is None else out.copy_(result)


@function(method=False, samples=(), torch="", differentiable=False)
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
           out: Tensor | None = None, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Normal draws: ``normal(mean, std)`` of tensors, or ``normal(mean, std, size)`` of numbers."""
    lead = next((v for v in (mean, std) if isinstance(v, Tensor)), None)
    if lead is None and size is None:
        raise ArgumentError("normal: with numbers for mean and std, a size is needed")
    if lead is not None:
        spread = (mean + std * 0) if isinstance(mean, Tensor) else (std * 0 + mean)
        z = randn(
            tuple(spread.shape), generator=generator, dtype=spread.dtype, device=spread.device
        )
        result = (mean + z * std).detach()
    else:
        check_std("normal", std)
        z = randn(
            int_tuple("normal", "size", size), generator=generator, dtype=dtype, device=device
        )
        result = (z * std + mean).requires_grad_(requires_grad)
    return result if out is None else out.copy_(result)


def check_std(name: str, std: float) -> None:
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
    u = wrap(drawn("uniform", tuple(input.shape), dtypes.float64, input.device, generator))
    term = (-rate).exp()
    total, count, k = term, rate * 0, 0
    while bool(((u >= total) & (k <= rate * 4 + 100)).any()):
        k += 1
        count = count + (u >= total).double()
        term = term * rate / k
        total = total + term
    return count.to(input.dtype)
