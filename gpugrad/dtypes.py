"""The dtypes and PyTorch's promotion table.

A ``DType`` is a name with a NumPy dtype behind it; ``bfloat16`` comes from ml_dtypes.  Promotion
happens in two steps, as in PyTorch: operands fall into three ranks (tensors with dimensions, 0-d
tensors, Python numbers), and a lower rank changes the result only if its *category* (bool < integer
< float) is higher than that of every rank above it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from gpugrad.errors import DTypeError

BOOL, INTEGER, FLOAT = 0, 1, 2


class DType:
    """One element type.  Compared by identity; there is one object per type."""

    __slots__ = ("category", "foreign", "is_floating_point", "is_signed", "itemsize", "name", "np")

    def __init__(self, name: str, np_dtype: Any, category: int, signed: bool) -> None:
        self.name = name
        self.np = np.dtype(np_dtype)
        self.category = category
        self.is_floating_point = category == FLOAT
        self.is_signed = signed
        self.itemsize = self.np.itemsize
        #: Whether it comes from ml_dtypes: NumPy prints, pickles and unpacks it in its own way.
        self.foreign = self.np.kind == "V"

    #: Complex dtypes are not supported yet; PyTorch programs ask for this attribute.
    is_complex = False

    def __repr__(self) -> str:
        return f"gpugrad.{self.name}"

    def __reduce__(self) -> str:
        return self.name  # pickled as the module-level name, so identity survives

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: Any) -> DType:
        return self


float64 = DType("float64", np.float64, FLOAT, True)
float32 = DType("float32", np.float32, FLOAT, True)
float16 = DType("float16", np.float16, FLOAT, True)
bfloat16 = DType("bfloat16", ml_dtypes.bfloat16, FLOAT, True)
int64 = DType("int64", np.int64, INTEGER, True)
int32 = DType("int32", np.int32, INTEGER, True)
int16 = DType("int16", np.int16, INTEGER, True)
int8 = DType("int8", np.int8, INTEGER, True)
uint8 = DType("uint8", np.uint8, INTEGER, False)
bool_ = DType("bool", np.bool_, BOOL, False)
float8_e4m3fn = DType("float8_e4m3fn", ml_dtypes.float8_e4m3fn, FLOAT, True)
float8_e5m2 = DType("float8_e5m2", ml_dtypes.float8_e5m2, FLOAT, True)

#: What ops compute with.
ALL = (float64, float32, float16, bfloat16, int64, int32, int16, int8, uint8, bool_)
#: Floats that are cast, moved and stored, and that nothing computes with.
EIGHTS = (float8_e4m3fn, float8_e5m2)
FLOATS = (*(d for d in ALL if d.category == FLOAT), *EIGHTS)
INTEGERS = tuple(d for d in ALL if d.category == INTEGER)
#: Floats that compute in float32 and are only stored in 16 bits.
HALVES = (float16, bfloat16)

#: PyTorch's other names for the same dtypes.
ALIASES = {
    "double": float64, "float": float32, "half": float16, "long": int64, "int": int32,
    "short": int16, "bool": bool_,
}  # fmt: skip

#: A DType stands for itself, so that an op may ask it of arrays and of expressions alike.
_BY_NUMPY: dict[Any, DType] = {d.np: d for d in (*ALL, *EIGHTS)} | {d: d for d in (*ALL, *EIGHTS)}
_BY_NAME = {d.name: d for d in (*ALL, *EIGHTS)} | ALIASES
_BY_PYTHON = {bool: bool_, int: int64}
_UNSUPPORTED = {"complex64", "complex128", "cfloat", "cdouble"}


def __getattr__(name: str) -> DType:
    # The pickle of `bool_` says "bool", and `gpugrad.dtypes.bool` must not shadow the builtin here.
    if name in _BY_NAME:
        return _BY_NAME[name]
    raise AttributeError(f"module 'gpugrad.dtypes' has no attribute {name!r}")


def from_numpy(np_dtype: Any) -> DType:
    """Return the DType of a NumPy dtype.

    Raises:
        DTypeError: for a dtype that gpugrad does not have (complex, unsigned above 8 bits, text).
    """
    try:
        return _BY_NUMPY[np_dtype]
    except (KeyError, TypeError):
        accepted = ", ".join(d.name for d in ALL)
        hint = " (complex tensors are not supported yet)" if "complex" in str(np_dtype) else ""
        raise DTypeError(f"no gpugrad dtype for {np_dtype}{hint}; there are {accepted}") from None


def as_dtype(value: Any) -> DType:
    """Read a dtype as users write it: a DType, its name, a NumPy dtype, or float/int/bool."""
    if isinstance(value, DType):
        return value
    if value is float:
        from gpugrad.config import config  # config stands on dtypes, so it is read late

        return config.default_dtype
    if isinstance(value, type) and value in _BY_PYTHON:
        return _BY_PYTHON[value]
    if isinstance(value, str):
        name = value.split(".")[-1]
        if name in _BY_NAME:
            return _BY_NAME[name]
    if value is complex or str(value).split(".")[-1] in _UNSUPPORTED:
        raise DTypeError(f"{value}: complex tensors are not supported yet; use two real tensors")
    try:
        return from_numpy(np.dtype(value))
    except TypeError:
        raise DTypeError(
            f"not a dtype: {value!r}; accepted: {', '.join(d.name for d in ALL)}"
        ) from None


@cache
def promote_types(type1: DType, type2: DType) -> DType:
    """Smallest dtype that both can become without losing their kind: PyTorch's table."""
    a, b = type1, type2
    if a is b:
        return a
    if a in EIGHTS or b in EIGHTS:
        raise DTypeError(
            f"{a.name} and {b.name} have no common dtype: 8-bit floats are only stored; cast with "
            ".to(dtype)"
        )
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == FLOAT:
        if a.itemsize == b.itemsize == 2:
            return float32  # float16 with bfloat16: neither holds the other
        return a if a.itemsize > b.itemsize else b
    if uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return a if a.itemsize > b.itemsize else b


def of_scalar(value: Any) -> DType:
    """The dtype that a bare Python number stands for."""
    from gpugrad.config import config

    if isinstance(value, bool | np.bool_):
        return bool_
    if isinstance(value, int | np.integer):
        return int64
    if isinstance(value, complex) and not isinstance(value, float):
        raise DTypeError(f"{value!r}: complex tensors are not supported yet")
    return config.default_dtype


def result_type(dimensioned: Iterable[DType], zero_dim: Iterable[DType],
                scalars: Iterable[DType]) -> DType:  # fmt: skip
    """Promote three ranks of operands (see the module's note)."""
    result: DType | None = None
    for rank in (dimensioned, zero_dim, scalars):
        rank_type: DType | None = None
        for dtype in rank:
            rank_type = dtype if rank_type is None else promote_types(rank_type, dtype)
        if rank_type is None:
            continue
        if result is None:
            result = rank_type
        elif rank_type.category > result.category:
            result = promote_types(result, rank_type)
    if result is None:
        raise DTypeError("result_type needs at least one operand")
    return result


def can_cast(from_: DType, to: DType) -> bool:
    """Whether an in-place result of dtype ``from_`` may be stored as ``to`` (PyTorch's rule)."""
    return from_.category <= to.category


class finfo:
    """Limits of a floating dtype: ``bits eps max min tiny smallest_normal resolution``."""

    def __init__(self, type: DType | None = None) -> None:
        dtype = as_dtype(float) if type is None else as_dtype(type)
        if not dtype.is_floating_point:
            raise DTypeError(f"finfo takes a floating dtype, got {dtype}; use iinfo")
        info: Any = ml_dtypes.finfo(dtype.np)  # type: ignore[no-untyped-call]
        self.dtype = dtype.name
        self.bits = int(info.bits)
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        # PyTorch's: ten to minus the number of decimal digits that always survive
        self.resolution = 1.0 if dtype in EIGHTS else float(info.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: ``bits max min``."""

    def __init__(self, type: DType) -> None:
        dtype = as_dtype(type)
        if dtype.category != INTEGER:
            raise DTypeError(f"iinfo takes an integer dtype, got {dtype}; use finfo")
        info = np.iinfo(dtype.np)
        self.dtype = dtype.name
        self.bits, self.max, self.min = int(info.bits), int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
