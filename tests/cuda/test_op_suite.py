"""The op suite on a GPU: every record in float32, float16 and bfloat16 against float64 on the CPU.

Both devices get the same numbers, rounded to the narrow dtype; results, first and second gradients
are compared.  The float64 gradients themselves are checked against differences elsewhere
(``tests/ops/test_records.py``).
"""

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import differentiable, flatten
from gpugrad.devices import CPU, Device
from gpugrad.errors import DTypeError, NotSupportedError
from gpugrad.op import registry
from gpugrad.samples import Undefined
from gpugrad.tensor import Tensor, wrap
from gpugrad.testing.calls import Call, claimed_dtypes, is_float, key, samples_of
from gpugrad.testing.check_op import is_fixed
from gpugrad.testing.comparing import assert_close
from gpugrad.testing.derivatives import without_gradient
from gpugrad.testing.outcomes import weights_like

RECORDS = {key(r): r for r in registry}
GPU = Device("cuda")
#: The most that a result or a gradient may be off, relative to the largest of its tensor (at least
#: ``FLOOR``, for what cancels), times the record's own ``tolerance``.  In units of the dtype's last
#: place that is 170 for float32, whose kernels add up in an order of their own, and 8 for the
#: 16-bit floats, which are computed in float32 and rounded where PyTorch rounds.
BOUNDS = {dtypes.float32: 2e-5, dtypes.float16: 8e-3, dtypes.bfloat16: 6e-2}
FLOOR = 0.1
#: Second gradients run op by op, each of which rounds.
SECOND = 4
#: Rules that read their own rounded result, as PyTorch's do: exp(x - logsumexp(x)).
LOOSER = {"logsumexp": 4}
#: Vectors whose sign nothing decides: their squares are compared, and no gradients.
SIGNLESS = ("eigh", "svd", "qr", "lstsq")


def outcome(call, device, wide=False):
    """Results, gradients, and gradients of a sum of those, with weights that are drawn by number.

    A gradient that is not there is None.  With ``wide`` the numbers are float64.
    """
    arrays = [a.astype(np.float64) if wide and is_float(a) else a.copy() for a in call.arrays]
    wants = call.record.differentiable and not signless(call.record)
    tensors = [Tensor.to(t, device) for t in call.tensors(CPU, arrays=arrays)]
    for i in call.floats if wants else ():
        tensors[i].requires_grad_()
    outs = call(tensors)
    found = [("result", v) for v in flatten(outs)]
    outs, wanted = differentiable(outs), [t for t in tensors if t.requires_grad]
    if not (outs and wanted):
        return found
    weights = [weights_like(o, i) for i, o in enumerate(outs)]
    first = grad(outs, wanted, weights, retain_graph=True, allow_unused=True)
    found += [("gradient", g) for g in first]
    first = grad(outs, wanted, weights, create_graph=True, allow_unused=True)
    starts = [g for g in first if g is not None and g.requires_grad]
    if starts:
        weights = [weights_like(g, 100 + i) for i, g in enumerate(starts)]
        second = grad(starts, wanted, weights, allow_unused=True)
        found += [("second gradient", g) for g in second]
    return found


def signless(record):
    """Whether its results have free signs."""
    return any(s in record.name for s in SIGNLESS)


def far(ours, exact, bound):
    """What is wrong with one value, or an empty text."""
    if not isinstance(exact, Tensor) or not exact.dtype.is_floating_point:
        same = not isinstance(exact, Tensor) and (ours == exact or ours != ours)
        try:
            if not same:
                assert_close(ours, exact, rtol=0, atol=0, check_device=False)
        except AssertionError as error:
            return str(error)
        return ""
    host = wrap(ours.numpy(force=True).astype(np.float64))
    with np.errstate(all="ignore"):  # what the narrow dtype cannot hold is infinite there, too
        array = exact.numpy(force=True).astype(ours.dtype.np).astype(np.float64)
    finite = np.abs(array[np.isfinite(array)])
    scale = max(float(finite.max()) if finite.size else 0.0, FLOOR)
    try:
        assert_close(host, wrap(array), rtol=bound, atol=bound * scale, equal_nan=True)
    except AssertionError as error:
        return str(error)
    return ""


def differences(call, device=GPU):
    """What is further from float64 than allowed, as texts."""
    try:
        ours = outcome(call, device)
    except (DTypeError, NotSupportedError) as error:
        try:
            outcome(call, CPU)
        except type(error):
            return []
        return [f"{call!r} {call.dtype.name}: {error}, on the CPU nothing is raised"]
    exact = outcome(call, CPU, wide=True)
    if [k for k, _ in ours] != [k for k, _ in exact]:
        return [f"{call!r} {call.dtype.name}: {len(ours)} values, in float64 {len(exact)}"]
    bound = BOUNDS[call.dtype] * call.record.tolerance * LOOSER.get(key(call.record), 1)
    found = []
    for (kind, a), (_, b) in zip(ours, exact, strict=True):
        if (a is None) != (b is None):
            text = f"{a!r}, in float64 {b!r}"
        elif a is None:
            continue
        elif isinstance(b, Tensor) and not b.dtype.is_floating_point and call.dtype.itemsize < 4:
            continue  # an order may change among 16-bit neighbours
        elif signless(call.record) and isinstance(b, Tensor):
            text = far(a * a, b * b, bound)
        else:
            text = far(a, b, bound * (SECOND if kind == "second gradient" else 1))
        if text:
            found.append(f"{call!r} {call.dtype.name}: {kind}: {text}")
    return found


@pytest.mark.parametrize("name", RECORDS)
def test_as_float64_on_the_cpu(name):
    """Every sample, in every narrow float that the record takes."""
    record, found = RECORDS[name], []
    for sample in samples_of(record):
        if isinstance(sample, Undefined) or is_fixed(sample):
            continue  # without values, or without floats: see test_values.py
        for dtype in BOUNDS:
            if dtype not in claimed_dtypes(record):
                continue
            call = Call(record, sample, dtype)
            if record.differentiable:
                call.constant = without_gradient(Call(record, sample, dtypes.float64), CPU)
            found += differences(call)
    assert not found, "\n".join(found[:8])


def test_the_comparison_sees_a_small_fault(monkeypatch):
    """A result, a gradient or a second gradient that is a little off is found."""
    record = RECORDS["exp"]
    call = Call(record, samples_of(record)[0], dtypes.float32)
    assert differences(call) == []
    real = outcome
    for kind in ("result", "gradient", "second gradient"):

        def off(call, device, wide=False, kind=kind):
            factor = 1.0 if wide else 1 + 2 * SECOND * BOUNDS[dtypes.float32]
            return [(k, v * factor if k == kind else v) for k, v in real(call, device, wide)]

        monkeypatch.setitem(globals(), "outcome", off)
        (text,) = differences(call)
        assert f"float32: {kind}: " in text
