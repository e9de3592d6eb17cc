"""What a record's gradients promise; see ``gpugrad.testing.checks`` for the rest."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from gpugrad import dtypes, signature
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import differentiable, flatten, gradcheck, gradgradcheck
from gpugrad.devices import Device
from gpugrad.errors import NotSupportedError
from gpugrad.op import Op
from gpugrad.samples import Convention
from gpugrad.tape import Node
from gpugrad.tensor import Tensor, wrap
from gpugrad.testing.calls import Call, Slot, is_float
from gpugrad.testing.outcomes import PRECISION, close, ones_like, with_gradient


def without_gradient(call: Call, device: Device) -> frozenset[int]:
    """Float arrays whose rule raises NotSupportedError, as PyTorch's does for them."""
    refused = []
    for i in call.floats:
        tensors = call.tensors(device)
        tensors[i].requires_grad_()
        try:
            outs = differentiable(call(tensors))
            if outs:
                grad(outs, [tensors[i]], [ones_like(o) for o in outs], allow_unused=True)
        except NotSupportedError:
            refused.append(i)
        except Exception:  # the checks will show it
            continue
    return frozenset(refused)


def low_precision(call: Call, device: Device) -> None:
    """Results and gradients in a narrow float are those of float64, rounded."""
    if not call.floats:
        return
    precision = PRECISION[call.dtype] * call.record.tolerance
    low = [t._array for t in call.tensors(device)]
    high = [x.astype(np.float64) if is_float(x) else x for x in low]
    found, exact = with_gradient(call, low), with_gradient(call, high)
    assert len(found) == len(exact), f"{len(found)} values, in float64 {len(exact)}"
    for i, (a, b) in enumerate(zip(found, exact, strict=True)):
        assert (a is None) == (b is None), f"value {i}: {a!r}, in float64 {b!r}"
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            continue
        if not b.dtype.is_floating_point:
            if call.dtype is dtypes.float32:  # an order may change among 16-bit neighbours
                close(a, b, 0.0)
            continue
        try:
            close(_widened(a), _widened(_cast(b, a.dtype)), precision)
        except AssertionError as error:
            raise AssertionError(f"value {i}: {error}") from None


def _cast(t: Tensor, dtype: dtypes.DType) -> Tensor:
    with np.errstate(all="ignore"):
        return wrap(t.numpy(force=True).astype(dtype.np))


def _widened(t: Tensor) -> Tensor:
    return wrap(t.numpy(force=True).astype(np.float64))


def gradients(call: Call, device: Device) -> None:
    """First and second derivatives in float64 agree with finite differences."""
    if not call.floats or not call.record.differentiable:
        return
    tensors = call.tensors(device, grad=True)
    result = flatten(call(tensors))
    outs = [t for t in differentiable(result) if t.dtype is dtypes.float64]
    floating = [t for t in result if isinstance(t, Tensor) and t.dtype.is_floating_point]
    if not outs:
        lost = [t for t in floating if not t.requires_grad]
        constant = not isinstance(call.record, Op) or not lost  # matrix_power(x, 0) is a constant
        assert constant, "no output requires a gradient; say differentiable=False if so meant"
        return  # an output narrower than float64 is too coarse for differences
    wanted = [t for t in tensors if t.requires_grad]
    for t, g in zip(wanted, grad(outs, wanted, [ones_like(o) for o in outs], retain_graph=True,
                                 allow_unused=True), strict=True):  # fmt: skip
        if g is not None:
            assert (tuple(g.shape), g.dtype) == (tuple(t.shape), t.dtype), (
                f"gradient is {tuple(g.shape)} {g.dtype}, its leaf {tuple(t.shape)} {t.dtype}"
            )
    if not all(t.numel() for t in wanted) or not all(o.numel() for o in outs):
        gs = grad(outs, wanted, [ones_like(o) for o in outs], create_graph=True, allow_unused=True)
        assert all(g is None or g.shape == t.shape for g, t in zip(gs, wanted, strict=True))
        return
    if isinstance(call.sample, Convention):
        return
    scale = call.record.tolerance

    def exact(*xs: Tensor) -> tuple[Tensor, ...]:
        # What is defined for symmetric matrices only is moved through symmetric matrices only.
        given = [
            0.5 * (x + x.transpose(-1, -2)) if a.values == "spd" else x
            for x, a in zip(xs, call.described, strict=True)
        ]
        return tuple(t for t in differentiable(call(given)) if t.dtype is dtypes.float64)

    for check, name in ((gradcheck, "first"), (gradgradcheck, "second")):
        try:
            check(exact, tensors, eps=1e-4, atol=1e-8 * scale, rtol=1e-5 * scale,
                  order=4, fast_mode=True, nondet_tol=0.0)  # fmt: skip
        except AssertionError as error:
            raise AssertionError(f"{name} derivative: {error}") from None


def keeps_what_is_read(call: Call, device: Device) -> None:
    """After the call the graph holds exactly the arrays that the rules read."""
    op = call.record
    if not isinstance(op, Op) or not op.rules or op.view or not call.floats:
        return
    groups = [tuple(call.floats), *((i,) for i in call.floats if len(call.floats) > 1)]
    for group in groups:
        _check_kept(op, call, device, group)


def _check_kept(op: Op, call: Call, device: Device, group: tuple[int, ...]) -> None:
    tensors = call.tensors(device)
    for i in group:
        tensors[i].requires_grad_()
    names = _names(op, call)
    held = [weakref.ref(_root(t._array)) for t in tensors]
    result = flatten(call(tensors))
    node = next((t._node for t in result if isinstance(t, Tensor) and t._node is not None), None)
    if type(node) is not Node or node.op is not op:
        return  # lifted from 0-d, cast first, or nothing flowed
    outs = [weakref.ref(_root(t._array)) for t in result if isinstance(t, Tensor)]
    del tensors, result
    rules = op.rules
    active = [rules[None]] if None in rules else [
        rules[names[i]] for i in group if names[i] in rules]  # fmt: skip
    reads = {name for rule in active for name in rule.reads}
    for i, ref in enumerate(held):
        if names[i] not in reads and ref() is not None:
            raise AssertionError(f"no rule reads {names[i]!r}, but the graph keeps it")
        if names[i] in reads and ref() is None:
            raise AssertionError(f"a rule reads {names[i]!r}, but the graph let it go")
    for name, ref in zip(op.outputs or ("out",), outs, strict=False):
        if name not in reads and ref() is not None:
            raise AssertionError(f"no rule reads {name!r}, but the graph keeps it")


def _root(array: Any) -> Any:
    return array if array.base is None else array.base


def _names(op: Op, call: Call) -> list[str]:
    """The op's name for every array of the call."""
    bound, _ = signature.bind(op, call.args, dict(call.kwargs))
    last = len(op.arrays) - 1
    places = {s.i: op.arrays[min(k, last)] for k, s in enumerate(bound) if isinstance(s, Slot)}
    return [places.get(i, "") for i in range(len(call.arrays))]
