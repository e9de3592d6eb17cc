"""Running sums, products and extremes along a dimension, and differences."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DTypeError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, function, op
from gpugrad.samples import A, Sample
from gpugrad.signature import wrap_dim
from gpugrad.spec import Spec

_SAMPLES = [
    Sample(A((3, 4)), 0), Sample(A((3, 4)), 1), Sample(A((2, 5, 3)), -2), Sample(A(()), 0),
    Sample(A((0, 3)), 0), Sample(A((1,)), 0),
]  # fmt: skip
_TYPED = [*_SAMPLES, Sample(A((5,)), 0, dtype=dtypes.float64)]


def _summed(input: Spec, *, dim: int, dtype: Any) -> Spec:
    own = input.dtype if input.dtype.is_floating_point else dtypes.int64
    return Spec(input.shape, dtype or own)


def following(xp: Any, a: Any, b: Any) -> Any:
    """Solve ``s[i] = b[i] + a[i] * s[i + 1]`` along the last dimension; ``s[n]`` is 0.

    Each round doubles how many terms ``b[i]`` holds, so it takes log2(n) rounds of plain products
    and sums: zeros need no special case, and derivatives of any order follow by themselves.
    """
    n = b.shape[-1]
    step = 1
    while step < n:
        a_here, a_tail = a[..., : n - step], a[..., n - step :]
        b_here, b_tail = b[..., : n - step], b[..., n - step :]
        b = xp.concat((b_here + a_here * b[..., step:], b_tail), axis=-1)
        a = xp.concat((a_here * a[..., step:], a_tail), axis=-1)
        step *= 2
    return b


@op(result=_summed, samples=_TYPED, inplace=True)
def cumsum(xp, input: Array, *, dim: Dim, dtype: DType | None = None) -> Array:
    """Sum of the elements up to each one; integers and bools become int64."""
    return xp.cumsum(input, dim, dtype)


@cumsum.vjp
def _(xp, g, dim):
    return xp.flip(xp.cumsum(xp.flip(g, (dim,)), dim), (dim,))


@op(result=_summed, samples=_TYPED, inplace=True)
def cumprod(xp, input: Array, *, dim: Dim, dtype: DType | None = None) -> Array:
    """Product of the elements up to each one; integers and bools become int64."""
    return xp.cumprod(input, dim, dtype)


@cumprod.vjp
def _(xp, g, input, out, dim):
    x, before, g = (xp.swapaxes(t, dim, -1) for t in (input, out, g))
    one = xp.ones_like(before[..., :1])
    before = xp.concat((one, before[..., :-1]), axis=-1)
    after = following(xp, xp.concat((x[..., 1:], one), axis=-1), g)
    return xp.swapaxes(before * after, dim, -1)


@op(accepts="f", result=lambda input, *, dim: input, samples=_SAMPLES)
def logcumsumexp(xp, input: Array, *, dim: Dim) -> Array:
    """Logarithm of the running sum of exponentials."""
    return xp.accumulate(xp.logaddexp, input, dim)


@logcumsumexp.vjp
def _(xp, g, input, out, dim):
    # s[i] = sum over k >= i of g[k] * exp(out[i] - out[k]), whose factors never exceed 1.
    x, y, g = (xp.swapaxes(t, dim, -1) for t in (input, out, g))
    safe = xp.where(xp.equal(y, float("-inf")), 0.0, y)
    ratio = xp.concat((xp.exp(y[..., :-1] - safe[..., 1:]), xp.ones_like(y[..., :1])), axis=-1)
    return xp.swapaxes(xp.exp(x - safe) * following(xp, ratio, g), dim, -1)


# ---- running extremes --------------------------------------------------------------------------


def _best(input: Spec, *, dim: int) -> tuple[Spec, Spec]:
    return input, Spec(input.shape, dtypes.int64)


_DISTINCT = [
    Sample(A((3, 4), values="distinct"), 0), Sample(A((2, 5, 3), values="distinct"), -2),
    Sample(A(()), 0), Sample(A((0, 3)), 0), Sample(A((6,), 0, 3, kind="int"), 0),
]  # fmt: skip
_RUNNING: dict[str, Any] = {
    "outputs": ("values", "indices"), "result": _best, "samples": _DISTINCT,
}  # fmt: skip


@op(**_RUNNING)
def cummax(xp, input: Array, *, dim: Dim) -> Array:
    """Largest element up to each one and where it is, the last of several; NaN wins."""
    return xp.running_extreme(input, dim, xp.maximum)


@cummax.vjp
def _(xp, g, indices, dim):
    return xp.gather_adjoint(g, dim, indices, g.shape)


@op(**_RUNNING)
def cummin(xp, input: Array, *, dim: Dim) -> Array:
    """Smallest element up to each one and where it is, the last of several; NaN wins."""
    return xp.running_extreme(input, dim, xp.minimum)


@cummin.vjp
def _(xp, g, indices, dim):
    return xp.gather_adjoint(g, dim, indices, g.shape)


# ---- differences and areas ---------------------------------------------------------------------


def _neighbours(x: Any, dim: int) -> tuple[Any, Any]:
    """Along ``dim``, every element but the last and every element but the first."""
    lead = (slice(None),) * dim
    return x[(*lead, slice(None, -1))], x[(*lead, slice(1, None))]


@function(samples=[
    Sample(A((3, 5))), Sample(A((3, 5)), 2, 0), Sample(A((4,)), 0), Sample(A((4,)), 9),
    Sample(A((3, 5)), prepend=A((3, 2)), append=A((3, 1))), Sample(A((6,), kind="bool")),
])  # fmt: skip
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along ``dim``, taken ``n`` times; of bools whether they differ."""
    if input.ndim == 0:
        raise ShapeError("diff: input is 0-d; it needs at least one dimension")
    if n < 0:
        raise ShapeError(f"diff: n must not be negative, got {n}")
    dim = wrap_dim("diff", dim, input.ndim)
    parts = [p for p in (prepend, input, append) if p is not None]
    x = input if len(parts) == 1 else F.concat(parts, dim)
    for _ in range(min(n, x.shape[dim])):
        before, after = _neighbours(x, dim)
        x = F.not_equal(after, before) if x.dtype is dtypes.bool_ else after - before
    return x


def _areas(name: str, y: Any, x: Any, dx: Any, dim: int) -> Any:
    """Area of each trapezoid between neighbours."""
    if x is not None and dx is not None:
        raise ArgumentError(f"{name}: takes points x or their distance dx, not both")
    dx = 1 if dx is None else dx
    if y.dtype is dtypes.bool_ or (x is not None and x.dtype is dtypes.bool_):
        raise DTypeError(f"{name}: takes integer or floating dtypes, got bool")
    before, after = _neighbours(y, dim)
    if x is None:
        return (before + after) * (1.0 * dx / 2)
    left, right = _neighbours(x, 0 if x.ndim == 1 else wrap_dim(name, dim - y.ndim, x.ndim))
    width = right - left
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            raise ShapeError(f"{name}: {x.shape[0]} points for {y.shape[dim]} values along {dim}")
        width = F.reshape(width, (-1, *(1,) * (y.ndim - 1 - dim)))
    return (before + after) * width / 2.0


_AREAS = [
    Sample(A((3, 5))), Sample(A((3, 5)), dim=0, dx=0.5), Sample(A((3, 5)), A((5,))),
    Sample(A((3, 5)), A((3, 5)), dim=0), Sample(A((3, 5)), A((3,)), dim=0),
]  # fmt: skip


@function(samples=_AREAS, aliases=("trapz",), method=False)
def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """Area under ``y`` along ``dim`` by the trapezoidal rule, at points ``x`` or ``dx`` apart."""
    dim = wrap_dim("trapezoid", dim, y.ndim)
    return F.sum(_areas("trapezoid", y, x, dx, dim), dim)


@function(samples=_AREAS, method=False)
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """Running area under ``y`` along ``dim`` by the trapezoidal rule: one element less."""
    dim = wrap_dim("cumulative_trapezoid", dim, y.ndim)
    return F.cumsum(_areas("cumulative_trapezoid", y, x, dx, dim), dim)
