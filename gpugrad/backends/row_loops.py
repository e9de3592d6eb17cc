"""Compiled loops over rows: running sums, and rows that are added where an index says."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends.compiled import compiled

_u = np.uintp


@compiled(cut=2)
def running_sums(x: Any, out: Any) -> None:
    """Running sums of every row of ``x (rows, n)``, added in float64.

    An addition waits for the one before it, so four rows go together.
    """
    rows, n = x.shape
    for first in range(0, rows - rows % 4, 4):
        a = b = c = d = -0.0  # which, other than 0, changes no first element
        for i in range(n):
            a += x[first, i]
            b += x[first + 1, i]
            c += x[first + 2, i]
            d += x[first + 3, i]
            out[first, i], out[first + 1, i] = a, b
            out[first + 2, i], out[first + 3, i] = c, d
    for row in range(rows - rows % 4, rows):
        a = -0.0
        for i in range(n):
            a += x[row, i]
            out[row, i] = a


@compiled(cut=2)
def running_rows(x: Any, out: Any) -> None:
    """Running sums over ``n`` of ``x (outer, n, inner)``, added in float64."""
    outer, n, inner = x.shape
    total = np.empty(inner, np.float64)
    for o in range(outer):
        total[:] = -0.0
        for i in range(n):
            for j in range(inner):
                total[_u(j)] += x[_u(o), _u(i), _u(j)]
                out[_u(o), _u(i), _u(j)] = total[_u(j)]


@compiled(cut=0)
def add_rows(out: Any, places: Any, values: Any) -> None:
    """Add each row of ``values (m, width)`` to the row of ``out (n, width)`` at ``places (m)``.

    Rows are added in their order, as ``np.add.at`` adds them; places meet, so one thread adds.
    """
    rows, width = values.shape
    for i in range(rows):
        place = places[i]
        if place < 0 or place >= out.shape[0]:
            raise IndexError("a place outside of the result")
        for j in range(width):
            out[_u(place), _u(j)] += values[_u(i), _u(j)]
