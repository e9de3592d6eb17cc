"""Compiled loops over images: patches of a convolution, windows of a pooling.

Images are ``(planes, h, w)`` in row-major order: the channels of all images, of which none meets
another here.  ``at`` is six ints: stride, padding before, and dilation, each for rows and columns.

Flat arrays are indexed by unsigned integers: a signed index may be negative to Numba, and testing
that keeps a loop from becoming vector code, which is five times as fast here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad.backends.compiled import compiled

At = tuple[int, int, int, int, int, int]
_u = np.uintp


@compiled(cut=2)
def im2col(x: Any, columns: Any, at: At) -> None:
    """Fill ``columns (planes, kh, kw, oh, ow)`` with the elements that each place meets, 0 outside.

    Per place in the kernel a row of results meets a row of the image.
    """
    sh, sw, top, left, dh, dw = at
    planes, h, w = x.shape
    kh, kw, oh, ow = columns.shape[1:]
    source, target = x.reshape(-1), columns.reshape(-1)
    to = 0
    for plane in range(planes):
        for i in range(kh):
            for j in range(kw):
                first = j * dw - left
                # places b whose element first + b * sw lies inside the row: low <= b < high
                low = min(max(-(first // sw), 0), ow)
                high = max(min((w - 1 - first) // sw + 1, ow), low)
                for a in range(oh):
                    y = a * sh + i * dh - top
                    inside = y >= 0 and y < h
                    begin, end = (low, high) if inside else (ow, ow)
                    row = (plane * h + y) * w + first
                    for b in range(begin):
                        target[_u(to + b)] = 0
                    if sw == 1:
                        for b in range(begin, end):
                            target[_u(to + b)] = source[_u(row + b)]
                    else:
                        for b in range(begin, end):
                            target[_u(to + b)] = source[_u(row + b * sw)]
                    for b in range(end, ow):
                        target[_u(to + b)] = 0
                    to += ow


@compiled(cut=2)
def im2col_same(x: Any, columns: Any, at: At) -> None:
    """``im2col`` with stride 1 for results of the image's size, in half the time.

    Rows then follow each other in the columns as they do in the image: all are copied as one, and
    the few elements that lie outside are blanked after that.
    """
    top, left, dh, dw = at[2:]
    planes, h, w = x.shape
    kh, kw = columns.shape[1:3]
    source, target = x.reshape(-1), columns.reshape(-1)
    to = 0
    for plane in range(planes):
        for i in range(kh):
            down = i * dh - top
            y0, y1 = min(max(-down, 0), h), max(min(h - down, h), 0)
            for j in range(kw):
                first = j * dw - left
                low, high = min(max(-first, 0), w), max(min(w - first, w), 0)
                if y0 >= y1 or low >= high:
                    for p in range(to, to + h * w):
                        target[_u(p)] = 0
                    to += h * w
                    continue
                shift = (plane * h + down) * w + first
                begin, end = y0 * w + low, (y1 - 1) * w + high
                for p in range(begin):
                    target[_u(to + p)] = 0
                for p in range(begin, end):
                    target[_u(to + p)] = source[_u(shift + p)]
                for p in range(end, h * w):
                    target[_u(to + p)] = 0
                for a in range(y0, y1 - 1):  # the gap between one row's end and the next's start
                    for p in range(a * w + high, (a + 1) * w + low):
                        target[_u(to + p)] = 0
                to += h * w


@compiled(cut=2)
def col2im(columns: Any, x: Any, at: At) -> None:
    """Add ``columns (planes, kh, kw, oh, ow)`` to the elements of ``x`` that ``im2col`` took."""
    sh, sw, top, left, dh, dw = at
    planes, h, w = x.shape
    kh, kw, oh, ow = columns.shape[1:]
    source, target = columns.reshape(-1), x.reshape(-1)
    to = 0
    for plane in range(planes):
        for i in range(kh):
            for j in range(kw):
                first = j * dw - left
                low = min(max(-(first // sw), 0), ow)
                high = max(min((w - 1 - first) // sw + 1, ow), low)
                for a in range(oh):
                    y = a * sh + i * dh - top
                    if y >= 0 and y < h:
                        row = (plane * h + y) * w + first
                        if sw == 1:
                            for b in range(low, high):
                                target[_u(row + b)] += source[_u(to + b)]
                        else:
                            for b in range(low, high):
                                target[_u(row + b * sw)] += source[_u(to + b)]
                    to += ow


@compiled(cut=3)
def max_pool(x: Any, best: Any, index: Any, lowest: Any, kernel: tuple[int, int], at: At) -> None:
    """The largest element of each window in ``best``, and in ``index`` its place in ``h * w``.

    NaN wins, the last one; of equal elements the first is taken, padding (``lowest``) never.
    Columns are reduced first, for a whole row at once.  Nothing branches on a value: random numbers
    would be mispredicted half the time.
    """
    sh, sw, top, left, dh, dw = at
    kh, kw = kernel
    planes, h, w = x.shape
    oh, ow = best.shape[1:]
    source, values, places = x.reshape(-1), best.reshape(-1), index.reshape(-1)
    high, line = np.empty(w, x.dtype), np.empty(w, np.int32)
    to = 0
    for plane in range(planes):
        for a in range(oh):
            y = a * sh - top
            i0, i1 = max(-(y // dh), 0), min((h - 1 - y) // dh + 1, kh)
            for b in range(w):
                high[_u(b)], line[_u(b)] = lowest, i0
            for i in range(i0, i1):
                row = (plane * h + y + i * dh) * w
                for b in range(w):
                    value, led = source[_u(row + b)], high[_u(b)]
                    better = (value > led) | (value != value)
                    high[_u(b)] = value if better else led
                    line[_u(b)] = np.int32(i) if better else line[_u(b)]
            for b in range(ow):
                first = b * sw - left
                j0 = -(first // dw) if first < 0 else 0
                j1 = (w - 1 - first) // dw + 1 if first + (kw - 1) * dw >= w else kw
                largest, up, over = lowest, np.int32(i0), j0  # where in the window it is
                if j0 < j1:
                    largest, up = high[_u(first + j0 * dw)], line[_u(first + j0 * dw)]
                for j in range(j0 + 1, j1):
                    value, i_ = high[_u(first + j * dw)], line[_u(first + j * dw)]
                    later_nan = (value != value) & ((largest == largest) | (i_ >= up))
                    better = (value > largest) | ((value == largest) & (i_ < up)) | later_nan
                    largest = value if better else largest
                    up, over = (i_, j) if better else (up, over)
                values[_u(to)], places[_u(to)] = largest, (y + up * dh) * w + first + over * dw
                to += 1


@compiled(cut=3)
def add_places(g: Any, index: Any, out: Any) -> None:
    """Add ``g (channels, places)`` to ``out (channels, elements)`` at ``index``."""
    channels, places = g.shape
    elements = out.shape[1]
    for c in range(channels):
        for p in range(places):
            place = index[c, p]
            if place < 0 or place >= elements:
                raise IndexError("a place outside of the result")
            out[c, place] += g[c, p]
