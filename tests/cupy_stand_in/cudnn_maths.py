"""Convolutions and attention in NumPy, for ``cudnn.py``: float64 inside, straight from the sums."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np


def _meetings(settings: Any, size: Any, kernel: Any, out: Any) -> Any:
    """Per place in the kernel: the slices of the padded images and of the result that meet."""
    stride, dilation = settings["stride"], settings["dilation"]
    for at in itertools.product(*map(range, kernel)):
        yield (
            at,
            tuple(
                slice(i * d, i * d + s * (o - 1) + 1, s)
                for i, d, s, o in zip(at, dilation, stride, out, strict=True)
            ),
        )


def _padded_sizes(settings: Any, size: Any) -> tuple[int, ...]:
    pairs = zip(settings["pre_padding"], settings["post_padding"], strict=True)
    return tuple(n + lo + hi for n, (lo, hi) in zip(size, pairs, strict=True))


def _inside(settings: Any, size: Any) -> tuple[Any, ...]:
    return (..., *(slice(lo, lo + n) for lo, n in zip(settings["pre_padding"], size, strict=True)))


def out_sizes(settings: Any, size: Any, kernel: Any) -> tuple[int, ...]:
    """Spatial sizes of a convolution's result."""
    return tuple(
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(_padded_sizes(settings, size), kernel, settings["stride"],
                              settings["dilation"], strict=True)
    )  # fmt: skip


def _grouped(x: Any, groups: int) -> Any:
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])


def convolved(kind: str, images: Any, weight: Any, result: Any, settings: Any) -> None:
    """Write that of the three arrays which is computed: ``fprop``, ``dgrad`` or ``wgrad``."""
    size, kernel, out = images.shape[2:], weight.shape[2:], result.shape[2:]
    groups = images.shape[1] // weight.shape[1]
    x = np.zeros((*images.shape[:2], *_padded_sizes(settings, size)))
    if kind != "dgrad":
        x[_inside(settings, size)] = images
    x = _grouped(x, groups)
    w = np.zeros(weight.shape) if kind == "wgrad" else weight.astype(float)
    w = w.reshape(groups, -1, *weight.shape[1:])
    y = _grouped(np.zeros(result.shape) if kind == "fprop" else result.astype(float), groups)
    for at, place in _meetings(settings, size, kernel, out):
        part, tap = x[(..., *place)], w[(slice(None),) * 3 + at]
        if kind == "fprop":
            y += np.einsum("ngc...,goc->ngo...", part, tap)
        elif kind == "dgrad":
            part += np.einsum("ngo...,goc->ngc...", y, tap)
        else:
            a, b = part.reshape(*part.shape[:3], -1), y.reshape(*y.shape[:3], -1)
            tap += np.einsum("ngcp,ngop->goc", a, b)
    if kind == "fprop":
        result[...] = y.reshape(result.shape)
    elif kind == "dgrad":
        images[...] = x.reshape(*images.shape[:2], *x.shape[3:])[_inside(settings, size)]
    else:
        weight[...] = w.reshape(weight.shape)


def _scores(q: Any, k: Any, bias: Any, scale: float, right: int | None) -> Any:
    """Scores of every head, ``-inf`` where a query may not see a key."""
    s = scale * np.einsum("bhqd,bhkd->bhqk", q.astype(float), _shared(k, q))
    s = s if bias is None else s + bias.astype(float)
    if right is not None:
        rows, columns = np.ogrid[: s.shape[-2], : s.shape[-1]]
        s = np.where(columns > rows + right, -np.inf, s)
    return s


def _shared(x: Any, q: Any) -> Any:
    """Heads of keys or values, one for each query head."""
    return np.repeat(x.astype(float), q.shape[1] // x.shape[1], 1)


def _summed(x: Any, like: Any) -> Any:
    """The heads that shared one, added up."""
    b, h = like.shape[:2]
    return x.reshape(b, h, -1, *x.shape[2:]).sum(2)


def attended(q: Any, k: Any, v: Any, bias: Any, scale: float, right: int | None, out: Any,
             stats: Any) -> None:  # fmt: skip
    """Attention; ``stats`` gets the logarithm of each row's sum of exponentials."""
    s = _scores(q, k, bias, scale, right)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - top)  # NaN for a row that sees nothing, as in the library
    total = p.sum(-1, keepdims=True)
    out[...] = np.einsum("bhqk,bhkd->bhqd", p / total, _shared(v, q))
    stats[...] = top + np.log(total)


def attended_back(q: Any, k: Any, v: Any, out: Any, g: Any, stats: Any, bias: Any, scale: float,
                  right: int | None, made: tuple[Any, Any, Any]) -> None:  # fmt: skip
    """Gradients of attention from what the forward pass kept."""
    p = np.exp(_scores(q, k, bias, scale, right) - stats.astype(float))
    g = g.astype(float)
    mean = (g * out.astype(float)).sum(-1, keepdims=True)
    ds = p * (np.einsum("bhqd,bhkd->bhqk", g, _shared(v, q)) - mean) * scale
    made[0][...] = np.einsum("bhqk,bhkd->bhqd", ds, _shared(k, q))
    made[1][...] = _summed(np.einsum("bhqk,bhqd->bhkd", ds, q.astype(float)), k)
    made[2][...] = _summed(np.einsum("bhqk,bhqd->bhkd", p, g), v)
