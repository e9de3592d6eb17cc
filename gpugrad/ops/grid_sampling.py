"""Images read at places of a grid: spatial transformers (Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, NotSupportedError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.loss import floating
from gpugrad.ops.pooling import take_places
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice, int_tuple
from gpugrad.tensor import Tensor

_NN: dict[str, Any] = {"home": "nn.functional", "method": False}


@function(**_NN, samples=[
    Sample(A((2, 2, 3)), (2, 3, 4, 5), False), Sample(A((1, 2, 3)), (1, 1, 3, 1), True),
    Sample(A((2, 3, 4)), (2, 1, 2, 3, 4), align_corners=True)])  # fmt: skip
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The grid that reads an image of ``size`` through affine maps; for ``grid_sample``.

    Args:
        theta: ``(N, 2, 3)`` or ``(N, 3, 4)``.
        size: of the result of ``grid_sample``: ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        align_corners: whether -1 and 1 are the middles of the outermost elements, or their edges.

    Returns:
        ``(N, H, W, 2)`` or ``(N, D, H, W, 3)``: for every place where to read, as ``x, y(, z)``.
    """
    sizes = int_tuple("affine_grid", "size", size)
    n = len(sizes) - 2
    floating("affine_grid", theta)
    if n not in (2, 3) or tuple(theta.shape) != (sizes[0], n, n + 1) or min(sizes) < 1:
        raise ShapeError(
            f"affine_grid: theta {tuple(theta.shape)} and size {sizes} must be (N, 2, 3) and "
            "(N, C, H, W), or (N, 3, 4) and (N, C, D, H, W), with sizes >= 1"
        )
    axes = []
    for m in sizes[:1:-1]:
        steps = F.linspace(-1, 1, m, dtype=theta.dtype, device=theta.device) if m > 1 else None
        axis = F.zeros(1, dtype=theta.dtype, device=theta.device) if steps is None else steps
        axes.append(axis if align_corners else axis * ((m - 1) / m))
    places = F.stack([*F.meshgrid(*axes[::-1], indexing="ij")][::-1], -1)
    maps = F.permute_dims(theta, (0, 2, 1))
    found = F.matmul(F.reshape(places, (1, -1, n)), maps[:, :n]) + maps[:, n:]
    return F.reshape(found, (sizes[0], *sizes[2:], n))


def _clipped(x: Any, size: int) -> Any:
    # where, not clamp: as in PyTorch NaN is 0, and there is no gradient on the border itself
    return F.where(x > 0, F.where(x >= size - 1, float(size - 1), x), 0.0)


def _reflected(x: Any, size: int, corners: bool) -> Any:
    """Mirrored between the middles of the outermost elements, or between their edges."""
    low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
    if span == 0:
        return F.zeros_like(x)
    far = F.abs(x - low)
    rest = F.fmod(far, span)
    even = F.equal(F.fmod(F.floor(far.detach() / span), 2), 0)
    return _clipped(F.where(even, rest, span - rest) + low, size)


def _padded(x: Any, size: int, padding: str, corners: bool) -> Any:
    if padding == "zeros":
        return x
    return _clipped(x, size) if padding == "border" else _reflected(x, size, corners)


def _near(x: Any) -> list[tuple[Any, Any]]:
    return [(F.round(x.detach()), 1.0)]


def _linear(x: Any) -> list[tuple[Any, Any]]:
    below = F.floor(x.detach())
    return [(below, below + 1 - x), (below + 1, x - below)]


def _cubic(x: Any) -> list[tuple[Any, Any]]:
    """Keys's kernel with a = -0.75."""
    a = -0.75
    below = F.floor(x.detach())
    t = x - below

    def inner(d: Any) -> Any:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def outer(d: Any) -> Any:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    weights = (outer(t + 1), inner(t), inner(1 - t), outer(2 - t))
    return [(below + (k - 1), w) for k, w in enumerate(weights)]


_TAPS: dict[str, Callable[[Any], list[tuple[Any, Any]]]]
_TAPS = {"bilinear": _linear, "nearest": _near, "bicubic": _cubic}


def _check(input: Any, grid: Any, mode: str, padding: str) -> int:
    """The number of spatial dimensions, after checks."""
    check_choice("grid_sample", "mode", mode, tuple(_TAPS))
    check_choice("grid_sample", "padding_mode", padding, ("zeros", "border", "reflection"))
    floating("grid_sample", input)
    if grid.dtype is not input.dtype:
        raise DTypeError(
            f"grid_sample: input is {input.dtype.name} and grid {grid.dtype.name}; they must be "
            "the same"
        )
    n = input.ndim - 2
    if (n not in (2, 3) or grid.ndim != n + 2 or grid.shape[-1] != n
            or grid.shape[0] != input.shape[0] or 0 in input.shape[2:]):  # fmt: skip
        raise ShapeError(
            f"grid_sample: input {tuple(input.shape)} and grid {tuple(grid.shape)} must be "
            "(N, C, H, W) and (N, h, w, 2), or (N, C, D, H, W) and (N, d, h, w, 3), the input "
            "with sizes >= 1"
        )
    if mode == "bicubic" and n == 3:
        raise NotSupportedError("grid_sample: mode 'bicubic' takes (N, C, H, W) only")
    return n


def _pair(image: tuple[int, ...], places: tuple[int, ...], kind: str = "float64") -> tuple[A, A]:
    # Not in 16 bits: PyTorch rounds places to them, which leads to other elements.
    return A(image, kind=kind), A(places, -1.3, 1.3, kind=kind)


_PLANE, _SPACE = ((2, 3, 4, 5), (2, 4, 3, 2)), ((1, 2, 3, 2, 4), (1, 2, 2, 2, 3))


@function(**_NN, samples=[
    *(Sample(*_pair(*_PLANE), m, p, c) for m in _TAPS
      for p in ("zeros", "border", "reflection") for c in (False, True)),
    Sample(*_pair(*_PLANE, "float32")), Sample(*_pair(*_SPACE), "bilinear", "zeros", True),
    Sample(*_pair(*_SPACE), "nearest", "border", False)])  # fmt: skip
def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """``(N, C, H, W)`` read at the places of ``grid (N, h, w, 2)``, giving ``(N, C, h, w)``.

    Args:
        input: or ``(N, C, D, H, W)``, with a grid ``(N, d, h, w, 3)``.
        grid: ``x, y(, z)`` from -1 to 1 across the image.
        mode: ``bilinear`` (in three dimensions, too), ``nearest`` or ``bicubic``.
        padding_mode: what lies outside: ``zeros``, ``border`` or ``reflection``.
        align_corners: whether -1 and 1 are the middles of the outermost elements, or their edges.
    """
    n = _check(input, grid, mode, padding_mode)
    dtype = input.dtype
    if dtype in dtypes.HALVES:  # a place rounded to 8 bits may fall on another element
        input, grid = F.astype(input, dtypes.float32), F.astype(grid, dtypes.float32)
    sizes, corners = input.shape[2:], bool(align_corners)
    taps = []
    for d, size in enumerate(sizes):
        g = grid[..., n - 1 - d]
        x = (g + 1) * ((size - 1) / 2) if corners else ((g + 1) * size - 1) / 2
        if mode == "bicubic":  # it pads every place that it reads
            taps.append([(_padded(at, size, padding_mode, corners), w) for at, w in _cubic(x)])
        else:
            taps.append(_TAPS[mode](_padded(x, size, padding_mode, corners)))
    total: Any = None
    for chosen in itertools.product(*taps):
        part = _read(input, chosen)
        total = part if total is None else total + part
    return F.astype(total, dtype)


def _read(input: Any, chosen: tuple[tuple[Any, Any], ...]) -> Any:
    """The input at whole places ``(N, *out)``, one per dimension, times weights; 0 outside."""
    inside: Any = True
    flat: Any = 0
    for (at, _), size in zip(chosen, input.shape[2:]):
        here = F.logical_and(at >= 0, at <= size - 1)
        inside = here if inside is True else F.logical_and(inside, here)
        flat = flat * size + F.astype(F.where(here, at, 0.0), dtypes.int64)
    shape = (*input.shape[:2], *flat.shape[1:])
    found = take_places(input, F.broadcast_to(F.expand_dims(flat, 1), shape))
    inside = F.expand_dims(inside, 1)
    weight = math.prod(w for _, w in chosen)
    weight = F.expand_dims(weight, 1) if isinstance(weight, Tensor) else weight
    if len(chosen) == 3:  # at an infinite place PyTorch reads 0 in three dimensions, else NaN
        return F.where(inside, found * weight, 0.0)
    return F.where(inside, found, 0.0) * weight
