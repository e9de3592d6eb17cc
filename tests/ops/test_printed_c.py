"""The C++ printed from a record, compiled on the host, computes what the array code does.

Every elementwise record and each of its gradient rules is printed for every dtype it claims, all of
a dtype are compiled into one library, and the functions run over ordinary and special values.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpugrad import backends, dispatch, dtypes, signature
from gpugrad.codegen import Trace, c, trace_forward, trace_gradient
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError, NotSupportedError
from gpugrad.op import Op, registry
from gpugrad.tensor import wrap
from gpugrad.testing.calls import Call, Slot, claimed_dtypes, key, samples_of

COMPILER = shutil.which("g++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the printed C++ with")

DTYPES = (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.uint8, dtypes.bool_)
RECORDS = {key(r): r for r in registry.ops.values() if r.elementwise}
FLAGS = ("-O1", "-ffp-contract=off", "-fwrapv", "-fPIC", "-shared", "-w", "-std=c++17")
#: Relative and, for the trigonometric functions near their zeros, absolute error in units of eps.
ULPS = 16.0
#: Ops whose errors are those of another algorithm than the array code's, in units of eps.
LOOSE = {
    "digamma": 100, "lgamma": 100, "mvlgamma": 400, "polygamma": 100, "special.zeta": 100,
    "special.ndtri": 100, "erfinv": 100, "special.log_ndtr": 100, "special.erfcx": 100,
    "nn.functional.gelu": 64, "i0": 100, "special.i0e": 100, "special.i1": 100, "special.i1e": 100,
}  # fmt: skip


@dataclass(frozen=True)
class Kernel:
    """One function to print: an op or a gradient rule of it, for one choice of settings."""

    symbol: str
    trace: Trace
    #: What the array code gives for inputs in the order of the trace.
    reference: Callable[..., Any]
    domains: tuple[tuple[float, float], ...]
    ulps: float


def settings_of(op: Op) -> Iterator[tuple[list[Any], dict[str, Any], list[tuple[float, float]]]]:
    """Operands (None for an array, else a constant), settings and domains of the op's samples."""
    seen = set()
    for sample in samples_of(op):
        call = Call(op, sample, dtypes.float64)
        bound, settings = signature.bind(op, call.args, dict(call.kwargs))
        signature.normalise(op, 1, settings)
        operands = [None if isinstance(b, Slot) else "absent" if b is None else b for b in bound]
        shown = (repr(operands), repr(settings))
        if shown not in seen:
            seen.add(shown)
            domains = [(a.low, a.high) for a in call.described]
            yield operands, settings, domains


def kernels(op: Op, dtype: DType) -> Iterator[Kernel]:
    """Everything that is printed of one op for one dtype; nothing if it refuses the dtype."""
    for i, (pattern, settings, domains) in enumerate(settings_of(op)):
        indices = [a in op.indices for a in op.arrays]
        operands = [
            (dtypes.bool_ if index else dtype) if p is None else None if p == "absent" else p
            for p, index in zip(pattern, indices, strict=True)
        ]
        name = f"{key(op).replace('.', '_')}_{dtype.name}_{i}"
        ulps = LOOSE.get(key(op), ULPS)
        try:
            trace = trace_forward(op, operands, settings)
        except DTypeError:
            continue
        yield Kernel(f"gg_{name}", trace, forward(op, operands, settings), tuple(domains), ulps)
        if not dtype.is_floating_point:
            continue
        for target, rule in op.rules.items():
            if target is not None and not isinstance(dict(zip(op.arrays, operands))[target], DType):
                continue
            try:
                trace = trace_gradient(op, target, operands, settings)
            except NotSupportedError:
                continue  # the rule says that there is no gradient
            ranges = dict(zip([a for a, o in zip(op.arrays, operands) if isinstance(o, DType)],
                              domains))  # fmt: skip
            yield Kernel(
                f"gg_{name}_d{target or ''}", trace, gradient(op, rule, operands, settings, trace),
                tuple(ranges.get(n, (-2.0, 2.0)) for n in trace.names), ulps,
            )  # fmt: skip


def forward(op: Op, operands: list[Any], settings: dict[str, Any]) -> Callable[..., Any]:
    """The op by its array code, promotion included."""

    def run(*arrays: Any) -> list[Any]:
        given = iter(arrays)
        args = tuple(wrap(next(given)) if isinstance(o, DType) else o for o in operands)
        return [t._array for t in several(dispatch.call(op, args, dict(settings)))]

    return run


def several(result: Any) -> list[Any]:
    """One result, or a tuple of them, as a list."""
    return list(result) if isinstance(result, tuple | list) else [result]


def gradient(op: Op, rule: Any, operands: list[Any], settings: dict[str, Any],
             trace: Trace) -> Callable[..., Any]:  # fmt: skip
    """A gradient rule by its array code."""
    constants = dict(zip(op.arrays, operands, strict=True))

    def run(*arrays: Any) -> list[Any]:
        given = dict(zip(trace.names, arrays, strict=True))
        reads = {n: given[n] if n in given else constants[n] for n in rule.reads}
        chosen = {s: settings[s] for s in rule.settings}
        xp = backends.NUMPY.xp
        found = backends.NUMPY.run(rule.fn, xp, given["g"], **reads, **chosen)
        return [np.broadcast_to(x, arrays[0].shape) for x in several(found) if x is not None]

    return run


def compile_all(found: list[Kernel], folder: Path, name: str) -> ctypes.CDLL:
    """Compile the printed functions into one library."""
    text = c.HOST_PRELUDE + c.helpers()
    text += "".join(c.source(k.symbol, k.trace.inputs, k.trace.outputs) for k in found)
    path = folder / f"{name}.cpp"
    path.write_text(text, encoding="utf-8")
    library = path.with_suffix(".so")
    done = subprocess.run(
        [str(COMPILER), *FLAGS, str(path), "-o", str(library)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:4000]
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[DType], Any]:
    """Per dtype, the kernels by record and the library that holds them; made on first use."""
    folder = tmp_path_factory.mktemp("printed")
    made: dict[DType, Any] = {}

    def get(dtype: DType) -> Any:
        if dtype not in made:
            by_record = {n: list(kernels(r, dtype)) for n, r in RECORDS.items()}
            everything = list(itertools.chain.from_iterable(by_record.values()))
            made[dtype] = by_record, compile_all(everything, folder, dtype.name)
        return made[dtype]

    return get


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0])


def values(inputs: tuple[DType, ...], domains: tuple[tuple[float, float], ...],
           special: bool) -> list[Any]:  # fmt: skip
    """Arrays for a kernel: drawn from the domains, or every combination of special values."""
    rng = np.random.default_rng(3)
    if special:
        pool = [_edges(t) for t in inputs]
        grids = np.meshgrid(*(np.arange(len(p)) for p in pool), indexing="ij")
        return [p[g.reshape(-1)] for p, g in zip(pool, grids, strict=True)]
    arrays = []
    for dtype, (low, high) in zip(inputs, domains, strict=True):
        if dtype is dtypes.bool_:
            arrays.append(rng.random(64) < 0.5)
        elif dtype.is_floating_point:
            arrays.append(rng.uniform(low, high, 64).astype(dtype.np))
        else:
            least = int(low) if dtype.is_signed else max(int(low), 0)
            arrays.append(rng.integers(least, max(int(high), least) + 1, 64).astype(dtype.np))
    return arrays


def _edges(dtype: DType) -> Any:
    if dtype is dtypes.bool_:
        return np.array([False, True])
    if dtype.is_floating_point:
        return SPECIAL.astype(dtype.np)
    info = np.iinfo(dtype.np)
    return np.array([1, 2, 3, 7, info.max] + ([-1, -3, info.min] if info.min else []), dtype.np)


def run(library: ctypes.CDLL, kernel: Kernel, arrays: list[Any]) -> list[Any]:
    """Call a compiled kernel."""
    arrays = [np.ascontiguousarray(a) for a in arrays]
    outs = [np.empty(arrays[0].size, o.dtype.np) for o in kernel.trace.outputs]
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, *outs)]
    getattr(library, kernel.symbol)(ctypes.c_longlong(arrays[0].size), *pointers)
    return outs


def difference(got: Any, want: Any, ulps: float) -> str:
    """Where two results differ by more than ``ulps`` (by anything, for integers), or ""."""
    if got.dtype.kind != "f":
        wrong = got != want
    else:
        eps, sizes = np.finfo(got.dtype).eps, np.abs(want[np.isfinite(want)])
        # Sums that cancel err by the size of their terms: that of a typical result.
        typical = np.median(sizes) if sizes.size else 0
        with np.errstate(all="ignore"):
            wrong = ~(np.abs(got - want) <= ulps * eps * (np.abs(want) + typical / 8))
            wrong &= ~((got == want) | (np.isnan(got) & np.isnan(want)))
    where = np.flatnonzero(wrong)
    return f"{got[where[0]]!r}, array code {want[where[0]]!r} at {where[0]}" if where.size else ""


def failures(library: ctypes.CDLL, kernel: Kernel) -> list[str]:
    """Run one kernel over all values and list what differs from the array code."""
    found = []
    for special in (False, True):
        arrays = values(kernel.trace.inputs, kernel.domains, special)
        want = kernel.reference(*arrays)
        for i, (g, w) in enumerate(zip(run(library, kernel, arrays), want, strict=True)):
            w = backends.NUMPY.run(np.broadcast_to(w, g.shape).astype, g.dtype)
            text = difference(g, w, kernel.ulps)
            if text:
                at = int(text.rsplit(" ", 1)[1])
                shown = ", ".join(repr(a[at]) for a in arrays)
                found.append(f"{kernel.symbol} output {i} of ({shown}): {text}")
    return found


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
    broken = list(itertools.chain.from_iterable(failures(library, k) for k in by_record[name]))
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
    library = compile_all(found, tmp_path, "fault")
    assert any(failures(library, k) for k in found)


def test_a_wrong_gradient_is_caught(tmp_path: Path) -> None:
    """The printed rule is compared with the array code of the rule, not with itself."""
    right = next(k for k in kernels(registry["tanh"], dtypes.float64) if k.trace.names[0] == "g")
    wrong = next(k for k in kernels(registry["sigmoid"], dtypes.float64) if k.trace.names[0] == "g")
    library = compile_all([right], tmp_path, "gradient")
    assert not failures(library, right)
    assert failures(library, replace(right, reference=wrong.reference))


def constant_of(op: Op, dtype: DType, value: float, folder: Path) -> Any:
    """The bytes that a constant beside a neutral element of ``op`` leaves in memory."""
    trace = trace_forward(op, [dtype, value], {})
    kernel = Kernel(f"literal_{dtype.name}", trace, several, ((0.0, 1.0),), 0.0)
    neutral = np.full(1, op is registry["mul"], dtype.np)
    return run(compile_all([kernel], folder, dtype.name), kernel, [neutral])[0].tobytes()


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
