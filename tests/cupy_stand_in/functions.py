"""CuPy's functions by NumPy's, with what CuPy does otherwise written out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from cupy_stand_in.array import BF16, adopt, call, fresh, host, ndarray, places, view
from cupy_stand_in.offered import API, signature_of
from cupy_stand_in.streams import get_current_stream
from cupy_stand_in.ufuncs import ufunc

#: Functions whose result looks into the memory of their first argument.
_VIEWS = {
    "broadcast_to", "diagonal", "expand_dims", "flip", "moveaxis", "permute_dims", "ravel", "real",
    "matrix_transpose", "rollaxis", "reshape", "rot90", "squeeze", "swapaxes", "transpose",
}  # fmt: skip
#: What takes bfloat16 besides ufuncs: copies, and what was measured to work.
_TAKES_BF16 = _VIEWS | {
    "array", "ascontiguousarray", "concatenate", "concat", "copy", "empty_like", "full_like",
    "ones_like", "roll", "stack", "sum", "take", "tile", "zeros_like", "matmul", "repeat",
    "result_type", "may_share_memory", "shares_memory", "asarray", "copyto", "broadcast_arrays",
    "asnumpy", "full", "argwhere", "nonzero", "flatnonzero", "from_dlpack", "where", "tril", "triu",
}  # fmt: skip
_HOST_RESULTS = {"result_type", "can_cast", "ndim", "shape", "size", "isscalar", "shares_memory",
                 "may_share_memory", "min_scalar_type"}  # fmt: skip


def arrays_in(values: Any) -> list[ndarray]:
    """All arrays among arguments."""
    found = []
    for v in values:
        if type(v) is ndarray:
            found.append(v)
        elif type(v) in (list, tuple):
            found += arrays_in(v)
    return found


def given(result: Any) -> Any:
    """What NumPy returned, as arrays of the device."""
    if isinstance(result, np.ndarray | np.generic):
        return fresh(result)
    if isinstance(result, list | tuple):
        made = [given(r) for r in result]
        return tuple(made) if isinstance(result, tuple) else made
    return result


def function(name: str, own: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """CuPy's function ``name``: its parameters checked, its dtypes, then NumPy's result."""
    signature, short = signature_of(name), name.split(".")[-1]
    known = own or getattr(np.linalg if "." in name else np, short, None)

    def run(*args: Any, **kwargs: Any) -> Any:
        if signature is not None:
            signature.bind(*args, **kwargs)
        if known is None:
            raise NotImplementedError(f"the stand-in has no {name}")
        found = arrays_in((*args, *kwargs.values()))
        if name not in _TAKES_BF16 and any(a.dtype == BF16 for a in found):
            raise TypeError(f"{name}: bfloat16 is not known to work in CuPy")
        if own is not None:
            return own(*args, **kwargs)
        out = kwargs.pop("out", None)
        plain = [host(a) for a in args]
        named = {k: host(v) for k, v in kwargs.items()}
        with np.errstate(all="ignore"):
            result = known(*plain, **named)
        if name in _HOST_RESULTS:
            return result.item() if isinstance(result, np.bool_) else result
        if out is not None:
            out[...] = given(result)
            return out
        return view(args[0], result) if name in _VIEWS else given(result)

    run.__name__ = short
    return run


def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", subok: bool = False,
          ndmin: int = 0, *, blocking: bool = False) -> ndarray:  # fmt: skip
    if not isinstance(obj, ndarray) and (found := adopt(obj)) is not None:
        obj = found
    if isinstance(obj, ndarray):
        same = dtype is None or obj.dtype == dtype
        if not copy and same and order in ("K", "A", None):
            return obj
        return fresh(np.array(obj._np, dtype, order=order or "K"))  # type: ignore[call-overload]
    plain = [v._np for v in arrays_in([obj])]
    data = _gathered(obj) if plain else obj
    with np.errstate(all="ignore"):
        return fresh(np.array(data, dtype, ndmin=ndmin, order=order or "K"))  # type: ignore[call-overload]


def _gathered(obj: Any) -> Any:
    return [_gathered(v) for v in obj] if isinstance(obj, list | tuple) else (
        obj._np if isinstance(obj, ndarray) else obj)  # fmt: skip


def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None,
            blocking: bool = False) -> ndarray:  # fmt: skip
    return array(a, dtype, bool(copy), order or "K")


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else a.copy("C")


def take(a: ndarray, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    source = host(a).reshape(-1) if axis is None else host(a)
    index = np.asarray(host(indices))
    size = source.shape[axis or 0] if source.ndim else 1
    if not size and index.size:
        raise IndexError("cannot do a non-empty take from an empty axes.")
    return fresh(np.take(source, index % max(size, 1), axis=axis or 0))


def take_along_axis(a: ndarray, indices: ndarray, axis: int) -> ndarray:
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if a.ndim != indices.ndim:
        raise ValueError("`indices` and `a` must have the same number of dimensions")
    axis %= a.ndim
    key = [np.arange(n).reshape((1,) * d + (-1,) + (1,) * (a.ndim - d - 1))
           for d, n in enumerate(a.shape)]  # fmt: skip
    key[axis] = host(indices)
    return fresh(host(a)[places(a, tuple(key))])


_where = ufunc("where", API["ufuncs"]["where"])


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None:
        return nonzero(condition)
    return _where(condition.astype("?", copy=False), x, y)


def nonzero(a: ndarray) -> tuple[ndarray, ...]:
    if not a.ndim:
        text = "calling nonzero on 0d arrays is deprecated"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return (fresh(np.zeros(int(bool(a)), np.int64)),)
    return tuple(fresh(x) for x in host(a).nonzero())


def _sorting(name: str) -> Callable[..., ndarray]:
    def run(a: ndarray, axis: Any = -1, kind: Any = None) -> ndarray:
        if kind not in (None, "stable"):
            raise ValueError("'kind' can be None or 'stable'")
        if not a.ndim:
            raise np.exceptions.AxisError("Sorting arrays with the rank of zero is not supported")
        return fresh(getattr(np, name)(host(a), axis=axis, kind="stable"))

    return run


def argpartition(a: ndarray, kth: Any, axis: Any = -1) -> ndarray:
    np.argpartition(host(a), kth, axis=axis)  # its checks
    return fresh(np.argsort(host(a), axis=axis, kind="stable"))


def lexsort(keys: ndarray) -> ndarray:
    if keys.ndim > 2:
        raise NotImplementedError("Keys with the rank of three or more is not supported in lexsort")
    if keys.dtype.kind == "b":
        raise TypeError("the stand-in does not know whether lexsort takes bools")
    return fresh(np.lexsort(host(keys)))


def searchsorted(a: ndarray, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    if not isinstance(v, ndarray) and not isinstance(v, int | float | complex):
        raise NotImplementedError("Only python scalars or ndarrays are supported for v")
    return fresh(np.searchsorted(host(a), host(v), side, host(sorter)))


def bincount(x: ndarray, weights: Any = None, minlength: Any = None) -> ndarray:
    if weights is not None:
        raise AssertionError("its atomic additions come in any order; combine() has a fixed one")
    if x.size == 0:
        return fresh(np.zeros(int(minlength or 0), np.int64))
    return fresh(np.bincount(host(x), minlength=minlength or 0))


def matmul(*args: Any, out: Any = None) -> Any:
    a, b = (host(x) for x in args)
    if get_current_stream().is_capturing() and a.dtype.kind not in "iub":
        raise NotImplementedError("calling cuBLAS API during stream capture is unsupported")
    if BF16 in (a.dtype, b.dtype) and max(a.ndim, b.ndim) > 2:
        raise AssertionError("batched bfloat16 products are wrong in CuPy 14.2")
    with np.errstate(all="ignore"):
        result = np.asarray(np.matmul(a, b))
    if out is None:
        return fresh(result)
    if out.shape != result.shape:
        raise ValueError(f"Output operand 0 has invalid shape {out.shape} expected {result.shape}")
    host(out)[...] = result
    return out


def tri(N: int, M: Any = None, k: int = 0, dtype: Any = float) -> ndarray:
    return fresh(np.tri(N, M, k, dtype))


def _triangle(lower: bool) -> Callable[..., Any]:
    def run(m: Any, k: int = 0) -> Any:
        mask = fresh(np.tri(*m.shape[-2:], k=k if lower else k - 1, dtype=bool))
        zero = m.dtype.type(0)
        return where(mask, m, zero) if lower else where(mask, zero, m)

    return run


def concatenate(tup: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None,
                casting: str = "same_kind") -> ndarray:  # fmt: skip
    for a in tup:
        if type(a) is not ndarray:
            raise TypeError(f"Only cupy arrays can be concatenated, got {type(a)}")
    parts = [host(a) for a in tup]
    return fresh(np.concatenate(parts, axis, dtype=dtype, casting=casting))


def stack(tup: Any, axis: int = 0, out: Any = None, *, dtype: Any = None,
          casting: str = "same_kind") -> ndarray:  # fmt: skip
    return concatenate([view(a, np.expand_dims(a._np, axis)) for a in tup], axis, out, dtype=dtype)


def _filled(value: Any) -> Callable[..., ndarray]:
    def run(a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None,
            shape: Any = None) -> ndarray:  # fmt: skip
        if type(a) is not ndarray:
            raise TypeError(f"Unsupported type {type(a)}")
        made = fresh(np.empty_like(a._np, dtype, order, shape=shape))  # type: ignore[call-overload]
        if value is not None:
            made._np[...] = value
        return made

    return run


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    return fresh(np.full(shape, host(fill_value), dtype, order))  # type: ignore[call-overload]


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *,
            blocking: bool = True) -> Any:  # fmt: skip
    return a.get(order=order) if isinstance(a, ndarray) else np.asarray(a)


def from_dlpack(source: Any) -> ndarray:
    (found,) = source.__dlpack__().values()
    return view(found, found._np)


def broadcast_arrays(*args: Any) -> Any:
    shape = np.broadcast_shapes(*(a.shape for a in args))
    return tuple(view(a, np.broadcast_to(host(a), shape)) for a in args)


def asking(a: ndarray, b: ndarray, max_work: Any = None) -> bool:
    if max_work is not None:
        raise NotImplementedError("Only supported for `max_work` is `None`")
    return bool(np.may_share_memory(a._np, b._np))


def shares_memory(a: ndarray, b: ndarray, max_work: Any = None) -> bool:
    if a.size == 0 or b.size == 0:
        raise AssertionError("CuPy reads and searches arrays of addresses: not for empty ones")
    return bool(np.shares_memory(a._np, b._np))


def as_strided(x: ndarray, shape: Any = None, strides: Any = None) -> ndarray:
    shape = x.shape if shape is None else tuple(shape)
    return ndarray(shape, x.dtype, x.data, x.strides if strides is None else tuple(strides))


_OWN: dict[str, Callable[..., Any]] = {
    "array": array, "asarray": asarray, "asanyarray": asarray, "take": take, "where": where,
    "ascontiguousarray": ascontiguousarray, "take_along_axis": take_along_axis, "nonzero": nonzero,
    "argsort": _sorting("argsort"), "sort": _sorting("sort"), "argpartition": argpartition,
    "lexsort": lexsort, "searchsorted": searchsorted, "bincount": bincount, "matmul": matmul,
    "tri": tri, "tril": _triangle(True), "triu": _triangle(False), "concatenate": concatenate,
    "concat": concatenate, "stack": stack, "zeros_like": _filled(0), "ones_like": _filled(1),
    "empty_like": _filled(None), "full": full, "empty": empty, "asnumpy": asnumpy,
    "from_dlpack": from_dlpack, "broadcast_arrays": broadcast_arrays, "may_share_memory": asking,
    "shares_memory": shares_memory,
}  # fmt: skip
FUNCTIONS: dict[str, Any] = {
    **{name: ufunc(name, loops) for name, loops in API["ufuncs"].items()
       if "." not in name and name != "where" and hasattr(np, name)},
    **{name: function(name, _OWN.get(name)) for name in API["functions"] if "." not in name},
    "where": function("where", where) if "where" in API["functions"] else where,
}  # fmt: skip
call.update(FUNCTIONS)
