"""Spread of values: variance, standard deviation, covariance.

PyTorch has grown three spellings of one setting: ``correction`` (what is taken off the number of
elements), and its older forms ``unbiased=True`` (1) and ``False`` (0), which may also stand where
``dim`` does.
"""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.config import config
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dims, function, op
from gpugrad.ops.reduction import extent, reduced, spread
from gpugrad.samples import A, Sample
from gpugrad.spec import Spec

_PRIMITIVE: dict[str, Any] = {
    "home": "_ops",
    "method": False,
    "torch": "",
    "accepts": "f",
    "result": lambda input, *, dim, correction, keepdim: Spec(
        reduced(input.shape, dim, keepdim), input.dtype
    ),
    "samples": [
        Sample(A((3, 4)), correction=1), Sample(A((3, 4)), 1, correction=0),
        Sample(A((2, 3, 4)), (0, 2), correction=2.5, keepdim=True),
    ],
}  # fmt: skip


@op(**_PRIMITIVE)
def variance(xp, input: Array, *, dim: Dims = None, correction: float = 1,
             keepdim: bool = False) -> Array:  # fmt: skip
    """Squared distances from the mean, summed and divided by ``max(n - correction, 0)``."""
    n = extent(input.shape, dim)
    squares = input - xp.sum(input, dim, True) / n
    squares *= squares
    return xp.sum(squares, dim, keepdim) / max(n - correction, 0)


def _slope(xp: Any, g: Any, input: Any, dim: Any, correction: float) -> Any:
    n = extent(input.shape, dim)
    free = n - correction
    per_element = g * (2 / free if free > 0 else float("inf"))
    return spread(xp, per_element, input.shape, dim) * (input - xp.sum(input, dim, True) / n)


@variance.vjp
def _(xp, g, input, dim, correction):
    return _slope(xp, g, input, dim, correction)


@op(**_PRIMITIVE)
def deviation(xp, input: Array, *, dim: Dims = None, correction: float = 1,
              keepdim: bool = False) -> Array:  # fmt: skip
    """Root of ``variance``; where it is 0 so is its gradient."""
    return xp.sqrt(variance.fn(xp, input, dim=dim, correction=correction, keepdim=keepdim))


@deviation.vjp
def _(xp, g, input, out, dim, correction):
    flat = xp.equal(out, 0)
    scaled = xp.where(flat, 0.0, g / (2 * xp.where(flat, 1.0, out)))
    return _slope(xp, scaled, input, dim, correction)


def _settings(name: str, dim: Any, unbiased: Any, correction: Any) -> tuple[Any, Any]:
    """Sort out the three spellings: the dims, and the correction."""
    if isinstance(dim, bool):
        if unbiased is not None:
            raise ArgumentError(f"{name}: unbiased is given twice, as {dim} and as {unbiased}")
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise ArgumentError(f"{name}: give unbiased or correction, not both")
        correction = int(unbiased)
    return dim, 1 if correction is None else correction


_SAMPLES = [
    Sample(A((3, 4))), Sample(A((3, 4)), 1), Sample(A((3, 4)), False), Sample(A((3, 4)), 0, False),
    Sample(A((2, 3, 4)), (0, 2), True, True), Sample(A((2, 3, 4)), -1, correction=0, keepdim=True),
    Sample(A((5,)), dim=0, unbiased=False), Sample(A((2, 5)), correction=2),
]  # fmt: skip


@function(samples=_SAMPLES)
def var(input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None) -> Any:  # fmt: skip
    """Variance over ``dim``, of ``n - correction`` degrees of freedom (``correction`` is 1)."""
    dim, correction = _settings("var", dim, unbiased, correction)
    return F.variance(input, dim, keepdim, correction=correction)


@function(samples=_SAMPLES)
def std(input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None) -> Any:  # fmt: skip
    """Standard deviation over ``dim``, of ``n - correction`` degrees of freedom."""
    dim, correction = _settings("std", dim, unbiased, correction)
    return F.deviation(input, dim, keepdim, correction=correction)


@function(samples=_SAMPLES, method=False)
def var_mean(input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None) -> Any:  # fmt: skip
    """Variance and mean over ``dim``."""
    dim, correction = _settings("var_mean", dim, unbiased, correction)
    return F.variance(input, dim, keepdim, correction=correction), F.mean(input, dim, keepdim)


@function(samples=_SAMPLES, method=False)
def std_mean(input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
             correction: float | None = None) -> Any:  # fmt: skip
    """Standard deviation and mean over ``dim``."""
    dim, correction = _settings("std_mean", dim, unbiased, correction)
    return F.deviation(input, dim, keepdim, correction=correction), F.mean(input, dim, keepdim)


# ---- several variables -------------------------------------------------------------------------


def _weights(name: str, w: Any, floating: bool, n: int) -> None:
    if w.ndim > 1 or w.numel() != n:
        raise ShapeError(f"cov: {name} must have shape ({n},), one per observation; got {w.shape}")
    if w.dtype.is_floating_point is not floating:
        kind = "floating" if floating else "integer"
        raise DTypeError(f"cov: {name} must be {kind}, got {w.dtype.name}")
    if not w.is_meta and not bool(F.all(w >= 0)):
        raise SettingError(f"cov: {name} must not be negative")


@function(samples=[
    Sample(A((3, 5))), Sample(A((6,))), Sample(A((2, 5)), correction=0),
    Sample(A((2, 4)), fweights=A((4,), 1, 5, kind="int")),
    Sample(A((2, 4)), aweights=A((4,), 1, 2)),
    Sample(A((2, 4)), fweights=A((4,), 1, 5, kind="int"), aweights=A((4,), 1, 2)),
])  # fmt: skip
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """Covariances of variables (rows) over observations (columns); 0-d for one variable.

    Args:
        fweights: how often each observation was made (integers).
        aweights: how much each observation counts.
    """
    if input.ndim > 2:
        raise ShapeError(f"cov: input must have at most 2 dimensions, got shape {input.shape}")
    if input.dtype is dtypes.bool_:
        raise DTypeError("cov: takes integer or floating dtypes, got bool")
    x = input if input.ndim == 2 else F.reshape(input, (1, -1))
    if not x.dtype.is_floating_point:
        x = F.astype(x, config.default_dtype)
    n = x.shape[1]
    w: Any = None
    for name, given, floating in (("fweights", fweights, False), ("aweights", aweights, True)):
        if given is not None:
            _weights(name, given, floating, n)
            w = given if w is None else w * given
    total = n if w is None else F.sum(w)
    if w is None or aweights is None or correction == 0:
        free = total - correction
    else:
        free = total - correction * F.sum(w * aweights) / total
    mean = F.sum(x if w is None else x * w, 1, True) / total
    centred = x - mean
    weighted = centred if w is None else centred * w
    c = F.matmul(centred, F.permute_dims(weighted, (1, 0)))
    c = c / (max(free, 0) if w is None else F.clamp(free, 0))
    return c if input.ndim == 2 and c.shape[0] != 1 else F.reshape(c, ())


@function(samples=[Sample(A((3, 5))), Sample(A((6,)))])
def corrcoef(input: Any) -> Any:
    """Correlations of variables (rows) over observations (columns), within [-1, 1]."""
    c = cov(input)
    if c.ndim == 0:
        return c / c
    scale = F.sqrt(F.diagonal(c))
    return F.clamp(c / F.expand_dims(scale, 1) / scale, -1, 1)
