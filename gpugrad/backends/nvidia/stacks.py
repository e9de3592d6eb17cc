"""How the matrices of an array are told to a library that knows column-major ones.

A row-major ``r x c`` matrix is, column by column, its own transpose ``c x r``; nothing is moved to
say so.  An array qualifies if its matrices lie row after row or column after column (the distance
between rows or columns may be larger than they are long), and if one distance leads from each
matrix of the batch to the next; 0 where all are one.  Whatever else (negative distances, every
second column, a batch whose dims do not follow each other) has to be copied first.
"""

from __future__ import annotations

from typing import NamedTuple


class Stack(NamedTuple):
    """Equal matrices in memory, column after column.

    Attributes:
        rows, cols: of one matrix as it lies in memory.
        ld: elements from a column to the next, at least ``rows``.
        step: elements from a matrix to the next; 0 where all are one.
        turned: whether what lies in memory is the array's matrix itself rather than its transpose.
    """

    rows: int
    cols: int
    ld: int
    step: int
    turned: bool


def step_of(shape: tuple[int, ...], strides: tuple[int, ...], batch: tuple[int, ...]) -> int | None:
    """The one distance between consecutive matrices of a batch; None if there is no such.

    Args:
        shape, strides: the array's batch dims, and elements from one to the next along each.
        batch: the dims that they are broadcast to.
    """
    lead = len(batch) - len(shape)
    step: int | None = None
    span = 0
    for i in range(len(batch) - 1, -1, -1):
        if batch[i] == 1:
            continue
        stride = 0 if i < lead or shape[i - lead] == 1 else strides[i - lead]
        if step is None:
            step = stride
        elif stride != span:
            return None
        span = stride * batch[i]
    return None if step is not None and step < 0 else step or 0


def stack_of(shape: tuple[int, ...], strides: tuple[int, ...], batch: tuple[int, ...]
             ) -> Stack | None:  # fmt: skip
    """An array ``(..., r, c)`` as a stack; None if it must be copied.

    Args:
        shape: the array's, with no size 0.
        strides: elements (not bytes) from one to the next along each dim.
        batch: the dims that all but the last two are broadcast to.
    """
    step = step_of(shape[:-2], strides[:-2], batch)
    if step is None:
        return None
    (r, c), (down, along) = shape[-2:], strides[-2:]
    if (along == 1 or c == 1) and (down >= c or r == 1):
        return Stack(c, r, down if r > 1 else c, step, False)
    if (down == 1 or r == 1) and (along >= r or c == 1):
        return Stack(r, c, along if c > 1 else r, step, True)
    return None


def folded(stack: Stack, batch: int) -> Stack | None:
    """A batch of row-major matrices as one with all their rows; None if they do not follow so.

    With one matrix on the right for all, that makes one large product of many small ones.
    """
    if stack.turned:
        return None
    pitch = stack.ld if stack.cols > 1 else stack.step
    if pitch < stack.rows or stack.step != stack.cols * pitch:
        return None
    return Stack(stack.rows, stack.cols * batch, pitch, 0, False)
