"""Lanes: the steps of ``dispatch.call`` written straight, for tiny elementwise ops.

A lane serves plain CPU tensors of one dtype (and, for a leaf, a bare number); it hands everything
else to ``call``.  What it does must stay what ``call`` does: tests run every op through both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gpugrad import backends, dtypes, signature
from gpugrad.backends.numpy import quiet
from gpugrad.codegen.host import LARGE
from gpugrad.dispatch import call
from gpugrad.expr import EXPR, Expr, inputs
from gpugrad.modes import modes
from gpugrad.op import Op
from gpugrad.refusals import refuse_op
from gpugrad.storage import Storage
from gpugrad.tape import Constant, Node, plan_for
from gpugrad.tensor import TENSOR_TYPES, Tensor, wrap

_NDARRAY = np.ndarray
_XP = backends.NUMPY.xp
_new = object.__new__


def _kernel(op: Op) -> Callable[..., Any]:
    """What to call on arrays: the op's function, or NumPy's own where it is that and no more.

    Tracing tells: a leaf's function whose expression is the leaf itself only passes its arguments
    on to ``xp.<its name>``, and calling that directly saves 0.1 us.
    """
    direct = getattr(_XP, op.xp_name, None) if op.leaf else None
    if isinstance(direct, np.ufunc):
        dtype = next(d for d in dtypes.ALL if d.np in op.native)
        arguments = tuple(inputs([dtype] * len(op.arrays)))
        traced = op.fn(EXPR, *arguments)
        if isinstance(traced, Expr) and traced.op is op and traced.args == arguments:
            return direct
    return partial(op.fn, _XP)


def unary_lane(op: Op, defaults: dict[str, Any]) -> Callable[[Any], Any]:
    """The straight path of a one-array elementwise op with default settings."""
    kernel, native = _kernel(op), op.native
    bits = (True,)

    def lane(input: Any) -> Any:
        if type(input) in TENSOR_TYPES and modes.plain:
            x = input._array
            if type(x) is _NDARRAY and x.dtype in native:
                n = input._node
                recorded = n is not None and modes.grad and op.differentiable
                if x.size >= LARGE or (recorded and not op.rules):
                    return call(op, (input,), dict(defaults))
                try:
                    r = quiet.run(kernel, x)
                except MemoryError as error:
                    refuse_op(op, (input,), defaults, error)
                if type(r) is not _NDARRAY:
                    r = np.asarray(r)
                t = _new(Tensor)
                t._array = r
                t._slot = 0
                t._storage = None
                t._view = None
                if not recorded:
                    t._node = None
                    return t
                plan = op.plans.get(bits) or plan_for(op, bits)
                saved = versions = None
                if plan.kept:
                    kept_out = None
                    if plan.keep_outs:
                        t._storage = Storage()
                        kept_out = wrap(r, None, 0, t._storage)
                    if plan.keep[0]:
                        saved = (
                            x if n.outs is None and n.storage is input._storage else input,
                            kept_out,
                        )
                        s = input._storage
                        if s is not None and s.version:
                            versions = (s.version, 0)
                    else:
                        saved = (None, kept_out)
                k = input._slot
                t._node = node = Node(op, plan, (n,), (k,) if k else None, saved, versions,
                                      defaults, r.shape, r.dtype)  # fmt: skip
                node.storage = t._storage
                if plan.shapes:
                    node.shapes = (x.shape,)
                return t
        return call(op, (input,), dict(defaults))

    return lane


def binary_lane(op: Op, defaults: dict[str, Any],
                slow: Callable[..., Any] = call) -> Callable[[Any, Any], Any]:  # fmt: skip
    """The straight path of a two-array elementwise op: tensors of one dtype, or a float number."""
    kernel, native = _kernel(op), op.native
    # A bare number stays a weak scalar only in a leaf, whose function is one library call.
    numbers = (float, int) if op.leaf and op.promotion != "float" else ()
    floats = native & {dtypes.float32.np, dtypes.float64.np}
    if op.promotion == "float" and op.leaf:
        numbers = (float, int)

    def lane(input: Any, other: Any) -> Any:
        if type(input) in TENSOR_TYPES and modes.plain:
            x = input._array
            y: Any = None
            n2 = None
            k2 = 0
            if type(other) in TENSOR_TYPES:
                y = other._array
                if type(y) is _NDARRAY and y.dtype is x.dtype and x.dtype in native:
                    n2 = other._node
                    k2 = other._slot
                else:
                    y = None
            elif type(other) in numbers and x.dtype in floats:
                y = other
            if y is not None and type(x) is _NDARRAY:
                n1 = input._node
                recorded = (n1 is not None or n2 is not None) and modes.grad and op.differentiable
                if x.size >= LARGE or (recorded and not op.rules):
                    return slow(op, (input, other), dict(defaults))
                try:
                    r = quiet.run(kernel, x, y)
                except (ValueError, TypeError, OverflowError):
                    return slow(op, (input, other), dict(defaults))
                except MemoryError as error:
                    refuse_op(op, (input, other), defaults, error)
                if type(r) is not _NDARRAY:
                    r = np.asarray(r)
                t = _new(Tensor)
                t._array = r
                t._slot = 0
                t._storage = None
                t._view = None
                if not recorded:
                    t._node = None
                    return t
                bits = (n1 is not None, n2 is not None)
                plan = op.plans.get(bits) or plan_for(op, bits)
                saved = versions = None
                if plan.kept:
                    keep = plan.keep
                    a = b = c = None
                    va = vb = 0
                    if keep[0]:
                        a = input
                        if n1 is not None and n1.outs is None and n1.storage is input._storage:
                            a = x
                        s = input._storage
                        if s is not None:
                            va = s.version
                    if keep[1]:
                        if y is other:
                            b = Constant(y)
                        else:
                            b = other
                            if n2 is not None and n2.outs is None and n2.storage is other._storage:
                                b = y
                            s = other._storage
                            if s is not None:
                                vb = s.version
                    if plan.keep_outs:
                        t._storage = Storage()
                        c = wrap(r, None, 0, t._storage)
                    saved = (a, b, c)
                    if va or vb:
                        versions = (va, vb, 0)
                k1 = input._slot
                t._node = node = Node(op, plan, (n1, n2), (k1, k2) if k1 or k2 else None, saved,
                                      versions, defaults, r.shape, r.dtype)  # fmt: skip
                node.storage = t._storage
                if plan.shapes:
                    node.shapes = (x.shape, getattr(y, "shape", ()))
                return t
        return slow(op, (input, other), dict(defaults))

    return lane


def operator_slow(op: Op, args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
    """The general path for a Python operator: a foreign operand gets its own chance."""
    for a in args:
        if isinstance(a, np.ndarray):  # NumPy would take over, and forget the history
            break
        if not isinstance(a, (Tensor, complex, np.generic, *signature.NUMBERS)):
            return NotImplemented
    return call(op, args, settings)
