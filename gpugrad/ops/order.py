"""What lies in the middle of the order, at a quantile of it, or in it most often."""

from __future__ import annotations

from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.errors import DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Dim, function, op
from gpugrad.ops.extremes import return_place, share
from gpugrad.ops.reduction import not_empty, reduced
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice, wrap_dim
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

# ---- median ------------------------------------------------------------------------------------


@op(home="_ops", method=False, torch="", accepts="if", samples=[
    Sample(A((3, 5), values="distinct")), Sample(A((4,), values="distinct"), skip=True),
    Sample(A(())),
], result=lambda input, *, skip: Spec((), input.dtype))  # fmt: skip
def middle(xp, input: Array, *, skip: bool = False) -> Array:
    """Lower median of all elements; ``skip`` leaves NaN out, else NaN wins."""
    n = input.size
    missing = int(xp.sum(xp.isnan(input))) if input.dtype.kind == "f" else 0
    if n == (missing if skip else 0) or (missing and not skip):
        return xp.asarray(float("nan"), dtype=input.dtype)
    k = (n - missing - 1) // 2
    return xp.partition(xp.reshape(input, (-1,)), k)[k]


@middle.vjp
def _(xp, g, input, out):
    return share(xp, g, input, out, None)


Median: Any = NamedTuple("median", [("values", Any), ("indices", Any)])  # type: ignore[name-match]


def _median(name: str, input: Any, dim: Any, keepdim: bool) -> Any:
    if dim is None:
        if not input.dtype.is_floating_point:
            not_empty(name, tuple(input.shape), None)
        return F.middle(input, skip=name == "nanmedian")
    if input.dtype is dtypes.bool_:
        raise DTypeError(f"{name}: takes integer or floating dtypes, got bool")
    dim = wrap_dim(name, dim, input.ndim)
    x = F.reshape(input.detach(), (1,)) if input.ndim == 0 else input.detach()
    not_empty(name, tuple(x.shape), dim)
    n = x.shape[dim]
    missing = F.sum(F.isnan(x), dim, True)
    if name == "median":  # sorting puts NaN last, from place n - missing on
        where = F.where(missing > 0, n - missing, (n - 1) // 2)
    else:
        where = F.clamp((n - missing - 1) // 2, 0)
    place = F.gather(F.argsort(x, dim), dim, where)
    values = F.gather(F.reshape(input, x.shape), dim, place)
    shape = reduced(tuple(input.shape), dim if input.ndim else None, keepdim)
    return Median(F.reshape(values, shape), F.reshape(place, shape))


_SAMPLES = [
    Sample(A((3, 5), values="distinct")), Sample(A((3, 4), values="distinct"), 1), Sample(A(()), 0),
    Sample(A((2, 3, 4), values="distinct"), -3, keepdim=True), Sample(A(())),
]  # fmt: skip


@function(samples=_SAMPLES)
def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Median, the lower of two middle elements; NaN where there is one.

    With ``dim`` it is taken along that dimension and returned as ``(values, indices)``.
    """
    return _median("median", input, dim, keepdim)


@function(samples=_SAMPLES)
def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Median of the elements that are not NaN; as ``median`` otherwise."""
    return _median("nanmedian", input, dim, keepdim)


# ---- mode --------------------------------------------------------------------------------------


def _most_often(input: Spec, *, dim: int, keepdim: bool) -> tuple[Spec, Spec]:
    not_empty("mode", input.shape, dim)
    shape = reduced(input.shape, dim, keepdim)
    return Spec(shape, input.dtype), Spec(shape, dtypes.int64)


@op(outputs=("values", "indices"), result=_most_often, samples=[
    Sample(A((3, 5), 0, 3, kind="int")), Sample(A((4, 3), values="distinct"), 0),
    Sample(A((2, 5, 3), 0, 2, kind="int"), 1, True), Sample(A(())),
])  # fmt: skip
def mode(xp, input: Array, *, dim: Dim = -1, keepdim: bool = False) -> Array:
    """Most frequent value along ``dim``, the smallest of several, and where it is last."""
    x = xp.moveaxis(input, dim, -1)
    n = x.shape[-1]
    order = xp.argsort(x, axis=-1, stable=True)
    ranked = xp.take_along_axis(x, order, -1)
    place = xp.broadcast_to(xp.arange(n), x.shape)
    fresh = xp.concat((xp.ones_like(ranked[..., :1], dtype=bool),
                       ranked[..., 1:] != ranked[..., :-1]), axis=-1)  # fmt: skip
    run = place - xp.accumulate(xp.maximum, xp.where(fresh, place, 0), -1)
    end = xp.argmax(run, axis=-1, keepdims=True)
    index = xp.moveaxis(xp.take_along_axis(order, end, -1), -1, dim)
    values = xp.take_along_axis(input, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


@mode.vjp
def _(xp, g, indices, input_shape, dim, keepdim):
    return return_place(xp, g, indices, input_shape, dim, keepdim)


# ---- quantiles ---------------------------------------------------------------------------------

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str) -> Any:
    check_choice(name, "interpolation", interpolation, _METHODS)
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(f"{name}: takes float32 and float64, got {input.dtype.name}")
    _check_levels(name, input, q)
    not_empty(name, tuple(input.shape), None)
    if dim is None or input.ndim == 0:
        x, shape = F.reshape(input, (-1,)), reduced(tuple(input.shape), None, keepdim)
    else:
        dim = wrap_dim(name, dim, input.ndim)
        x, shape = F.movedim(input, dim, -1), reduced(tuple(input.shape), dim, keepdim)
    missing = F.sum(F.isnan(x), -1, True)
    last = F.astype(x.shape[-1] - 1 - missing, x.dtype)  # place of the last number
    place = last * q
    if name == "nanquantile":
        place = F.clamp(place, 0)
    else:  # with a NaN among them, read the last element: sorting put NaN there
        place = F.where(missing > 0, float(x.shape[-1] - 1), place)
    found = F.movedim(_between(F.sort(x, -1).values, place, interpolation), -1, 0)
    return F.reshape(found, (*q.shape, *shape) if isinstance(q, Tensor) else shape)


def _check_levels(name: str, input: Any, q: Any) -> None:
    inside: bool
    if isinstance(q, Tensor):
        if q.ndim > 1 or q.dtype is not input.dtype:
            raise ShapeError(
                f"{name}: q must be a number or a 0-d or 1-d {input.dtype.name} tensor, got "
                f"{q.dtype.name} {tuple(q.shape)}"
            )
        inside = q.is_meta or bool(F.all(F.logical_and(F.greater_equal(q, 0), F.less_equal(q, 1))))
    else:
        inside = 0 <= q <= 1
    if not inside:
        raise SettingError(f"{name}: q must lie in [0, 1], got {q}")


def _between(ranked: Any, place: Any, how: str) -> Any:
    """Read sorted rows at fractional places."""
    if how in ("lower", "higher", "nearest"):
        place = {"lower": F.floor, "higher": F.ceil, "nearest": F.round}[how](place)
    below = F.floor(place)
    low = F.gather(ranked, -1, F.astype(below, dtypes.int64))
    if how not in ("linear", "midpoint"):
        return low
    high = F.gather(ranked, -1, F.astype(F.ceil(place), dtypes.int64))
    return F.lerp(low, high, place - below if how == "linear" else 0.5)


_LEVELS = [
    Sample(A((3, 4), values="distinct"), 0.3), Sample(A((3, 4), values="distinct"), 0.6, 1),
    Sample(A((2, 3, 5), values="distinct"), A((3,), 0, 1), -1, keepdim=True), Sample(A(()), 0.5),
    *(Sample(A((7,), values="distinct"), 0.4, interpolation=m) for m in _METHODS),
]  # fmt: skip


@function(samples=_LEVELS)
def quantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Any:  # fmt: skip
    """Quantiles at levels ``q`` (a number, or a 1-d tensor, which gives a leading dimension).

    Raises:
        SettingError: for a level outside [0, 1] or an unknown ``interpolation``.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@function(samples=_LEVELS)
def nanquantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Any:  # fmt: skip
    """Quantiles of the elements that are not NaN; as ``quantile`` otherwise."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)
