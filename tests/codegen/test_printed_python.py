"""The Python printed from a record, compiled by Numba, computes what the array code does.

Every kernel that float32 has is run; of other dtypes, a share that is chosen by name.
"""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpugrad import backends, dtypes
from gpugrad.codegen.host import build, run
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.machine import load
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.op import registry
from gpugrad.testing.calls import claimed_dtypes, key
from gpugrad.testing.printed_c import Kernel, difference, kernels, values

DTYPES = (dtypes.float32, dtypes.float64, dtypes.int64, dtypes.int32, dtypes.uint8, dtypes.bool_)
RECORDS = {key(r): r for r in registry.ops.values() if r.elementwise}
SHARE = 8  # of the dtypes other than float32, one kernel in so many


def printed(name: str, dtype: DType) -> Iterator[Kernel]:
    """The kernels of a record that have a vector form."""
    for k in kernels(RECORDS[name], dtype):
        if dtype is dtypes.float32 or zlib.crc32(k.symbol.encode()) % SHARE == 0:
            try:
                build(k.trace, layout_of(k))
            except NotSupportedError:
                continue
            yield k


def layout_of(kernel: Kernel) -> Layout:
    trace = kernel.trace
    return Layout(trace.reads, trace.inputs, tuple(o.dtype for o in trace.outputs))


def results(kernel: Kernel, arrays: list[Any]) -> list[Any]:
    """Run a kernel over vectors."""
    program = build(kernel.trace, layout_of(kernel))
    program.function = load(program.printed, program.layout)
    outs = [np.empty(arrays[0].shape, o.dtype.np) for o in kernel.trace.outputs]
    run(program, 1, arrays[0].size, arrays, outs)
    return outs


def wrong(kernel: Kernel) -> list[str]:
    """What differs from the array code, over ordinary and special values."""
    found = []
    for special in (False, True):
        arrays = [np.ascontiguousarray(a)
                  for a in values(kernel.trace.inputs, kernel.domains, special)]  # fmt: skip
        want = kernel.reference(*arrays)
        for got, w in zip(results(kernel, arrays), want, strict=True):
            w = backends.NUMPY.run(np.broadcast_to(w, got.shape).astype, got.dtype)
            text = difference(got, w, kernel.ulps)
            if text:
                at = int(text.rsplit(" ", 1)[1])
                shown = ", ".join(repr(a[at]) for a in arrays)
                found.append(f"{kernel.symbol} of ({shown}): {text}")
    return found


CASES = [pytest.param(n, d, id=f"{n}-{d.name}")
         for n, r in RECORDS.items() for d in DTYPES
         if d in claimed_dtypes(r) and any(True for _ in printed(n, d))]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_printed_python(name: str, dtype: DType) -> None:
    """Forward and gradients agree to a few units in the last place; NaN, infinities too."""
    broken = [text for k in printed(name, dtype) for text in wrong(k)]
    assert not broken, "\n".join(broken[:8])


def test_most_of_float32_has_a_vector_form() -> None:
    """The refusals are those of rare functions; a change that loses the common ones is seen."""
    assert sum(1 for n in RECORDS for _ in printed(n, dtypes.float32)) > 300


FAULTS = {
    "swapped operands": ("sub", "({1} - {0})"),
    "another function": ("tanh", "erf{f}({0})"),
    "NaN not kept": ("maximum", "({0} > {1} ? {0} : {1})"),
    "wrong precedence": ("sub", "({0} - {1} - {1} / 2)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_spelling_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault in a record's spelling makes the comparison fail."""
    name, spelling = FAULTS[fault]
    monkeypatch.setattr(registry[name], "c", spelling)
    (kernel, *_) = kernels(registry[name], dtypes.float32)
    assert wrong(kernel)


def test_a_wrong_gradient_is_caught() -> None:
    """The printed rule is compared with the array code of the rule, not with itself."""
    right, bad = (
        next(k for k in kernels(registry[n], dtypes.float32) if k.trace.names[0] == "g")
        for n in ("tanh", "sigmoid")
    )
    assert not wrong(right)
    assert wrong(replace(right, reference=bad.reference))
