"""What every record promises, one function per promise; each takes a call and a device.

A check raises AssertionError (or whatever the op raised); ``check_op`` adds which record, sample
and dtype it was.
"""

from __future__ import annotations

from typing import Any

from gpugrad import backends, dtypes, publish, signature
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import differentiable, flatten
from gpugrad.codegen import c
from gpugrad.codegen.trace import trace_forward, trace_gradient
from gpugrad.devices import Device
from gpugrad.errors import DeviceError, NotSupportedError
from gpugrad.op import Op
from gpugrad.samples import Laid, Undefined
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor, wrap
from gpugrad.testing.calls import Call, Slot, is_float
from gpugrad.testing.layouts import LAYOUTS
from gpugrad.testing.outcomes import PRECISION, close, ones_like, with_gradient


def result_rule(call: Call, device: Device) -> None:
    """The result on ``meta`` tensors has the shape and dtype of the real one."""
    real = flatten(call(call.tensors(device)))
    record = call.record
    try:
        said = flatten(call([wrap(Spec(a.shape, dtypes.from_numpy(a.dtype))) for a in call.arrays]))
    except (NotSupportedError, DeviceError):
        if isinstance(record, Op) and record.elementwise:
            raise
        return  # the shape depends on values, or values are asked for
    assert len(real) == len(said), f"{len(real)} outputs, {len(said)} on meta"
    for i, (r, s) in enumerate(zip(real, said, strict=True)):
        if isinstance(r, Tensor) and isinstance(s, Tensor):
            a = (tuple(r.shape), r.dtype.name)
            b = (tuple(s.shape), s.dtype.name)
            assert a == b, f"output {i} is {a}, on meta {b}"
            assert s.is_meta or not call.arrays, f"output {i} of meta inputs has data"


def inputs_untouched(call: Call, device: Device) -> None:
    """Arrays, settings and their types are after the call (and its gradient) what they were."""
    tensors = call.tensors(device, grad=bool(call.floats) and call.record.differentiable)
    settings = repr((call.args, call.kwargs))
    before = [t.numpy(force=True).tobytes() for t in tensors]
    outs = differentiable(call(tensors))
    if outs:
        wanted = [t for t in tensors if t.requires_grad]
        grad(outs, wanted, [ones_like(o) for o in outs], allow_unused=True)
    for i, (t, b) in enumerate(zip(tensors, before, strict=True)):
        assert t.numpy(force=True).tobytes() == b, f"the op wrote to its array {i}"
        assert t._version == 0, f"the op counted a write to its array {i}"
    assert repr((call.args, call.kwargs)) == settings, "the op changed its settings"


def own_memory(call: Call, device: Device) -> None:
    """A result is fresh memory, or a view that the engine knows of."""
    tensors = call.tensors(device)
    record = call.record
    for i, out in enumerate(flatten(call(tensors))):
        if not isinstance(out, Tensor):
            continue
        for j, t in enumerate(tensors):
            if out is t or not _share(out._array, t._array):
                continue
            view = not isinstance(record, Op) or record.view
            assert view, f"output {i} shares memory with array {j}, but the op is no view"
            known = out._storage is not None and out._storage is t._storage
            assert known, f"output {i} shares memory with array {j}, but not its version counter"


def _share(a: Any, b: Any) -> bool:
    return type(a) is type(b) and backends.for_array(a).shares_memory(a, b)


def layouts(call: Call, device: Device) -> None:
    """Every memory layout gives the result and the gradient of the contiguous one."""
    if isinstance(call.sample, Undefined | Laid):
        return
    contiguous = [t._array for t in call.tensors(device)]
    plain = with_gradient(call, contiguous)
    for name, lay in LAYOUTS.items():
        laid, expected = contiguous, plain
        laid = [_lay(call, i, x, name, lay) for i, x in enumerate(contiguous)]
        if name == "expanded":
            expected = with_gradient(call, [x.copy() for x in laid])
        try:
            _same(with_gradient(call, laid), expected)
        except Exception as error:
            raise AssertionError(f"{name} inputs: {type(error).__name__}: {error}") from error


def _lay(call: Call, i: int, x: Any, name: str, lay: Any) -> Any:
    if name == "expanded" and (call.described[i].values != "any" or not is_float(x)):
        return x
    return lay(x)


def _same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected), f"{len(found)} values, expected {len(expected)}"
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        try:
            close(a, b, PRECISION.get(b.dtype, 0.0) if isinstance(b, Tensor) else 0.0)
        except AssertionError as error:
            raise AssertionError(f"value {i}: {error}") from None


def in_place(call: Call, device: Device) -> None:
    """``name_`` and ``out=`` write what the function returns, and count the write."""
    record = call.record
    if isinstance(call.sample, Undefined):
        return
    expected = call(call.tensors(device))
    if record.inplace and isinstance(expected, Tensor) and call.arrays:
        _check_method(call, device, expected)
    if isinstance(record, Op):
        _check_out(call, device, expected)


def _check_method(call: Call, device: Device, expected: Tensor) -> None:
    tensors = call.tensors(device)
    first = next(iter(call.args), None)
    if not isinstance(first, Slot):
        return  # a number comes first, or a keyword: there is nothing to write into
    target = tensors[first.i]
    if target.shape != expected.shape or not dtypes.can_cast(expected.dtype, target.dtype):
        return
    name = f"{call.record.name}_"
    result = call(tensors, publish.homes[call.record.home][name])
    assert result is target, f"{name} did not return its target"
    close(target, _cast(expected, target.dtype), 0.0)
    assert target._version > 0, f"{name} did not count its write"


def _check_out(call: Call, device: Device, expected: Any) -> None:
    many = isinstance(expected, tuple)
    if not isinstance(expected, Tensor) and not many:
        return
    shaped = [wrap(t._array.copy()) for t in (expected if many else (expected,))]
    for t in shaped:
        t._array[...] = 0
    given: Any = tuple(shaped) if many else shaped[0]
    result = call(call.tensors(device), out=given)
    for r, o, e in zip(result if many else (result,), shaped, expected if many else (expected,),
                       strict=True):  # fmt: skip
        assert r is o, "out= did not return its target"
        close(o, e, 0.0)
        assert o._version > 0, "out= did not count its write"


def _cast(t: Tensor, dtype: dtypes.DType) -> Tensor:
    return t if t.dtype is dtype else wrap(t._array.astype(dtype.np))


def prints_as_c(call: Call, device: Device) -> None:
    """An elementwise op and its rules unfold into leaves that have a spelling in C."""
    op = call.record
    if not isinstance(op, Op) or not op.elementwise:
        return
    bound, settings = signature.bind(op, call.args, dict(call.kwargs))
    signature.normalise(op, 1, settings)
    types = [dtypes.from_numpy(a.dtype) for a in call.arrays]
    operands = [types[b.i] if isinstance(b, Slot) else b for b in bound]
    forward = trace_forward(op, operands, settings)
    real = [t for t in flatten(call(call.tensors(device))) if isinstance(t, Tensor)]
    outputs = flatten(list(forward.outputs))
    for e, r in zip(outputs, real, strict=True):
        assert e.dtype is r.dtype, f"as an expression {e.dtype}, as an array {r.dtype}"
    if any(t in dtypes.HALVES for t in types):
        return  # kernels compute these in float32 and cast at the ends
    c.source(op.name, forward.inputs, outputs)
    given = dict(zip(op.arrays, operands, strict=False))
    for target in op.rules if call.dtype in dtypes.FLOATS else ():
        if target is not None and not isinstance(given.get(target), dtypes.DType):
            continue  # a number, or left out: it has no gradient
        try:
            backward = trace_gradient(op, target, operands, settings)
        except NotSupportedError:
            continue  # it reads a shape, or says that there is no gradient
        c.source(op.name, backward.inputs, backward.outputs)
