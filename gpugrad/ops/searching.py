"""Finding places in sorted sequences, and counting."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import (
    ArgumentError,
    DTypeError,
    NotSupportedError,
    SettingError,
    ShapeError,
)
from gpugrad.functional_namespace import F
from gpugrad.op import Array, Index, Int, function, op
from gpugrad.samples import A, Sample
from gpugrad.signature import plain_int
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, from_data, wrap


def _bisect_result(sorted_sequence: Any, input: Any, *, right: bool) -> Any:
    a, b = sorted_sequence.shape, input.shape
    if len(a) != 1 and a[:-1] != b[:-1]:
        raise ShapeError(
            f"searchsorted: sorted_sequence of shape {a} and input of shape {b}; the sequence must "
            "have one dim, or the input's dims but for the last"
        )
    return Spec(b, dtypes.int64)


_RISING = A((5,), kind="int", low=0, high=1)  # all equal: sorted whatever is drawn


@op(differentiable=False, result=_bisect_result, method=False, torch="",
    samples=[Sample(_RISING, A((3,)), right=False)])  # fmt: skip
def bisect(xp, sorted_sequence: Array, input: Array, *, right: bool) -> Array:
    """Where elements would be put into a sorted sequence, after equal ones if ``right``."""
    _bisect_result(sorted_sequence, input, right=right)
    return xp.bisect(sorted_sequence, input, right)


def _as_tensor(called: str, value: Any, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, int | float):
        raise ArgumentError(f"{called}: a Tensor or a number is needed, got {type(value).__name__}")
    return wrap(from_data(value, None, like.device))


@function(differentiable=False, samples=[
    Sample(_RISING, A((3, 2))), Sample(_RISING, 0.5, right=True, out_int32=True)])  # fmt: skip
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False,
                 right: bool = False, side: str | None = None,
                 sorter: Tensor | None = None) -> Tensor:  # fmt: skip
    """Indices at which ``input`` would be put into ``sorted_sequence`` so that it stays sorted.

    Args:
        sorted_sequence: one dim, or rows for the rows of ``input`` (same leading dims).
        right: put after equal elements (``side="right"``) rather than before (``"left"``).
        sorter: indices that sort ``sorted_sequence``, if it is not.
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise SettingError(
            f"searchsorted: side is {side!r} and right {right}; side must be 'left', 'right' or "
            "None, and agree with right"
        )
    if not sorted_sequence.ndim:
        raise ShapeError("searchsorted: sorted_sequence must have at least one dim, got a 0-d one")
    input = _as_tensor("searchsorted", input, sorted_sequence)
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape:
            raise ShapeError(
                f"searchsorted: sorter has shape {tuple(sorter.shape)}, sorted_sequence "
                f"{tuple(sorted_sequence.shape)}; they must be the same"
            )
        sorted_sequence = F.gather(sorted_sequence, -1, sorter)
    found = bisect.public(sorted_sequence, input, right=right or side == "right")
    return F.astype(found, dtypes.int32) if out_int32 else found


@function(differentiable=False, samples=[Sample(A((3, 2)), _RISING),
                                         Sample(0.5, _RISING, right=True)])  # fmt: skip
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False,
              right: bool = False) -> Tensor:  # fmt: skip
    """Number of the bucket, between sorted ``boundaries``, that each element falls into.

    With ``right``, a bucket holds its left end, else its right end.
    """
    if boundaries.ndim != 1:
        raise ShapeError(
            f"bucketize: boundaries must have one dim, got shape {tuple(boundaries.shape)}"
        )
    return searchsorted.public(boundaries, input, out_int32=out_int32, right=right)


@function(differentiable=False, samples=[
    Sample(A((3, 4), 0, 5, kind="int"), A((3,), 0, 5, kind="int")), Sample(A((4,)), 0.5),
    Sample(2, A((4,), 0, 3, kind="int"), invert=True)])  # fmt: skip
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False,
         invert: bool = False) -> Tensor:  # fmt: skip
    """Whether each element is among ``test_elements`` (or not, if ``invert``).

    ``assume_unique`` promises that neither holds duplicates; the answer never depends on it.
    """
    like = elements if isinstance(elements, Tensor) else test_elements
    if not isinstance(like, Tensor):
        raise ArgumentError(
            "isin: at least one of elements and test_elements must be a Tensor, got "
            f"{type(elements).__name__} and {type(test_elements).__name__}"
        )
    elements, tests = (_as_tensor("isin", x, like) for x in (elements, test_elements))
    pair = (elements, tests)
    joint = dtypes.result_type(
        [t.dtype for t in pair if t.ndim], [t.dtype for t in pair if not t.ndim], []
    )
    if dtypes.bool_ in (elements.dtype, tests.dtype):
        raise DTypeError("isin: takes int or floating dtypes, got bool")
    elements = F.astype(elements, joint)
    tests = F.astype(F.reshape(tests, (-1,)), joint)
    if not tests.numel():
        found = F.not_equal(elements, elements) & False
    else:
        tests = F.sort(tests).values
        place = F.minimum(bisect.public(tests, elements, right=False), tests.numel() - 1)
        found = F.equal(F.index(tests, (place,), (0,)), elements)
    return F.logical_not(found) if invert else found


# ---- counting ---------------------------------------------------------------------------------


def _bins_unknown(input: Any, weights: Any = None, *, minlength: int) -> Any:
    raise NotSupportedError("bincount: the largest element is unknown without data (meta device)")


@op(promotion=None, differentiable=False, result=_bins_unknown,
    samples=[Sample(A((7,), 0, 5, kind="int")), Sample(A((7,), 0, 5, kind="int"), A((7,)), 8),
             Sample(A((0,), 0, 5, kind="int"), minlength=2)])  # fmt: skip
def bincount(xp, input: Index, weights: Array | None = None, *, minlength: Int = 0) -> Array:
    """How often each number 0, 1, ... comes in a 1-d int tensor, or the sum of its weights."""
    if input.dtype.kind not in "iu" or input.ndim != 1:
        raise DTypeError(
            f"bincount: input must be a 1-d int tensor, got {input.ndim} dims of {input.dtype.name}"
        )
    if input.size and int(input.min()) < 0:
        raise SettingError(f"bincount: input must not be negative, got {int(input.min())}")
    if minlength < 0:
        raise SettingError(f"bincount: minlength must not be negative, got {minlength}")
    if weights is not None and weights.shape != input.shape:
        raise ShapeError(
            f"bincount: weights have shape {weights.shape}, input {input.shape}; "
            "they must be the same"
        )
    return xp.bincount(input, weights, minlength)


def _limits(called: str, input: Tensor, low: float, high: float) -> tuple[float, float]:
    """The range of bins: as given, or that of the data, widened where it is a point."""
    if low == high == 0 and input.numel():
        low, high = float(input.amin()), float(input.amax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SettingError(f"{called}: the range {low} to {high} is not finite")
    if low > high:
        raise SettingError(f"{called}: min is {low}, max {high}; max must not be smaller")
    if low == high:
        low, high = (low - 0.5, high + 0.5) if input.numel() or low else (0.0, 1.0)
    return low, high


@op(differentiable=False, accepts="f", method=False, torch="",
    result=lambda input, *, bins, low, high: Spec((bins,), input.dtype),
    samples=[Sample(A((9,)), 4, -1.0, 1.5)])  # fmt: skip
def bin_counts(xp, input: Array, *, bins: Int, low: float, high: float) -> Array:
    """How many elements fall into each of ``bins`` equal bins of ``[low, high]``."""
    return xp.histc(input, bins, low, high)


@function(differentiable=False, samples=[Sample(A((9,)), 4), Sample(A((3, 4)), 5, -1, 1)])
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into equal bins between ``min`` and ``max``, as floats.

    With both 0, the range is that of the data.  Elements outside and NaN are not counted.
    """
    if bins <= 0:
        raise SettingError(f"histc: bins must be positive, got {bins}")
    low, high = _limits("histc", input, min, max)
    return bin_counts.public(input, bins, low, high)


class Histogram(NamedTuple):
    """Counts of bins, and their edges (one more)."""

    hist: Tensor
    bin_edges: Tensor


@function(differentiable=False, samples=[
    Sample(A((9,)), 4), Sample(A((3, 4)), 5, range=(-1.0, 1.0), density=True),
    Sample(A((6,)), 3, weight=A((6,)))])  # fmt: skip
def histogram(input: Tensor, bins: Any, *, range: tuple[float, float] | None = None,
              weight: Tensor | None = None, density: bool = False) -> Histogram:  # fmt: skip
    """Counts (or sums of weights) in bins, and the edges of the bins.

    Args:
        bins: a number of equal bins, or a 1-d tensor of rising edges.
        range: where equal bins begin and end; the data's own by default.
        density: divide so that the integral over all bins is 1.

    The last bin holds both its ends; elements outside and NaN are not counted.
    """
    given: Any = range
    if not (given is None or (isinstance(given, tuple | list) and len(given) == 2)):
        raise ArgumentError(f"histogram: range must be two numbers (low, high), got {range!r}")
    if range is not None and isinstance(bins, Tensor):
        raise ArgumentError("histogram: takes a range only where bins is a number")
    if not input.dtype.is_floating_point:
        raise DTypeError(f"histogram: takes floating dtypes, got {input.dtype.name}")
    if isinstance(bins, Tensor):
        edges = F.copy(F.astype(bins, input.dtype))  # a result of our own
    else:
        bins = plain_int("histogram", "bins", bins)
        if bins <= 0:
            raise SettingError(f"histogram: bins must be positive, got {bins}")
        low, high = _limits("histogram", input, *(range or (0.0, 0.0)))
        edges = wrap(from_data(np.linspace(low, high, bins + 1), input.dtype, input.device))
    if weight is not None and weight.shape != input.shape:
        raise ShapeError(
            f"histogram: weight has shape {tuple(weight.shape)}, input {tuple(input.shape)}; "
            "they must be the same"
        )
    count = edges.numel() - 1
    flat = F.reshape(input, (-1,))
    place = F.where(F.equal(flat, edges[-1]), count - 1, bisect.public(edges, flat, right=True) - 1)
    place = F.where(F.logical_or(F.less(place, 0), F.greater(place, count)), count, place)
    flat_weight = None if weight is None else F.reshape(weight, (-1,))
    found = bincount.public(place, flat_weight, minlength=count + 1)[:count]
    hist = F.astype(found, input.dtype)
    if density:
        hist = hist / (hist.sum() * (edges[1:] - edges[:-1]))
    return Histogram(hist, edges)
