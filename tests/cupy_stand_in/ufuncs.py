"""Elementwise functions: CuPy's choice of a loop by dtypes, computed by NumPy's function."""

from __future__ import annotations

from typing import Any

import numpy as np

from cupy_stand_in.array import BF16, SCALARS, fresh, host, ndarray

_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 3}
_WEAK = {bool: 0, int: 1, float: 2, complex: 3}


def _dtype(char: str) -> np.dtype[Any]:
    return BF16 if char == "E" else np.dtype(char)


def _fits(value: Any, dtype: np.dtype[Any]) -> bool:
    if type(value) in _WEAK:
        return _WEAK[type(value)] <= _RANK[dtype.kind]
    return bool(np.can_cast(value.dtype, dtype, "safe"))


class ufunc:
    """One elementwise function with its loops, such as ``ff->f``."""

    def __init__(self, name: str, loops: str) -> None:
        self.__name__ = self.name = name
        self.types = loops.split()
        self.nin = len(self.types[0].split("->")[0])
        self._np = _COMPUTED.get(name) or getattr(np, name)

    def __repr__(self) -> str:
        return f"<ufunc 'cupy_{self.name}'>"

    def _loop(self, values: list[Any], dtype: Any) -> tuple[list[Any], list[Any]]:
        strong = [v.dtype.kind for v in values if type(v) not in _WEAK]
        if set(strong) <= {"b"}:  # nothing says how wide a number is
            values = [np.asarray(v)[()] if type(v) is not bool else v for v in values]
        for loop in self.types:
            ins, outs = ([_dtype(c) for c in part] for part in loop.split("->"))
            fits = outs[0] == dtype if dtype is not None else all(map(_fits, values, ins))
            if fits:
                return ins, outs
        told = [getattr(v, "dtype", type(v)) for v in values]
        raise TypeError(f"Wrong type ({told}) of arguments for cupy_{self.name}")

    def __call__(self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind",
                 where: Any = True) -> Any:  # fmt: skip
        if len(args) > self.nin:
            *args, out = args  # type: ignore[assignment]
        if len(args) != self.nin:
            raise TypeError(f"Wrong number of arguments for {self!r}")
        for a in args:
            if type(a) is not ndarray and not isinstance(a, SCALARS):
                raise TypeError(f"Unsupported type {type(a)}")
        if where is not True:
            raise NotImplementedError("the stand-in has no where=")
        values = [host(a) for a in args]
        dtype = None if dtype is None else np.dtype(dtype)
        ins, outs = self._loop(values, dtype)
        with np.errstate(all="ignore"):
            cast = [np.asarray(v).astype(_work(i)) for v, i in zip(values, ins, strict=True)]
            found = self._np(*cast)
            many = isinstance(found, tuple)
            results = [np.asarray(r).astype(o) for r, o in zip(found if many else (found,), outs)]
            if out is None:
                made = tuple(fresh(r) for r in results)
                return made if many else made[0]
            return _into(out, results[0], casting)


def _work(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == BF16 else dtype


def _into(out: Any, result: Any, casting: str) -> Any:
    if type(out) is not ndarray:
        raise TypeError("return arrays must be of ArrayType")
    if np.broadcast_shapes(out.shape, result.shape) != out.shape:
        raise ValueError("Out shape is mismatched")
    if not np.can_cast(result.dtype, out.dtype, casting):  # type: ignore[arg-type]
        raise TypeError(f"output (typecode '{result.dtype.char}') could not be coerced")
    host(out)[...] = result
    return out


def _floor_divide(x: Any, y: Any) -> Any:
    if x.dtype.kind == "f":
        return np.floor(x / y)
    return np.where(y == 0, 0, x // np.where(y == 0, 1, y))


def _remainder(x: Any, y: Any) -> Any:
    if x.dtype.kind == "f":
        return x - np.floor(x / y) * y
    return np.where(y == 0, 0, x % np.where(y == 0, 1, y))


def _fmod(x: Any, y: Any) -> Any:
    return np.fmod(x, y) if x.dtype.kind == "f" else np.where(
        y == 0, 0, np.fmod(x, np.where(y == 0, 1, y)))  # fmt: skip


def _power(x: Any, y: Any) -> Any:
    if x.dtype.kind in "iu" and y.dtype.kind == "i":
        return np.where(y < 0, 0, np.power(x, np.where(y < 0, 0, y)))
    return np.power(x, y)


_COMPUTED = {
    "where": np.where, "floor_divide": _floor_divide, "remainder": _remainder, "mod": _remainder,
    "fmod": _fmod, "power": _power, "pow": _power,
}  # fmt: skip
