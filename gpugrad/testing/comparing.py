"""``assert_close`` and ``assert_allclose``: equality up to what a dtype can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError
from gpugrad.tensor import Tensor

#: PyTorch's default tolerances: (rtol, atol).
TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
}


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True,
                 rtol: float | None = None, atol: float | None = None, equal_nan: bool = False,
                 check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
                 check_stride: bool = False,
                 msg: str | Callable[[str], str] | None = None) -> None:  # fmt: skip
    """Assert that tensors (or nested sequences and mappings of them) are equal up to a tolerance.

    Args:
        actual, expected: tensors, numbers, NumPy arrays, or nested sequences or mappings.
        rtol, atol: ``|actual - expected| <= atol + rtol * |expected|``; both or neither; defaults
            by dtype as in PyTorch, the looser one where the dtypes differ.
        equal_nan: whether NaN equals NaN.
        allow_subclasses: whether types may differ as long as one derives from the other.
        check_device, check_dtype, check_stride: also compare these.
        check_layout: every tensor of gpugrad is strided, so there is nothing to differ.
        msg: replaces the message, or makes one of it.

    Raises:
        AssertionError: showing how many elements differ and the largest difference and where.
    """
    if (rtol is None) != (atol is None):
        raise ArgumentError("assert_close: give both rtol and atol, or neither")
    try:
        _compare(actual, expected, "", {
            "rtol": rtol, "atol": atol, "equal_nan": equal_nan, "device": check_device,
            "dtype": check_dtype, "stride": check_stride, "subclasses": allow_subclasses,
        })  # fmt: skip
    except AssertionError as error:
        if msg is None:
            raise
        raise AssertionError(msg(str(error)) if callable(msg) else msg) from None


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None,
                    atol: float | None = None, equal_nan: bool = True,
                    msg: str = "") -> None:  # fmt: skip
    """Older form of ``assert_close``: NaN equals NaN, dtype, device and stride may differ."""
    if not isinstance(actual, Tensor):
        actual = np.asarray(actual)
    if not isinstance(expected, Tensor):
        expected = np.asarray(expected)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=False,
                 check_dtype=False, check_stride=False, msg=msg or None)  # fmt: skip


def _compare(a: Any, b: Any, where: str, how: dict[str, Any]) -> None:
    at = f" at {where}" if where else ""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if set(a) != set(b):
            raise AssertionError(f"keys differ{at}: {sorted(a)} and {sorted(b)}")
        for k in a:
            _compare(a[k], b[k], f"{where}[{k!r}]", how)
        return
    if _is_sequence(a) and _is_sequence(b):
        if len(a) != len(b):
            raise AssertionError(f"lengths differ{at}: {len(a)} and {len(b)}")
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(x, y, f"{where}[{i}]", how)
        return
    if a is None or b is None:
        if a is not b:
            raise AssertionError(f"one is None{at}: {a!r} and {b!r}")
        return
    if not how["subclasses"] and type(a) is not type(b):
        raise AssertionError(f"types differ{at}: {type(a).__name__} and {type(b).__name__}")
    if isinstance(a, Tensor) != isinstance(b, Tensor) and how["dtype"]:
        raise AssertionError(f"types differ{at}: {type(a).__name__} and {type(b).__name__}")
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        _attributes(a, b, at, how)
        if a.is_meta or b.is_meta:
            if a.shape != b.shape:
                raise AssertionError(f"shapes differ{at}: {tuple(a.shape)} and {tuple(b.shape)}")
            return
    _values(_array(a), _array(b), at, how)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _attributes(a: Tensor, b: Tensor, at: str, how: dict[str, Any]) -> None:
    for name in ("device", "dtype"):
        x, y = getattr(a, name), getattr(b, name)
        if how[name] and x != y:
            raise AssertionError(f"{name}s differ{at}: {x} and {y}")
    if how["stride"] and a.stride() != b.stride():
        raise AssertionError(f"strides differ{at}: {a.stride()} and {b.stride()}")


def _array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        return np.asarray(value.numpy(force=True))
    if isinstance(value, float):  # a Python number is as precise as its kind
        return np.asarray(value, dtype=np.float64)
    return np.asarray(value)


def tolerance(*types: DType) -> tuple[float, float]:
    """The looser of the default tolerances of these dtypes."""
    pairs = [TOLERANCES.get(t, (0.0, 0.0)) for t in types]
    return max(p[0] for p in pairs), max(p[1] for p in pairs)


def _values(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], at: str,
            how: dict[str, Any]) -> None:  # fmt: skip
    if a.shape != b.shape:
        raise AssertionError(f"shapes differ{at}: {a.shape} and {b.shape}")
    rtol, atol = how["rtol"], how["atol"]
    if rtol is None:
        rtol, atol = tolerance(dtypes.from_numpy(a.dtype), dtypes.from_numpy(b.dtype))
    if a.dtype.kind in "iub" and b.dtype.kind in "iub" and not rtol and not atol:
        wrong = a != b
    else:
        with np.errstate(all="ignore"):
            a, b = a.astype(np.float64), b.astype(np.float64)
            wrong = ~((a == b) | (np.abs(a - b) <= atol + rtol * np.abs(b)) & np.isfinite(b))
            if how["equal_nan"]:
                wrong &= ~(np.isnan(a) & np.isnan(b))
    if not wrong.any():
        return
    with np.errstate(all="ignore"):
        gap = np.where(wrong, np.abs(np.subtract(a, b, dtype=np.float64)), -1.0)
    worst = np.unravel_index(int(np.argmax(np.nan_to_num(gap, nan=np.inf))), gap.shape)
    raise AssertionError(
        f"{int(wrong.sum())} of {wrong.size} elements differ{at}; the largest difference is "
        f"{float(gap[worst]):.6g} at {tuple(int(i) for i in worst)}: {a[worst]} and {b[worst]} "
        f"(rtol {rtol:g}, atol {atol:g})"
    )
