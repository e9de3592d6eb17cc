"""The C++ printed from a record, compiled by the host's compiler and run beside the array code.

``kernels(op, dtype)`` lists what is printed of a record, ``compile_kernels`` makes a library of it,
``differences`` runs one kernel of the library and compares.  Needs g++.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad import backends, dispatch, dtypes, signature
from gpugrad.codegen import Trace, c, trace_forward, trace_gradient
from gpugrad.dtypes import DType
from gpugrad.errors import DTypeError, NotSupportedError
from gpugrad.op import Op, Rule
from gpugrad.tensor import wrap
from gpugrad.testing.calls import Call, Slot, key, samples_of

COMPILER = shutil.which("g++")
FLAGS = ("-O1", "-ffp-contract=off", "-fwrapv", "-fPIC", "-shared", "-w", "-std=c++17")
#: Accepted error in units of the last place, times the record's tolerance: the kernel and the array
#: code may have other algorithms, but both are good to a few units.
ULPS = 32.0


@dataclass(frozen=True)
class Kernel:
    """One function to print: an op or a gradient rule of it, for one choice of settings."""

    symbol: str
    trace: Trace
    #: What the array code gives for inputs in the order of the trace.
    reference: Callable[..., Any]
    domains: tuple[tuple[float, float], ...]
    ulps: float


def _choices(op: Op) -> Iterator[tuple[list[Any], dict[str, Any], list[tuple[float, float]]]]:
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
    for i, (pattern, settings, domains) in enumerate(_choices(op)):
        indices = [a in op.indices for a in op.arrays]
        operands = [
            (dtypes.bool_ if index else dtype) if p is None else None if p == "absent" else p
            for p, index in zip(pattern, indices, strict=True)
        ]
        name = f"{key(op).replace('.', '_')}_{dtype.name}_{i}"
        ulps = ULPS * op.tolerance
        try:
            trace = trace_forward(op, operands, settings)
        except DTypeError:
            continue
        yield Kernel(f"gg_{name}", trace, _forward(op, operands, settings), tuple(domains), ulps)
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
                f"gg_{name}_d{target or ''}", trace, _gradient(op, rule, operands, settings, trace),
                tuple(ranges.get(n, (-2.0, 2.0)) for n in trace.names), ulps,
            )  # fmt: skip


def _forward(op: Op, operands: list[Any], settings: dict[str, Any]) -> Callable[..., Any]:
    """The op by its array code, promotion included."""

    def run(*arrays: Any) -> list[Any]:
        given = iter(arrays)
        args = tuple(wrap(next(given)) if isinstance(o, DType) else o for o in operands)
        return [t._array for t in _several(dispatch.call(op, args, dict(settings)))]

    return run


def _several(result: Any) -> list[Any]:
    """One result, or a tuple of them, as a list."""
    return list(result) if isinstance(result, tuple | list) else [result]


def _gradient(op: Op, rule: Rule, operands: list[Any], settings: dict[str, Any],
             trace: Trace) -> Callable[..., Any]:  # fmt: skip
    """A gradient rule by its array code."""
    constants = dict(zip(op.arrays, operands, strict=True))

    def run(*arrays: Any) -> list[Any]:
        given = dict(zip(trace.names, arrays, strict=True))
        reads = {n: given[n] if n in given else constants[n] for n in rule.reads}
        chosen = {s: settings[s] for s in rule.settings}
        xp = backends.NUMPY.xp
        found = backends.NUMPY.run(rule.fn, xp, given["g"], **reads, **chosen)
        return [np.broadcast_to(x, arrays[0].shape) for x in _several(found) if x is not None]

    return run


def compile_kernels(found: Sequence[Kernel], folder: Path, name: str) -> ctypes.CDLL:
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


def run_kernel(library: ctypes.CDLL, kernel: Kernel, arrays: list[Any]) -> list[Any]:
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


def differences(library: ctypes.CDLL, kernel: Kernel) -> list[str]:
    """Run one kernel over all values and list what differs from the array code."""
    found = []
    for special in (False, True):
        arrays = values(kernel.trace.inputs, kernel.domains, special)
        want = kernel.reference(*arrays)
        for i, (g, w) in enumerate(zip(run_kernel(library, kernel, arrays), want, strict=True)):
            w = backends.NUMPY.run(np.broadcast_to(w, g.shape).astype, g.dtype)
            text = difference(g, w, kernel.ulps)
            if text:
                at = int(text.rsplit(" ", 1)[1])
                shown = ", ".join(repr(a[at]) for a in arrays)
                found.append(f"{kernel.symbol} output {i} of ({shown}): {text}")
    return found
