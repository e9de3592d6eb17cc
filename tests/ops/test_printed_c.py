"""The C++ printed from a record, compiled on the host, computes what the array code does.

Every elementwise record and each of its gradient rules is printed for every dtype it claims, all of
a dtype are compiled into one library, and the functions run over ordinary and special values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpugrad import backends, dtypes
from gpugrad.codegen import trace_forward
from gpugrad.dtypes import DType
from gpugrad.op import Op, registry
from gpugrad.testing.calls import claimed_dtypes, key
from gpugrad.testing.printed_c import (
    COMPILER,
    Kernel,
    compile_kernels,
    differences,
    kernels,
    run_kernel,
)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the printed C++ with")

DTYPES = (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.bool_)
RECORDS = {key(r): r for r in registry.ops.values() if r.elementwise}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[DType], Any]:
    """Per dtype, the kernels by record and the library that holds them; made on first use."""
    folder = tmp_path_factory.mktemp("printed")
    made: dict[DType, Any] = {}

    def get(dtype: DType) -> Any:
        if dtype not in made:
            by_record = {n: list(kernels(r, dtype)) for n, r in RECORDS.items()}
            everything = list(itertools.chain.from_iterable(by_record.values()))
            made[dtype] = by_record, compile_kernels(everything, folder, dtype.name)
        return made[dtype]

    return get


CASES = [
    pytest.param(n, d, id=f"{n}-{d.name}")
    for n, r in RECORDS.items() for d in DTYPES if d in claimed_dtypes(r)
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_printed_c(name: str, dtype: DType, compiled: Callable[[DType], Any]) -> None:
    """Forward and gradients agree to a few units in the last place; NaN, infinities too."""
    by_record, library = compiled(dtype)
    if not by_record[name]:
        pytest.skip(f"{name} does not take {dtype.name}")
    broken = list(itertools.chain.from_iterable(differences(library, k) for k in by_record[name]))
    assert not broken, "\n".join(broken[:8])


def test_every_record_prints_for_some_dtype() -> None:
    """No elementwise record is left out of this file by a refusal of all dtypes."""
    silent = [n for n, r in RECORDS.items() if not any(list(kernels(r, d)) for d in DTYPES)]
    assert not silent


FAULTS = {
    "swapped operands": ("sub", "({1} - {0})"),
    "dropped operand": ("hypot", "fabs{f}({0})"),
    "another function": ("sinh", "sin{f}({0})"),
    "off by 1e-4": ("exp", "(exp{f}({0}) * ({T})1.0001)"),
    "NaN not kept": ("maximum", {"f": "fmax{f}({0}, {1})", "i": "0", "b": "false"}),
    "halves away from zero": ("round", {"f": "round{f}({0})", "i": "{0}"}),
    "wrong sign of a remainder": ("remainder", "fmod{f}({0}, {1})"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_spelling_is_caught(fault: str, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A planted fault in a record's spelling makes the comparison fail."""
    name, wrong = FAULTS[fault]
    op = registry[name]
    monkeypatch.setattr(op, "c", wrong)
    forward_only = (k for k in kernels(op, dtypes.float64) if k.trace.names[0] != "g")
    found = [replace(k, symbol=f"gg_fault_{i}") for i, k in enumerate(forward_only)]
    library = compile_kernels(found, tmp_path, "fault")
    assert any(differences(library, k) for k in found)


def test_a_wrong_gradient_is_caught(tmp_path: Path) -> None:
    """The printed rule is compared with the array code of the rule, not with itself."""
    right = next(k for k in kernels(registry["tanh"], dtypes.float64) if k.trace.names[0] == "g")
    wrong = next(k for k in kernels(registry["sigmoid"], dtypes.float64) if k.trace.names[0] == "g")
    library = compile_kernels([right], tmp_path, "gradient")
    assert not differences(library, right)
    assert differences(library, replace(right, reference=wrong.reference))


def constant_of(op: Op, dtype: DType, value: float, folder: Path) -> Any:
    """The bytes that a constant beside a neutral element of ``op`` leaves in memory."""
    trace = trace_forward(op, [dtype, value], {})
    kernel = Kernel(f"literal_{dtype.name}", trace, lambda x: [x], ((0.0, 1.0),), 0.0)
    neutral = np.full(1, op is registry["mul"], dtype.np)
    return run_kernel(compile_kernels([kernel], folder, dtype.name), kernel, [neutral])[0].tobytes()


@pytest.mark.parametrize("value", [0.1, -1e-300, 1e300, 3.0, np.pi, float("inf"), float("-inf")])
def test_literals_are_exact(value: float, tmp_path: Path) -> None:
    """A constant reaches the kernel with every bit, in both precisions."""
    for dtype in (dtypes.float32, dtypes.float64):
        want = backends.NUMPY.run(np.array([value]).astype, dtype.np)
        assert constant_of(registry["mul"], dtype, value, tmp_path) == want.tobytes()


@pytest.mark.parametrize("value", [0, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 300])
def test_integer_literals_wrap_as_a_cast(value: int, tmp_path: Path) -> None:
    """An integer constant is the value that NumPy's cast to the dtype gives."""
    for dtype in (dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.int8):
        want = np.array([value]).astype(dtype.np)
        assert constant_of(registry["bitwise_or"], dtype, value, tmp_path) == want.tobytes()
