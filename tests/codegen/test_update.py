"""Optimiser updates by a kernel that writes where it reads: the same numbers as the array code."""

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backends, dtypes, signature
from gpugrad.codegen import host
from gpugrad.codegen.forward import overwrite
from gpugrad.op import registry
from gpugrad.testing.calls import Call, samples_of

RECORDS = {n: r for n, r in registry.ops.items() if r.home == "optim" and r.elementwise}
_ENDS = {n: (0, len(list(samples_of(r))) - 1) for n, r in RECORDS.items()}
CASES = [pytest.param(n, i, id=f"{n}-{i}") for n, ends in _ENDS.items() for i in sorted({*ends})]


def bound(name: str, number: int) -> dict[str, Any]:
    """The settings of one of a record's samples."""
    op = RECORDS[name]
    call = Call(op, list(samples_of(op))[number], dtypes.float64)
    return signature.normalise(op, 1, signature.bind(op, call.args, dict(call.kwargs))[1])


@pytest.mark.parametrize(("name", "number"), CASES)
def test_in_place(name: str, number: int) -> None:
    """Every update record has a kernel, and it gives what the record's function does."""
    op, settings = RECORDS[name], bound(name, number)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 2, host.LARGE + 3).astype(np.float32) for _ in op.arrays]
    want = backends.NUMPY.run(op.fn, backends.NUMPY.xp, *(a.copy() for a in arrays), **settings)
    want = want if isinstance(want, tuple) else (want,)
    targets = [0, *range(2, len(arrays))][: len(want)]
    grad = arrays[1].copy()
    assert overwrite(op, arrays, targets, settings)
    for i, w in zip(targets, want, strict=True):
        np.testing.assert_allclose(arrays[i], w, rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(arrays[1], grad)


def test_a_step_counts_as_a_write_and_follows_the_rate() -> None:
    """A schedule needs no new kernel; every step bumps the versions of what it wrote."""
    p = gg.zeros(300, 300, requires_grad=True)
    optimizer = gg.optim.SGD([p], lr=1.0)
    p.grad = gg.ones(300, 300)
    total = 0.0
    for rate in (1.0, 0.3, 0.07):
        optimizer.param_groups[0]["lr"] = rate
        before = p._version
        optimizer.step()
        assert p._version > before
        total += rate
    np.testing.assert_allclose(p.detach().numpy(), -total, rtol=1e-6)
