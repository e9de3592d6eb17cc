"""Decompositions and solvers with CuPy's demands and CuPy's silence about singular matrices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cupy_stand_in.array import BF16, call, fresh, host
from cupy_stand_in.functions import function
from cupy_stand_in.offered import API

_config = {"linalg": "ignore"}


@contextlib.contextmanager
def errstate(*, divide: Any = None, over: Any = None, under: Any = None, invalid: Any = None,
             linalg: Any = None) -> Iterator[None]:  # fmt: skip
    """``cupyx.errstate``: with ``linalg="raise"`` failures are looked for, which costs a wait."""
    before = _config["linalg"]
    _config["linalg"] = linalg or before
    try:
        yield
    finally:
        _config["linalg"] = before


def _floats(*arrays: Any) -> None:
    for a in arrays:
        if a.ndim < 2 and len(arrays) == 1:
            raise np.linalg.LinAlgError(f"{a.ndim}-dimensional array given")
        if a.dtype in (np.float16, BF16):
            raise TypeError("float16 is unsupported in linalg")


def _quiet(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a routine; a failure raises if asked for, else the result is rubbish."""
    try:
        return fn(*args, **kwargs)
    except np.linalg.LinAlgError:
        if _config["linalg"] == "raise" or args[0].shape[-1] != args[0].shape[-2]:
            raise
        return fn(np.full_like(args[0], np.eye(args[0].shape[-1]) * 1e30), *args[1:], **kwargs)


def solve(a: Any, b: Any) -> Any:
    _floats(a, b)
    if b.ndim > 1 and a.shape[:-1] != b.shape[:-1]:
        raise ValueError(
            "a must have (..., M, M) shape and b must have (..., M, K) for multidimensional b"
        )
    return fresh(_quiet(np.linalg.solve, host(a), host(b)))


def inv(a: Any) -> Any:
    _floats(a)
    return fresh(_quiet(np.linalg.inv, host(a)))


def cholesky(a: Any) -> Any:
    _floats(a)
    return fresh(_quiet(np.linalg.cholesky, host(a)))


def eigh(a: Any, UPLO: str = "L") -> Any:
    _floats(a)
    return tuple(fresh(x) for x in _quiet(np.linalg.eigh, host(a), UPLO))


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    _floats(a)
    found = _quiet(np.linalg.svd, host(a), full_matrices, compute_uv)
    return tuple(fresh(x) for x in found) if compute_uv else fresh(found)


def qr(a: Any, mode: str = "reduced") -> Any:
    _floats(a)
    found = np.linalg.qr(host(a), mode)  # type: ignore[call-overload]
    return fresh(found) if mode == "r" else tuple(fresh(x) for x in found)


_OWN = {"solve": solve, "inv": inv, "cholesky": cholesky, "eigh": eigh, "svd": svd, "qr": qr}
FUNCTIONS = {
    name.split(".")[1]: function(name, _OWN.get(name.split(".")[1]))
    for name in API["functions"] if name.startswith("linalg.")
}  # fmt: skip
call.update({f"linalg.{name}": f for name, f in FUNCTIONS.items()})
