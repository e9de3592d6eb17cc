"""The array class: a proxy over a hidden NumPy array in a block of a device's memory."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from cupy_stand_in.index import is_basic, same, wrapped
from cupy_stand_in.memory import DEVICES, Device, Flags, MemoryPointer, UnownedMemory, allocate

BF16 = np.dtype(ml_dtypes.bfloat16)
SCALARS = (bool, int, float, complex, np.generic)
_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "pow": "power",
    "floordiv": "floor_divide", "mod": "remainder", "lshift": "left_shift", "and": "bitwise_and",
    "rshift": "right_shift", "or": "bitwise_or", "xor": "bitwise_xor", "matmul": "matmul",
}  # fmt: skip
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
    "ne": "not_equal",
}  # fmt: skip
#: Functions by CuPy's names; the module fills it.
call: dict[str, Callable[..., Any]] = {}


def host(value: Any) -> Any:
    """Arguments for NumPy; a NumPy array with dims would be an implicit transfer, so it raises."""
    if type(value) is ndarray:
        if value._device != DEVICES.current:
            raise ValueError(
                f"Array device must be same as the current device: array device = {value._device} "
                f"while current = {DEVICES.current}"
            )
        return value._np
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if type(value) in (list, tuple):
        return type(value)(host(v) for v in value)
    return value


def fresh(value: Any) -> ndarray:
    """A copy of a NumPy array in the current device's memory, in the same order."""
    value = np.asarray(value)
    if value.dtype.kind not in "biufc" and value.dtype != BF16:
        raise ValueError(f"Unsupported dtype {value.dtype}")
    like = np.empty_like(value)
    result = ndarray(value.shape, value.dtype, None, like.strides)
    result._np[...] = value
    return result


def view(parent: ndarray, value: np.ndarray[Any, Any]) -> ndarray:
    """A result that shares the parent's memory, or a copy where NumPy had to copy."""
    if value.size and not np.may_share_memory(value, parent._np):
        return fresh(value)
    if not value.flags.writeable:  # NumPy hands diagonals and broadcasts out read-only
        value.flags.writeable = True
    made = object.__new__(ndarray)
    made._np, made._device, made._block = value, parent._device, parent._block
    made.base = parent if parent.base is None else parent.base
    return made


class ndarray:
    """See the package's note."""

    __slots__ = ("__weakref__", "_block", "_device", "_np", "base")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None,
                 order: str = "C") -> None:  # fmt: skip
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        dtype = np.dtype(dtype)
        if memptr is None:
            memptr = allocate(int(np.prod(shape)) * dtype.itemsize)
        if strides is None:
            strides = np.empty(shape, dtype, order=order).strides  # type: ignore[call-overload]
        self._np = memptr.view(shape, dtype, strides)
        self._block, self._device, self.base = memptr.mem, memptr.mem.device_id, None

    shape = property(lambda self: self._np.shape)
    strides = property(lambda self: self._np.strides)
    dtype = property(lambda self: self._np.dtype)
    ndim = property(lambda self: self._np.ndim)
    size = property(lambda self: self._np.size)
    itemsize = property(lambda self: self._np.itemsize)
    nbytes = property(lambda self: self._np.nbytes)
    flags = property(lambda self: Flags(self._np.flags))
    device = property(lambda self: Device(self._device))
    T = property(lambda self: view(self, self._np.T))
    mT = property(lambda self: view(self, self._np.mT))
    real = property(lambda self: view(self, self._np.real))

    @property
    def data(self) -> MemoryPointer:
        place = self._np.__array_interface__["data"][0] - self._block.ptr
        return MemoryPointer(self._block, place if self._np.size else 0)

    # ---- no way to the host but these ------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def get(self, stream: Any = None, order: str = "C", out: Any = None,
            blocking: bool = True) -> Any:  # fmt: skip
        return np.array(self._np, order=order)  # type: ignore[call-overload]

    def item(self, *args: Any) -> Any:
        return self._np.item(*args)

    def tolist(self) -> Any:
        return self._np.tolist()

    def __bool__(self) -> bool:
        return bool(self._np)

    def __int__(self) -> int:
        return int(self._np)

    def __float__(self) -> float:
        return float(self._np)

    def __index__(self) -> int:
        return operator.index(self._np)

    def __repr__(self) -> str:
        return repr(self._np)

    def __len__(self) -> int:
        return len(self._np)

    def __iter__(self) -> Iterator[ndarray]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> Any:
        return fresh, (self.get(),)

    # ---- protocols -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or ufunc.__name__ not in call:
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return call[ufunc.__name__](*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        home = func.__module__.split(".")[1:]
        name = ".".join((*home, func.__name__))
        if name not in call or not all(t in (ndarray, np.ndarray) for t in types):
            return NotImplemented
        return call[name](*args, **kwargs)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape, "strides": self.strides, "typestr": self.dtype.str, "version": 3,
            "data": (self.data.ptr, False), "stream": 1,
        }  # fmt: skip

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: Any = None) -> Any:  # fmt: skip
        return {"stand-in for a capsule": self}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._device

    # ---- elements --------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> ndarray:
        found = host(self)[places(self, key)]
        if is_basic(key):
            return view(self, np.asarray(found))
        return fresh(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        basic = is_basic(key)
        if isinstance(value, np.ndarray) and (basic or value.ndim):
            raise TypeError(f"Unsupported type {type(value)}")
        where, value = places(self, key), host(value)
        target = host(self)
        if self.dtype.kind in "iub" or not isinstance(value, np.ndarray):
            value = np.asarray(value).astype(self.dtype)
        target[where] = value
        if not basic and value.size and not same(target[where], value):
            raise AssertionError("an element is written twice, with different values")

    def scatter_add(self, *args: Any) -> None:
        raise AssertionError("atomic additions come in any order; combine() has a fixed one")

    # ---- methods ---------------------------------------------------------------------------

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None,
               copy: bool = True) -> ndarray:  # fmt: skip
        if not copy and self.dtype == dtype:
            return self
        with np.errstate(all="ignore"):
            return fresh(host(self).astype(dtype, order))  # type: ignore[call-overload]

    def copy(self, order: str = "C") -> ndarray:
        return fresh(self._np.copy(order))  # type: ignore[call-overload]

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        return view(self, self._np.view() if dtype is None else self._np.view(dtype))

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        return view(self, host(self).reshape(*shape, order=order))

    def ravel(self, order: str = "C") -> ndarray:
        return view(self, host(self).ravel(order))  # type: ignore[call-overload]

    def flatten(self, order: str = "C") -> ndarray:
        return fresh(host(self).flatten(order))  # type: ignore[call-overload]

    def transpose(self, *axes: Any) -> ndarray:
        return view(self, self._np.transpose(*axes))

    def swapaxes(self, axis1: int, axis2: int) -> ndarray:
        return view(self, self._np.swapaxes(axis1, axis2))

    def squeeze(self, axis: Any = None) -> ndarray:
        return view(self, self._np.squeeze(axis))

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
        return view(self, self._np.diagonal(offset, axis1, axis2))

    def fill(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            raise TypeError(f"Unsupported type {type(value)}")
        host(self).fill(host(value))

    def tobytes(self, order: str = "C") -> bytes:
        return self._np.tobytes()

    def __neg__(self) -> Any:
        return call["negative"](self)

    def __pos__(self) -> Any:
        return call["positive"](self)

    def __abs__(self) -> Any:
        return call["absolute"](self)

    def __invert__(self) -> Any:
        return call["invert"](self)


def _index_array(part: Any) -> Any:
    if isinstance(part, ndarray):
        return host(part)
    if isinstance(part, list | tuple):
        return np.asarray(host(part)) if len(part) else np.empty(0, np.int32)
    return part


def places(array: ndarray, key: Any) -> Any:
    """An index expression for the hidden array."""
    parts = key if isinstance(key, tuple) else (key,)
    return wrapped(array.shape, [_index_array(p) for p in parts])


def _operator(name: str, reflected: bool = False, inplace: bool = False) -> Any:
    def run(self: ndarray, other: Any) -> Any:
        if not isinstance(other, (ndarray, np.ndarray, *SCALARS)):
            return NotImplemented
        if reflected:
            return call[name](other, self)
        return call[name](self, other, out=self) if inplace else call[name](self, other)

    return run


for _short, _name in _OPERATORS.items():
    setattr(ndarray, f"__{_short}__", _operator(_name))
    setattr(ndarray, f"__r{_short}__", _operator(_name, reflected=True))
    setattr(ndarray, f"__i{_short}__", _operator(_name, inplace=True))
for _short, _name in _COMPARISONS.items():
    setattr(ndarray, f"__{_short}__", _operator(_name))


def _method(name: str) -> Any:
    return lambda self, *args, **kwargs: call[name](self, *args, **kwargs)


for _name in ("all", "any", "argmax", "argmin", "argpartition", "argsort", "clip", "cumprod", "dot",
              "cumsum", "max", "mean", "min", "nonzero", "prod", "repeat", "round", "searchsorted",
              "std", "sum", "take", "trace", "var"):  # fmt: skip
    setattr(ndarray, _name, _method(_name))


def adopt(source: Any) -> ndarray | None:
    """An array over memory that an object tells of by ``__cuda_array_interface__``."""
    told = getattr(source, "__cuda_array_interface__", None)
    if told is None:
        return None
    address = told["data"][0]
    dtype, strides = np.dtype(told["typestr"]), told["strides"]
    return ndarray(told["shape"], dtype, MemoryPointer(UnownedMemory(address, source), 0), strides)
