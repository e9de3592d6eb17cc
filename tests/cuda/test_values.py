"""Every record gives on a GPU what it gives on the CPU: values, dtypes, gradients, refusals."""

import pytest

from gpugrad import dtypes
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import differentiable, flatten
from gpugrad.devices import CPU, Device
from gpugrad.op import registry
from gpugrad.samples import Undefined
from gpugrad.tensor import Tensor
from gpugrad.testing.calls import Call, claimed_dtypes, key, restart_random, samples_of
from gpugrad.testing.check_op import is_fixed
from gpugrad.testing.outcomes import PRECISION, close, weights_like
from gpugrad.testing.unusual import special_calls

RECORDS = {key(r): r for r in registry}
GPU = Device("cuda")
#: Vectors whose sign nothing decides: their squares are compared, and no gradients.
SIGNLESS = ("eigh", "svd", "qr", "lstsq")
DTYPES = (dtypes.float32, dtypes.bfloat16, dtypes.int64, dtypes.bool_)


def outcome(call, arrays, device, gradient):
    """Results and gradients, or the kind of error."""
    restart_random()
    tensors = call.tensors(device) if arrays is None else [
        Tensor.to(t, device) for t in call.tensors(CPU, arrays=[a.copy() for a in arrays])
    ]  # fmt: skip
    for t in tensors if gradient else ():
        if t.dtype.is_floating_point:
            t.requires_grad_()
    try:
        outs = flatten(call(tensors))
        wanted = [t for t in tensors if t.requires_grad]
        starts = differentiable(outs)
        if not (wanted and starts):
            return outs
        weights = [weights_like(o, i) for i, o in enumerate(starts)]
        return [*outs, *grad(starts, wanted, weights, allow_unused=True)]
    except Exception as error:
        return type(error).__name__


def differences(call, arrays=None, gradient=False):
    """What the two devices disagree on, as a list of one text or none."""
    ours = outcome(call, arrays, GPU, gradient)
    host = outcome(call, arrays, CPU, gradient)
    if host == "SettingError" and not isinstance(ours, str):
        return []  # values out of an op's range: looking for them would make the host wait
    if isinstance(ours, str) or isinstance(host, str):
        return [] if ours == host else [f"{call!r} {call.dtype.name}: {ours}, on the CPU {host}"]
    squared = any(s in call.record.name for s in SIGNLESS)
    for i, (a, b) in enumerate(zip(ours, host, strict=True)):
        if isinstance(a, Tensor):
            a, b = a.detach().cpu(), b.detach()
            a, b = (a * a, b * b) if squared else (a, b)
        precision = PRECISION.get(b.dtype, 0.0) if isinstance(b, Tensor) else 0.0
        try:
            close(a, b, precision * call.record.tolerance)
        except AssertionError as error:
            return [f"{call!r} {call.dtype.name}: value {i}: {error}"]
    return []


@pytest.mark.parametrize("name", RECORDS)
def test_as_on_the_cpu(name):
    """The samples, in four dtypes; float32 with its gradient."""
    record, found = RECORDS[name], []
    for sample in samples_of(record):
        claimed = [d for d in DTYPES if d in claimed_dtypes(record)]
        if isinstance(sample, Undefined):
            continue
        for dtype in claimed[:1] if is_fixed(sample) else claimed:
            gradient = dtype is dtypes.float32 and not any(s in record.name for s in SIGNLESS)
            found += differences(Call(record, sample, dtype), gradient=gradient)
    assert not found, "\n".join(found[:8])


@pytest.mark.parametrize("name", RECORDS)
def test_special_values(name):
    """NaN, infinities and zeros."""
    found = []
    for call, arrays, _ in special_calls(RECORDS[name], dtypes.float32):
        found += differences(call, arrays)
    assert not found, "\n".join(found[:8])
