"""Recurrent layers: all steps of one layer and one direction as one record.

Rows of all steps lie one below the other: those of step ``t`` are the next ``sizes[t]``, and sizes
never grow, so that row ``i`` of a step continues row ``i`` of the step before (PyTorch's packed
order; without packing all sizes are equal).  The part of the gates that comes from the input is one
product outside; the gradient of the recurrent weight is one product over all steps.  A cell is a
layer of one step.  With ``reverse`` steps run from the last to the first.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from gpugrad.errors import ShapeError
from gpugrad.op import Array, Ints, op
from gpugrad.ops.matmul import mT
from gpugrad.samples import A, Sample
from gpugrad.signature import check_choice
from gpugrad.spec import Spec

_HIDDEN: dict[str, Any] = {"home": "_ops", "method": False, "torch": "", "accepts": "f",
                           "promotion": "same"}  # fmt: skip
_SIZES = [((2, 2, 2), False), ((3, 2, 2, 1), False), ((3, 2, 1), True), ((2,), False)]


def _samples(gates: int, weight: int, states: int, *more: Any, **settings: Any) -> list[Sample]:
    """Layers of 4 units: packed, reversed, and one step."""
    return [
        Sample(
            A((sum(sizes), gates)),
            *[A((sizes[0], 4))] * states,
            A((weight, 4)),
            *more,
            sizes=sizes,
            reverse=reverse,
            **settings,
        )
        for sizes, reverse in _SIZES
    ]


# ---- steps -------------------------------------------------------------------------------------


def _steps(sizes: tuple[int, ...], reverse: bool) -> list[tuple[int, int]]:
    """First and last row (exclusive) of every step, in the order in which they run."""
    ends: list[tuple[int, int]] = []
    at = 0
    for n in sizes:
        ends.append((at, at + n))
        at += n
    return ends[::-1] if reverse else ends


def _before(xp: Any, first: Any, states: Any, steps: list[tuple[int, int]]) -> list[Any]:
    """The state that each step began with: the step before's end; for new rows ``first``."""
    found = [first[: steps[0][1] - steps[0][0]]]
    for (a, b), (a2, b2) in pairwise(steps):
        n, wanted = b - a, b2 - a2
        state = states[a : a + min(n, wanted)]
        found.append(xp.concat([state, first[n:wanted]], axis=0) if wanted > n else state)
    return found


def _with_rest(xp: Any, new: Any, old: Any) -> Any:
    """``old`` with its first rows replaced by ``new``."""
    n = new.shape[0]
    return new if n == old.shape[0] else xp.concat([new, old[n:]], axis=0)


def _in_order(xp: Any, parts: list[Any], reverse: bool) -> Any:
    """What steps gave, collected from the last that ran to the first, as rows."""
    parts = parts if reverse else parts[::-1]
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)


def _rows_of(xp: Any, parts: list[Any], reverse: bool) -> Any:
    """The same for what was collected from the first step that ran."""
    return _in_order(xp, parts[::-1], reverse)


def _sigmoid_(xp: Any, x: Any) -> None:
    x *= -1  # NumPy (2.4) negates strided memory wrongly in place
    xp.exp(x, out=x)
    x += 1
    xp.reciprocal(x, out=x)


def _check(name: str, gates: Any, weight: Any, sizes: tuple[int, ...], per: int,
           **states: Any) -> None:  # fmt: skip
    """Raise a ShapeError unless everything fits ``per`` gates per unit."""
    if len(weight.shape) != 2 or not sizes:
        raise ShapeError(
            f"{name}: weight must be a matrix and sizes not empty, got {tuple(weight.shape)} and "
            f"{sizes}"
        )
    for key, (state, width) in states.items():
        if tuple(state.shape) != (sizes[0], width):
            raise ShapeError(
                f"{name}: {key} must have shape {(sizes[0], width)}, got {tuple(state.shape)}"
            )
    if tuple(gates.shape) != (sum(sizes), weight.shape[0]) or weight.shape[0] % per:
        raise ShapeError(
            f"{name}: gates {tuple(gates.shape)} and weight {tuple(weight.shape)} must be "
            f"({sum(sizes)}, {per} * hidden) and ({per} * hidden, inner)"
        )


# ---- one gate ----------------------------------------------------------------------------------


def _rnn_result(gates: Spec, hx: Spec, weight: Spec, *, sizes: Any, reverse: bool = False,
                nonlinearity: str = "tanh") -> Spec:  # fmt: skip
    _check("rnn", gates, weight, sizes, 1, hx=(hx, weight.shape[1]))
    check_choice("rnn", "nonlinearity", nonlinearity, ("tanh", "relu"))
    return gates


@op(**_HIDDEN, result=_rnn_result, samples=[
    *_samples(4, 4, 1), *_samples(4, 4, 1, nonlinearity="relu")])  # fmt: skip
def rnn_layer(xp, gates: Array, hx: Array, weight: Array, *, sizes: Ints, reverse: bool = False,
              nonlinearity: str = "tanh") -> Array:  # fmt: skip
    """``h = tanh(gates[t] + weight @ h)`` (or relu) step by step; every ``h``, as rows."""
    _rnn_result(gates, hx, weight, sizes=sizes, nonlinearity=nonlinearity)
    h, out, turned = hx.copy(), xp.empty(gates.shape, gates.dtype), mT(xp, weight)
    for a, b in _steps(sizes, reverse):
        z = out[a:b]
        xp.add(xp.matmul(h[: b - a], turned), gates[a:b], out=z)
        xp.tanh(z, out=z) if nonlinearity == "tanh" else xp.maximum(z, 0, out=z)
        h[: b - a] = z
    return out


@rnn_layer.vjp
def _(xp, g, hx, weight, out, sizes, reverse, nonlinearity):
    steps = _steps(sizes, reverse)
    before = _before(xp, hx, out, steps)
    carry = xp.zeros_like(hx)
    dz: list[Any] = []
    for a, b in reversed(steps):
        h, dh = out[a:b], g[a:b] + carry[: b - a]
        d = dh * (1 - h * h) if nonlinearity == "tanh" else xp.where(h > 0, dh, 0)
        dz.append(d)
        carry = _with_rest(xp, xp.matmul(d, weight), carry)
    gates = _in_order(xp, dz, reverse)
    return gates, carry, xp.matmul(mT(xp, gates), _rows_of(xp, before, reverse))


# ---- gated recurrent unit ----------------------------------------------------------------------


def _gru_result(gates: Spec, hx: Spec, weight: Spec, bias: Spec | None = None, *, sizes: Any,
                reverse: bool = False) -> tuple[Spec, Spec]:  # fmt: skip
    inner = weight.shape[1]
    _check("gru", gates, weight, sizes, 3, hx=(hx, inner))
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"gru: bias must have shape {weight.shape[:1]}, got {bias.shape}")
    n = gates.shape[0]
    return Spec((n, inner), gates.dtype), Spec((n, 4 * inner), gates.dtype)


# Promotes: under autocast on the CPU, PyTorch's GRU is float32 from its gates on.
@op(**_HIDDEN | {"promotion": "keep"}, result=_gru_result, outputs=("out", "acts"),
    samples=[*_samples(12, 12, 1, A((12,))), *_samples(12, 12, 1)])  # fmt: skip
def gru_layer(xp, gates: Array, hx: Array, weight: Array, bias: Array | None = None, *,
              sizes: Ints, reverse: bool = False) -> Array:  # fmt: skip
    """Gated recurrent unit (Cho et al., 2014), step by step, gates in the order r, z, n.

    ``n = tanh(gates_n + r * q)`` with ``q = weight_n @ h + bias_n``, and ``h = n + z * (h - n)``.
    ``acts`` are r, z, n and q of every row.
    """
    n_rows, m = gates.shape[0], weight.shape[1]
    _gru_result(gates, hx, weight, bias, sizes=sizes)
    out, acts = xp.empty((n_rows, m), gates.dtype), xp.empty((n_rows, 4 * m), gates.dtype)
    h, turned = hx.copy(), mT(xp, weight)
    for a, b in _steps(sizes, reverse):
        state, part = h[: b - a], acts[a:b]
        hidden = xp.matmul(state, turned)
        if bias is not None:
            hidden += bias
        rz, n = part[:, : 2 * m], part[:, 2 * m : 3 * m]
        xp.add(gates[a:b, : 2 * m], hidden[:, : 2 * m], out=rz)
        _sigmoid_(xp, rz)
        part[:, 3 * m :] = hidden[:, 2 * m :]
        xp.multiply(rz[:, :m], hidden[:, 2 * m :], out=n)
        n += gates[a:b, 2 * m :]
        xp.tanh(n, out=n)
        state -= n
        state *= rz[:, m:]
        state += n
        out[a:b] = state
    return out, acts


@gru_layer.vjp
def _(xp, g, hx, weight, bias, out, acts, sizes, reverse):
    g_out, g_acts = g
    m = hx.shape[1]
    steps = _steps(sizes, reverse)
    before = _before(xp, hx, out, steps)
    carry = xp.zeros_like(hx)
    hidden: list[Any] = []
    last: list[Any] = []
    for (a, b), h in zip(reversed(steps), reversed(before), strict=True):
        r, z, n, q = (acts[a:b, i * m : (i + 1) * m] for i in range(4))
        gr, gz, gn, gq = (g_acts[a:b, i * m : (i + 1) * m] for i in range(4))
        dh = g_out[a:b] + carry[: b - a]
        dn = (dh * (1 - z) + gn) * (1 - n * n)
        dz = (dh * (h - n) + gz) * z * (1 - z)
        dr = (dn * q + gr) * r * (1 - r)
        d = xp.concat([dr, dz, dn * r + gq], axis=1)
        carry = _with_rest(xp, xp.matmul(d, weight) + dh * z, carry)
        hidden.append(d)
        last.append(dn)
    inner = _in_order(xp, hidden, reverse)
    gates = xp.concat([inner[:, : 2 * m], _in_order(xp, last, reverse)], axis=1)
    d_weight = xp.matmul(mT(xp, inner), _rows_of(xp, before, reverse))
    return gates, carry, d_weight, None if bias is None else xp.sum(inner, axis=0)


# ---- long short-term memory --------------------------------------------------------------------


def _lstm_result(gates: Spec, hx: Spec, cx: Spec, weight: Spec, projection: Spec | None = None, *,
                 sizes: Any, reverse: bool = False) -> tuple[Spec, Spec, Spec]:  # fmt: skip
    m, inner = weight.shape[0] // 4, weight.shape[1]
    _check("lstm", gates, weight, sizes, 4, hx=(hx, inner), cx=(cx, m))
    projected = (m, m) if projection is None else projection.shape
    if (inner, m) != tuple(projected):
        raise ShapeError(
            f"lstm: weight {tuple(weight.shape)} and projection {tuple(projected)} must be "
            "(4 * hidden, inner) and (inner, hidden); without a projection, inner is hidden"
        )
    n = gates.shape[0]
    return Spec((n, inner), gates.dtype), Spec((n, m), gates.dtype), gates


@op(**_HIDDEN, result=_lstm_result, outputs=("out", "cells", "acts"), samples=[
    *_samples(16, 16, 2),
    Sample(A((5, 16)), A((3, 2)), A((3, 4)), A((16, 2)), A((2, 4)), sizes=(3, 2)),
    Sample(A((5, 16)), A((3, 2)), A((3, 4)), A((16, 2)), A((2, 4)), sizes=(3, 2), reverse=True),
])  # fmt: skip
def lstm_layer(xp, gates: Array, hx: Array, cx: Array, weight: Array,
               projection: Array | None = None, *, sizes: Ints,
               reverse: bool = False) -> Array:  # fmt: skip
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order i, f, g, o.

    ``c = f * c + i * g`` and ``h = projection @ (o * tanh(c))``.  ``acts`` are the four gates of
    every row after their nonlinearity.
    """
    _lstm_result(gates, hx, cx, weight, projection, sizes=sizes)
    m, turned = cx.shape[1], mT(xp, weight)
    out = xp.empty((gates.shape[0], hx.shape[1]), gates.dtype)
    cells = xp.empty((gates.shape[0], m), gates.dtype)
    acts = xp.empty(gates.shape, gates.dtype)
    h, c = hx.copy(), cx.copy()
    for a, b in _steps(sizes, reverse):
        n, z = b - a, acts[a:b]
        xp.add(xp.matmul(h[:n], turned), gates[a:b], out=z)
        _sigmoid_(xp, z[:, : 2 * m])
        xp.tanh(z[:, 2 * m : 3 * m], out=z[:, 2 * m : 3 * m])
        _sigmoid_(xp, z[:, 3 * m :])
        cell = c[:n]
        cell *= z[:, m : 2 * m]
        cell += z[:, :m] * z[:, 2 * m : 3 * m]
        cells[a:b] = cell
        new = xp.tanh(cell)
        new *= z[:, 3 * m :]
        h[:n] = new if projection is None else xp.matmul(new, mT(xp, projection))
        out[a:b] = h[:n]
    return out, cells, acts


@lstm_layer.vjp
def _(xp, g, hx, cx, weight, projection, out, cells, acts, sizes, reverse):
    g_out, g_cells, g_acts = g
    m = cx.shape[1]
    steps = _steps(sizes, reverse)
    before, old = _before(xp, hx, out, steps), _before(xp, cx, cells, steps)
    carry, carry_c = xp.zeros_like(hx), xp.zeros_like(cx)
    dz: list[Any] = []
    dp: list[Any] = []
    for (a, b), c_old in zip(reversed(steps), reversed(old), strict=True):
        i, f, t, o = (acts[a:b, k * m : (k + 1) * m] for k in range(4))
        gi, gf, gt, go = (g_acts[a:b, k * m : (k + 1) * m] for k in range(4))
        dh, tanh_c = g_out[a:b] + carry[: b - a], xp.tanh(cells[a:b])
        if projection is not None:
            dp.append(xp.matmul(mT(xp, dh), o * tanh_c))
            dh = xp.matmul(dh, projection)
        dc = g_cells[a:b] + carry_c[: b - a] + dh * o * (1 - tanh_c * tanh_c)
        d = xp.concat([(dc * t + gi) * i * (1 - i), (dc * c_old + gf) * f * (1 - f),
                       (dc * i + gt) * (1 - t * t), (dh * tanh_c + go) * o * (1 - o)],
                      axis=1)  # fmt: skip
        dz.append(d)
        carry = _with_rest(xp, xp.matmul(d, weight), carry)
        carry_c = _with_rest(xp, dc * f, carry_c)
    gates = _in_order(xp, dz, reverse)
    d_weight = xp.matmul(mT(xp, gates), _rows_of(xp, before, reverse))
    return gates, carry, carry_c, d_weight, sum(dp[1:], dp[0]) if dp else None
