"""The same values laid out differently in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad import backends


def _buffer(x: Any, shape: tuple[int, ...]) -> Any:
    """Memory of another shape, filled with a value that would be noticed."""
    buffer = backends.for_array(x).xp.empty(shape, dtype=x.dtype)
    buffer[...] = 1
    return buffer


def transposed(x: Any) -> Any:
    """Column-major order."""
    return x.T.copy().T


def stepped(x: Any) -> Any:
    """Every second element along the last dim of a buffer, every third along the first."""
    if x.ndim == 0:
        return offset(x)
    shape = (*x.shape[:-1], 2 * x.shape[-1])
    where: tuple[Any, ...] = (..., slice(None, None, 2))
    if x.ndim > 1:
        shape = (3 * shape[0], *shape[1:])
        where = (slice(None, None, 3), *where)
    view = _buffer(x, shape)[where]
    view[...] = x
    return view


def reversed_(x: Any) -> Any:
    """Negative strides in every dim."""
    if x.ndim == 0:
        return offset(x)
    everywhere = (slice(None, None, -1),) * x.ndim
    return x[everywhere].copy()[everywhere]


def offset(x: Any) -> Any:
    """Contiguous, but not at the start of its memory."""
    view = _buffer(x, (x.size + 3,))[3:].reshape(x.shape)
    view[...] = x
    return view


def expanded(x: Any) -> Any:
    """Stride 0 along the first dim: the values are those of its first slice."""
    if x.ndim == 0 or x.shape[0] == 0:
        return x
    return backends.for_array(x).xp.broadcast_to(x[:1], x.shape)


#: Layouts by name; ``expanded`` changes the values, the others do not.
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": transposed, "stepped": stepped, "reversed": reversed_, "offset": offset,
    "expanded": expanded,
}  # fmt: skip
