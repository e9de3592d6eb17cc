"""The same call in PyTorch: values, dtypes, shapes, gradients and refusals side by side.

PyTorch is an oracle here, imported only when one of these functions is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import flatten
from gpugrad.devices import CPU, Device
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError, NotSupportedError
from gpugrad.op import Function, Op
from gpugrad.samples import Sample, Writing
from gpugrad.tensor import Tensor, wrap
from gpugrad.testing.calls import Call, fill, is_float, key, samples_of
from gpugrad.testing.check_op import is_fixed
from gpugrad.testing.outcomes import close

#: Relative errors within which two libraries agree.  (PyTorch has float32 constants in some of its
#: float64 code; that a value is right to the last digits is for other tests to show.)
AGREEMENT = {
    dtypes.float64: 3e-8, dtypes.float32: 2e-5, dtypes.float16: 4e-3, dtypes.bfloat16: 3e-2,
}  # fmt: skip


def counterpart(record: Op | Function) -> Callable[..., Any] | None:
    """PyTorch's function of the same meaning; None if the record says there is none.

    Raises:
        LookupError: if the record names none and PyTorch has none of its name.
    """
    import torch

    if record.torch == "":
        return None
    paths = [record.torch] if record.torch else [key(record), f"Tensor.{record.name}"]
    for path in paths:
        found: Any = torch
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return _of_property(found)
    named = " nor torch.".join(paths)
    raise LookupError(f"{key(record)}: there is no torch.{named}; say torch='' if so meant")


def _of_property(found: Any) -> Callable[..., Any]:
    if callable(found):
        return found  # type: ignore[no-any-return]
    return lambda tensor, *args: found.__get__(tensor)


def to_torch(value: Any) -> Any:
    """An array, dtype or device as PyTorch's; anything else as it is."""
    import torch

    if isinstance(value, np.ndarray):
        if value.dtype == dtypes.bfloat16.np:
            return torch.from_numpy(value.view(np.int16).copy()).view(torch.bfloat16)
        return torch.from_numpy(value.copy())
    if isinstance(value, DType):
        return getattr(torch, value.name)
    if isinstance(value, Device):
        return torch.device(str(value))
    if type(value) in (list, tuple):
        return type(value)(to_torch(v) for v in value)
    return value


def from_torch(value: Any) -> Any:
    """A PyTorch tensor as one of ours; anything else as it is."""
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().resolve_conj().resolve_neg().contiguous()
        if value.dtype is torch.bfloat16:
            return wrap(value.view(torch.int16).numpy().view(dtypes.bfloat16.np))
        return wrap(value.numpy())
    if isinstance(value, torch.dtype):
        return dtypes.as_dtype(str(value))
    if isinstance(value, torch.device):
        return Device(str(value))
    return value


class Outcome:
    """What a call gave: outputs and gradients, or what it raised."""

    def __init__(self, run: Callable[[], tuple[list[Any], list[Any], list[bool]]]) -> None:
        self.error: Exception | None = None
        self.outputs: list[Any] = []
        self.gradients: list[Any] = []
        self.wants: list[bool] = []
        try:
            self.outputs, self.gradients, self.wants = run()
        except Exception as error:  # whatever it is, the other side must raise as well
            self.error = error


def _shown(outs: list[Any], signless: bool) -> list[Any]:
    """The outputs, or their squares where a column's sign is free (eigenvectors)."""
    return [o * o if hasattr(o, "is_floating_point") else o for o in outs] if signless else outs


def ours(call: Call, arrays: Sequence[Any], gradient: bool, signless: bool = False) -> Outcome:
    """Make the call with gpugrad."""

    def run() -> tuple[list[Any], list[Any], list[bool]]:
        tensors = [wrap(a.copy()) if isinstance(a, np.ndarray) else a for a in arrays]
        leaves = [t for t in tensors if isinstance(t, Tensor) and t.dtype.is_floating_point]
        for t in leaves if gradient else ():
            t.requires_grad_()
        outs = _shown(flatten(call(tensors)), signless)
        wants = [isinstance(o, Tensor) and o.requires_grad for o in outs]
        roots = [o for o, w in zip(outs, wants, strict=True) if w]
        starts = [wrap(_weights(o.shape, o.dtype.np)) for o in roots]
        gs = list(grad(roots, leaves, starts, allow_unused=True)) if roots and gradient else []
        return outs, gs, wants

    return Outcome(run)


def theirs(call: Call, arrays: Sequence[Any], gradient: bool,
           function: Callable[..., Any], signless: bool = False) -> Outcome:  # fmt: skip
    """Make the call with PyTorch."""
    import torch

    def run() -> tuple[list[Any], list[Any], list[bool]]:
        torch.manual_seed(0)
        tensors = [to_torch(a) for a in arrays]
        leaves = [t for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()]
        for t in leaves if gradient else ():
            t.requires_grad_()
        args = fill(to_torch(call.args), tensors)
        kwargs = {k: fill(to_torch(v), tensors) for k, v in call.kwargs.items()}
        if isinstance(kwargs.get("dtype"), str):
            kwargs["dtype"] = getattr(torch, kwargs["dtype"])
        if isinstance(call.sample, Writing):
            args[0] = args[0].clone()
        result = function(*args, **kwargs)
        written = args[0] if isinstance(call.sample, Writing) else result
        outs = _shown(flatten(written), signless)
        wants = [isinstance(o, torch.Tensor) and o.requires_grad for o in outs]
        roots = [o for o, w in zip(outs, wants, strict=True) if w]
        starts = [to_torch(_weights(o.shape, from_torch(o).dtype.np)) for o in roots]
        gs: Sequence[Any] = ()
        if roots and gradient:
            gs = torch.autograd.grad(roots, leaves, starts, allow_unused=True)
        return [from_torch(o) for o in outs], [from_torch(g) for g in gs], wants

    return Outcome(run)


def _weights(shape: Any, np_dtype: Any) -> np.ndarray[Any, Any]:
    """The same gradient to start from on both sides."""
    rng = np.random.default_rng(7)
    return np.asarray(rng.integers(1, 9, tuple(shape)) / 4).astype(np_dtype)


def differences(a: Outcome, b: Outcome, precision: float, signs: bool = False,
                values: bool = True) -> str:  # fmt: skip
    """What differs between our outcome and PyTorch's, or an empty string."""
    if a.error is not None or b.error is not None:
        return _errors(a.error, b)
    if len(a.outputs) != len(b.outputs):
        return f"{len(a.outputs)} outputs, PyTorch gives {len(b.outputs)}"
    for what, xs, ys in (("output", a.outputs, b.outputs), ("gradient", a.gradients, b.gradients)):
        if len(xs) != len(ys):
            return f"{len(xs)} {what}s, PyTorch gives {len(ys)}"
        for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
            if what == "gradient" and (x is None) != (y is None):
                x, y = _zeros(x, y), _zeros(y, x)  # None and zeros are the same gradient
            found = _value(x, y, precision, signs and what == "output", values)
            if found:
                return f"{what} {i}: {found}"
    if values and a.wants != b.wants:
        return f"outputs that require a gradient: {a.wants}, PyTorch {b.wants}"
    return ""


def _zeros(x: Any, like: Any) -> Any:
    return wrap(np.zeros_like(like._array)) if x is None else x


def _errors(mine: Exception | None, b: Outcome) -> str:
    if mine is not None and b.error is not None:
        return ""
    if mine is None:
        return f"gives a result, PyTorch raises {type(b.error).__name__}: {b.error}"[:300]
    if isinstance(mine, NotSupportedError):
        return ""
    return f"raises {type(mine).__name__}: {mine}; PyTorch does not"[:300]


def _excused(call: Call, given: Sequence[Any], a: Outcome, b: Outcome,
             function: Callable[..., Any]) -> bool:  # fmt: skip
    """Refusals that say nothing about what the call means.

    PyTorch's CPU build lacks kernels for 16-bit floats and narrow integers here and there, and it
    looks at the dtype of an empty tensor only where a kernel runs.
    """
    if a.error is None and b.error is not None:
        if call.dtype in dtypes.HALVES:
            return True
        if call.dtype in dtypes.INTEGERS and "not implemented for" in str(b.error):
            wide = Call(call.record, call.sample, dtypes.int64)
            return theirs(wide, wide.arrays, False, function).error is None
    empty = any(getattr(x, "size", 1) == 0 for x in given)
    return empty and isinstance(a.error, DTypeError) and b.error is None


def _value(x: Any, y: Any, precision: float, signs: bool, values: bool) -> str:
    if isinstance(x, Tensor) != isinstance(y, Tensor):
        return f"{type(x).__name__}, PyTorch gives {type(y).__name__}"
    if isinstance(x, Tensor):
        mine, other = (tuple(x.shape), x.dtype.name), (tuple(y.shape), y.dtype.name)
        if mine != other:
            return f"{mine}, PyTorch gives {other}"
    elif x != y and not (x != x and y != y) and values:
        return f"{x!r}, PyTorch gives {y!r}"
    if not isinstance(x, Tensor) or not values:
        return ""
    try:
        close(x, y, precision)
    except AssertionError as error:
        return str(error)
    if signs and x.dtype.is_floating_point:
        p, q = x.numpy(force=True), y.numpy(force=True)
        wrong = (np.signbit(p) != np.signbit(q)) & (p == 0) & (q == 0)
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            return f"zero at {where} has sign {p[where]}, PyTorch {q[where]}"
    return ""


def compare(call: Call, function: Callable[..., Any], gradient: bool, values: bool = True,
            arrays: Sequence[Any] | None = None, signs: bool = False,
            signless: bool = False) -> str:  # fmt: skip
    """Make one call on both sides; what differs, or an empty string.

    Args:
        gradient: also compare the gradients.
        values: compare values; else only shapes and dtypes.
        arrays: to use instead of the call's own.
        signs: also compare the signs of zeros.
        signless: compare squares, where PyTorch leaves signs open.
    """
    given = call.arrays if arrays is None else arrays
    types = [dtypes.from_numpy(a.dtype) for a in given if isinstance(a, np.ndarray) and is_float(a)]
    precision = max((AGREEMENT[t] for t in types), default=AGREEMENT[dtypes.float32])
    a = ours(call, given, gradient, signless)
    b = theirs(call, given, gradient, function, signless)
    refused = isinstance(a.error, NotSupportedError) or "derivative for" in str(b.error)
    if gradient and refused:
        return compare(call, function, False, values, arrays, signs, signless)
    if _excused(call, given, a, b, function):
        return ""
    return differences(a, b, precision * call.record.tolerance, signs, values)


def is_random(record: Op | Function) -> bool:
    """Whether two calls in a row differ, so that only shape and dtype can be compared."""
    for sample in samples_of(record):
        call = Call(record, sample, dtypes.float64)
        tensors = call.tensors(CPU)
        args = [fill(a, tensors) for a in call.args]
        kwargs = {k: fill(v, tensors) for k, v in call.kwargs.items()}
        try:
            runs = [flatten(record.public(*args, **kwargs)) for _ in range(2)]
        except Exception:  # the comparison will show it
            continue
        if any(_bytes(x) != _bytes(y) for x, y in zip(*runs, strict=True)):
            return True
    return False


def _bytes(value: Any) -> bytes:
    shown = isinstance(value, Tensor) and not value.is_meta
    return value.numpy(force=True).tobytes() if shown else b""


def compared_dtypes(record: Op | Function, sample: Sample) -> tuple[DType, ...]:
    """The dtypes in which a sample is made on both sides."""
    if is_fixed(sample):
        return (dtypes.float64,)
    return tuple(d for d in dtypes.ALL if d not in (dtypes.int16, dtypes.int8))
