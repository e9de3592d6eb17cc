"""A stand-in for ``nvmath.bindings.cublasLt`` 1.0 that computes with NumPy from raw addresses.

It believes nothing but what it is told: matrices are read and written by the rows, columns, leading
dimensions and batch strides of their layouts, so a wrong one gives wrong values.  It refuses what
the library refuses, with the library's status, and fails the test where CUDA would be silent:

- leading dimensions below the rows, shapes that do not fit, other dtypes or batch counts;
- an epilogue without its pointers; the bias gradient of B unless B is transposed, and in batches;
- an algorithm that the heuristics gave for another problem, or none; addresses less aligned than
  they were promised to be; a workspace that is too small or not aligned to 256 bytes;
- descriptors that were destroyed; attributes of the wrong size; another device than the handle's;
- memory that is not the device's, and heuristics asked for while a stream is captured (both
  AssertionErrors: the library would not notice).

TF32 rounds operands to 10 bits of mantissa.  Where the preference allows partial sums in a 16-bit
result, a sum is split and its parts are rounded.  ``answers`` and ``delays`` say how many
algorithms the heuristics give and how many seconds each takes; ``refuse`` refuses problems of the
test's choice.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from cupy_stand_in.memory import DEVICES, blocks
from cupy_stand_in.streams import get_current_stream

_BF16 = np.dtype(ml_dtypes.bfloat16)
_TYPES = {0: np.dtype("f4"), 1: np.dtype("f8"), 2: np.dtype("f2"), 14: _BF16}
#: Compute type -> (types of matrices, type of alpha and beta).
_COMPUTE = {68: ((0, 2, 14), 0), 77: ((0,), 0), 70: ((1,), 1)}
_TF32 = 77
_INVALID, _FAILED, _UNSUPPORTED = 7, 13, 15
_NAMES = {_INVALID: "INVALID_VALUE", _FAILED: "EXECUTION_FAILED", _UNSUPPORTED: "NOT_SUPPORTED"}

#: Set by tests.
answers = 3
workspace_size = 1 << 20
delays: dict[int, float] = {}
refuse: list[Callable[[dict[str, Any]], bool]] = []
#: Every product that was run, newest last: problem, algorithm, addresses, workspace, stream.
runs: list[dict[str, Any]] = []
#: Every problem that the heuristics were asked about, and every refusal.
asked: list[dict[str, Any]] = []
errors: list[Exception] = []


class cuBLASLtError(Exception):
    """As the bindings raise it."""

    def __init__(self, status: int) -> None:
        self.status = status
        errors.append(self)
        super().__init__(f"CUBLAS_STATUS_{_NAMES[status]} ({status})")


class MatmulDescAttribute(enum.IntEnum):
    """Those that are emulated."""

    TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8
    EPILOGUE_AUX_POINTER, EPILOGUE_AUX_LD, EPILOGUE_AUX_BATCH_STRIDE = 11, 12, 13


class MatrixLayoutAttribute(enum.IntEnum):
    """Those that are emulated."""

    BATCH_COUNT, STRIDED_BATCH_OFFSET = 5, 6


class MatmulPreferenceAttribute(enum.IntEnum):
    """Those that are emulated."""

    MAX_WORKSPACE_BYTES, REDUCTION_SCHEME_MASK = 1, 3
    MIN_ALIGNMENT_A_BYTES, MIN_ALIGNMENT_B_BYTES = 5, 6
    MIN_ALIGNMENT_C_BYTES, MIN_ALIGNMENT_D_BYTES = 7, 8


class Epilogue(enum.IntEnum):
    """Those that are emulated."""

    DEFAULT, BIAS, RELU_BIAS, GELU_BIAS, GELU_AUX_BIAS = 1, 4, 6, 36, 164
    DGELU, BGRADB = 192, 512


_D, _L, _P = MatmulDescAttribute, MatrixLayoutAttribute, MatmulPreferenceAttribute
#: The bindings' dtypes of attributes.
DTYPES = {
    _D: {_D.TRANSA: np.int32, _D.TRANSB: np.int32, _D.EPILOGUE: np.uint32,
         _D.BIAS_POINTER: np.int64, _D.EPILOGUE_AUX_POINTER: np.int64, _D.EPILOGUE_AUX_LD: np.int64,
         _D.EPILOGUE_AUX_BATCH_STRIDE: np.int64},
    _L: {_L.BATCH_COUNT: np.int32, _L.STRIDED_BATCH_OFFSET: np.int64},
    _P: {_P.MAX_WORKSPACE_BYTES: np.uint64, _P.REDUCTION_SCHEME_MASK: np.uint32,
         _P.MIN_ALIGNMENT_A_BYTES: np.uint32, _P.MIN_ALIGNMENT_B_BYTES: np.uint32,
         _P.MIN_ALIGNMENT_C_BYTES: np.uint32, _P.MIN_ALIGNMENT_D_BYTES: np.uint32},
}  # fmt: skip
matmul_algo_dtype = np.dtype([("data_", "<u8", (8,))])
matmul_heuristic_result_dtype = np.dtype(
    [("algo", matmul_algo_dtype), ("workspace_size", "<u8"), ("state", "<i4"),
     ("waves_count", "<f4"), ("reserved", "<i4", (4,))]
)  # fmt: skip

_numbers = itertools.count(0x1000, 16)
#: Everything that was created and not destroyed, by handle.
live: dict[int, tuple[str, Any]] = {}
#: What the heuristics were told: the problem, alignments, and how split sums may be added; by the
#: number in the algorithm.
_promised: dict[int, tuple[dict[str, Any], tuple[int, ...], int]] = {}


def _create(kind: str, value: Any) -> int:
    number = next(_numbers)
    live[number] = (kind, value)
    return number


def _get(kind: str, number: int) -> Any:
    if live.get(number, ("",))[0] != kind:
        raise cuBLASLtError(_INVALID)
    return live[number][1]


def _destroyer(kind: str) -> Callable[[int], None]:
    def destroy(number: int) -> None:
        _get(kind, number)
        del live[number]

    return destroy


def _setter(kind: str, attributes: Any) -> Callable[[int, int, int, int], None]:
    def set_attribute(number: int, attr: int, buf: int, size_in_bytes: int) -> None:
        dtype = np.dtype(DTYPES[attributes][attributes(attr)])
        if size_in_bytes != dtype.itemsize or not buf:
            raise cuBLASLtError(_INVALID)
        raw = ctypes.string_at(buf, size_in_bytes)
        _get(kind, number)[attributes(attr)] = int(np.frombuffer(raw, dtype)[0])

    return set_attribute


def create() -> int:
    return _create("handle", DEVICES.current)


def get_version() -> int:
    return 130100


def matmul_desc_create(compute_type: int, scale_type: int) -> int:
    if compute_type not in _COMPUTE or _COMPUTE[compute_type][1] != scale_type:
        raise cuBLASLtError(_INVALID)
    return _create("desc", {"compute": compute_type})


def matrix_layout_create(type: int, rows: int, cols: int, ld: int) -> int:
    if type not in _TYPES:
        raise cuBLASLtError(_INVALID)
    return _create("layout", {"type": type, "rows": rows, "cols": cols, "ld": ld})


def matmul_preference_create() -> int:
    return _create("preference", {})


def _told(desc: int, layouts: tuple[int, ...]) -> dict[str, Any]:
    """A problem as the library is told of it, without addresses; checked."""
    op = _get("desc", desc)
    told: dict[str, Any] = {
        "compute": op["compute"], "epilogue": op.get(_D.EPILOGUE, 1),
        "trans": (op.get(_D.TRANSA, 0), op.get(_D.TRANSB, 0)),
        "aux": (op.get(_D.EPILOGUE_AUX_LD, 0), op.get(_D.EPILOGUE_AUX_BATCH_STRIDE, 0)),
    }  # fmt: skip
    found = [_get("layout", x) for x in layouts]
    told["layouts"] = [
        (x["type"], x["rows"], x["cols"], x["ld"], x.get(_L.BATCH_COUNT, 1),
         x.get(_L.STRIDED_BATCH_OFFSET, 0)) for x in found
    ]  # fmt: skip
    a, b, c, d = found
    if any(x["ld"] < x["rows"] or x["rows"] < 1 or x["cols"] < 1 for x in found):
        raise cuBLASLtError(_INVALID)
    kinds = {x["type"] for x in found}
    if len(kinds) > 1 or not kinds <= set(_COMPUTE[op["compute"]][0]):
        raise cuBLASLtError(_UNSUPPORTED)
    if len({x[4] for x in told["layouts"]}) > 1:
        raise cuBLASLtError(_INVALID)
    turned = [(x["cols"], x["rows"]) if t else (x["rows"], x["cols"])
              for x, t in zip((a, b), told["trans"])]  # fmt: skip
    (m, k), (k2, n) = turned
    if k != k2 or any((x["rows"], x["cols"]) != (m, n) for x in (c, d)):
        raise cuBLASLtError(_INVALID)
    count, step = told["layouts"][3][4:]
    if count > 1 and step < d["ld"] * (n - 1) + m:
        raise cuBLASLtError(_INVALID)
    epilogue = Epilogue(told["epilogue"])
    if epilogue in (Epilogue.GELU_AUX_BIAS, Epilogue.DGELU):
        ld, aux_step = told["aux"]
        if ld < m or ld % 8 or (count > 1 and aux_step < ld * (n - 1) + m):
            raise cuBLASLtError(_UNSUPPORTED)
    if epilogue == Epilogue.BGRADB and (told["trans"][1] != 1 or count > 1):
        raise cuBLASLtError(_UNSUPPORTED)
    return told


def _needs(epilogue: int) -> tuple[bool, bool]:
    bias = epilogue in (4, 6, 36, 164, 512)
    return bias, epilogue in (164, 192)


def matmul_algo_get_heuristic(handle: int, desc: int, a: int, b: int, c: int, d: int,
                              preference: int, count: int, results: int,
                              returned: int) -> None:  # fmt: skip
    assert not get_current_stream().is_capturing(), "heuristics asked for during a capture"
    assert _get("handle", handle) == DEVICES.current
    told, wanted = _told(desc, (a, b, c, d)), _get("preference", preference)
    for needed, name in zip(_needs(told["epilogue"]), (_D.BIAS_POINTER, _D.EPILOGUE_AUX_POINTER)):
        assert not needed or _get("desc", desc).get(name), f"{name.name} is not set"
    asked.append(told)
    if any(r(told) for r in refuse):
        raise cuBLASLtError(_UNSUPPORTED)
    aligned = tuple(wanted.get(_P(n), 256) for n in range(5, 9))
    room = wanted.get(_P.MAX_WORKSPACE_BYTES, 0)
    found = [i for i in range(answers) if _room(i) <= room][:count]
    array = (ctypes.c_char * (count * matmul_heuristic_result_dtype.itemsize)).from_address(results)
    out = np.frombuffer(array, matmul_heuristic_result_dtype)
    for place, i in enumerate(found):
        number = next(_numbers)
        _promised[number] = (told, aligned, wanted.get(_P.REDUCTION_SCHEME_MASK, 7))
        out[place]["algo"]["data_"][:2] = number, i
        out[place]["workspace_size"], out[place]["state"] = _room(i), 0
    ctypes.c_int32.from_address(returned).value = len(found)


def _room(algorithm: int) -> int:
    """The workspace that an algorithm needs: the second needs none."""
    return 0 if algorithm == 1 else workspace_size


def _algorithm(at: int) -> tuple[int, int]:
    raw = np.frombuffer(ctypes.string_at(at, 64), "<u8")
    return int(raw[0]), int(raw[1])


def matmul_algo_check(handle: int, desc: int, a: int, b: int, c: int, d: int, algo: int,
                      result: int) -> None:  # fmt: skip
    number, i = _algorithm(algo)
    if number not in _promised or _promised[number][0] != _told(desc, (a, b, c, d)):
        raise cuBLASLtError(_UNSUPPORTED)
    array = (ctypes.c_char * matmul_heuristic_result_dtype.itemsize).from_address(result)
    out = np.frombuffer(array, matmul_heuristic_result_dtype)
    out[0]["workspace_size"], out[0]["state"] = _room(i), 0


def _memory(at: int, size: int) -> Any:
    """So many bytes of the current device."""
    for start, block in blocks.items():
        if start <= at and at + size <= start + block.size:
            assert block.device_id == DEVICES.current, "memory of another device"
            return (ctypes.c_char * size).from_address(at)
    raise AssertionError(f"{size} bytes at {at:#x} are not the device's")


def _matrices(at: int, layout: tuple[int, ...]) -> Any:
    """A stack ``(batch, rows, cols)`` where the layout says that it lies."""
    type_, rows, cols, ld, count, step = layout
    dtype = _TYPES[type_]
    size = (step * (count - 1) + ld * (cols - 1) + rows) * dtype.itemsize
    strides = tuple(s * dtype.itemsize for s in (step, 1, ld))
    return np.ndarray((count, rows, cols), dtype, _memory(at, size), 0, strides)


def _factor(x: Any, turned: int, compute: int) -> Any:
    x = x.astype(np.float64 if compute == 70 else np.float32)
    if compute == _TF32:  # 13 of 23 bits of mantissa go
        x = ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)
    return x.swapaxes(1, 2) if turned else x


def gelu(z: Any) -> Any:
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def gelu_slope(z: Any) -> Any:
    t = np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * inner


def matmul(handle: int, desc: int, alpha: int, a: int, adesc: int, b: int, bdesc: int, beta: int,
           c: int, cdesc: int, d: int, ddesc: int, algo: int, workspace: int, size: int,
           stream: int) -> None:  # fmt: skip
    assert _get("handle", handle) == DEVICES.current
    assert stream == get_current_stream().ptr, "queued on another stream than the current one"
    told = _told(desc, (adesc, bdesc, cdesc, ddesc))
    number, i = _algorithm(algo)
    if number not in _promised or _promised[number][0] != told:
        raise cuBLASLtError(_UNSUPPORTED)
    if any(at % n for at, n in zip((a, b, c, d), _promised[number][1])):
        raise cuBLASLtError(_FAILED)
    if _room(i) and (not workspace or size < _room(i) or workspace % 256):
        raise cuBLASLtError(_INVALID)
    if workspace:
        ctypes.memset(ctypes.addressof(_memory(workspace, size)), 255, _room(i))
    time.sleep(delays.get(i, 0))
    op = _get("desc", desc)
    at = {"a": a, "b": b, "c": c, "d": d, "bias": op.get(_D.BIAS_POINTER, 0),
          "aux": op.get(_D.EPILOGUE_AUX_POINTER, 0), "workspace": workspace}  # fmt: skip
    runs.append({**told, "algorithm": i, "at": at, "stream": stream})
    _compute({**told, "narrow": bool(_promised[number][2] & 5)}, at, alpha, beta)


def _product(x: Any, y: Any, narrow: Any) -> Any:
    """``x @ y``, in two parts that are rounded to a dtype if one is given."""
    if narrow is None:
        return x @ y
    half = x.shape[2] // 2
    parts = x[..., :half] @ y[:, :half], x[..., half:] @ y[:, half:]
    return sum(p.astype(narrow).astype(x.dtype) for p in parts)


def _compute(told: dict[str, Any], at: dict[str, int], alpha: int, beta: int) -> None:
    layouts, compute, epilogue = told["layouts"], told["compute"], Epilogue(told["epilogue"])
    kind: Any = ctypes.c_double if compute == 70 else ctypes.c_float
    by, plus = (kind.from_address(x).value for x in (alpha, beta))
    x = _factor(_matrices(at["a"], layouts[0]), told["trans"][0], compute)
    y = _factor(_matrices(at["b"], layouts[1]), told["trans"][1], compute)
    out = _matrices(at["d"], layouts[3])
    with np.errstate(all="ignore"):
        narrow = told["narrow"] and out.itemsize == 2
        z = x.dtype.type(by) * _product(x, y, out.dtype if narrow else None)
        if plus:
            z = z + x.dtype.type(plus) * _matrices(at["c"], layouts[2]).astype(x.dtype)
        needs_bias, needs_aux = _needs(epilogue)
        aux = bias = None
        if needs_bias:
            size = out.shape[2] if epilogue == Epilogue.BGRADB else out.shape[1]
            if not at["bias"]:
                raise cuBLASLtError(_INVALID)
            if at["bias"] % 16:
                raise cuBLASLtError(_FAILED)
            bias = np.frombuffer(_memory(at["bias"], size * out.itemsize), out.dtype)
        if needs_aux:
            if not at["aux"]:
                raise cuBLASLtError(_INVALID)
            if at["aux"] % 16:
                raise cuBLASLtError(_FAILED)
            type_, rows, cols, _, count, _ = layouts[3]
            aux = _matrices(at["aux"], (type_, rows, cols, told["aux"][0], count, told["aux"][1]))
        if epilogue == Epilogue.BGRADB:
            bias[:] = y[0].sum(0).astype(out.dtype)  # type: ignore[index]
        elif bias is not None:
            z = z + bias.astype(z.dtype)[:, None]
        if epilogue == Epilogue.GELU_AUX_BIAS:
            aux[...] = z.astype(out.dtype)  # type: ignore[index]
        if epilogue == Epilogue.RELU_BIAS:
            z = np.maximum(z, 0)
        elif epilogue in (Epilogue.GELU_BIAS, Epilogue.GELU_AUX_BIAS):
            z = gelu(z)
        elif epilogue == Epilogue.DGELU:
            z = z * gelu_slope(aux.astype(z.dtype))  # type: ignore[union-attr]
        out[...] = z.astype(out.dtype)


def _dtype_of(attributes: Any) -> Callable[[int], Any]:
    return lambda attr: DTYPES[attributes][attributes(attr)]


def install() -> None:
    """Put the modules in place of nvmath for the rest of this process."""
    lt: Any = types.ModuleType("nvmath.bindings.cublasLt", __doc__)
    here = (cuBLASLtError, MatmulDescAttribute, MatrixLayoutAttribute, MatmulPreferenceAttribute,
            Epilogue, create, get_version, matmul_desc_create, matrix_layout_create,
            matmul_preference_create, matmul_algo_get_heuristic, matmul_algo_check,
            matmul)  # fmt: skip
    for value in here:
        setattr(lt, value.__name__, value)
    lt.matmul_algo_dtype = matmul_algo_dtype
    lt.matmul_heuristic_result_dtype = matmul_heuristic_result_dtype
    for name, kind, attributes in (
        ("matmul_desc", "desc", _D), ("matrix_layout", "layout", _L),
        ("matmul_preference", "preference", _P),
    ):  # fmt: skip
        setattr(lt, f"{name}_destroy", _destroyer(kind))
        setattr(lt, f"{name}_set_attribute", _setter(kind, attributes))
        setattr(lt, f"get_{name}_attribute_dtype", _dtype_of(attributes))
    lt.destroy = _destroyer("handle")
    nvmath: Any = types.ModuleType("nvmath")
    bindings: Any = types.ModuleType("nvmath.bindings")
    nvmath.__path__ = bindings.__path__ = []
    nvmath.bindings, bindings.cublasLt = bindings, lt
    sys.modules.update({m.__name__: m for m in (nvmath, bindings, lt)})
