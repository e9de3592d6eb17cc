"""What Python's and NumPy's names mean in a pickle: containers, numbers and arrays of numbers.

Each checks what it is given, because a pickle says anything: ``bytearray(10**12)`` is short.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad.io.describe import FACTORIES, may_be_set
from gpugrad.io.pickles import Draft, Part, Recipe, checked_keys
from gpugrad.io.source import shown

#: Dtypes of numbers and of texts of fixed length.
_NUMBERS = re.compile(r"[biufcSU][1-9]\d*")


def _given(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{shown(value)} in place of a {kinds[0].__name__}")
    return value


def _fail(message: str) -> None:
    raise ValueError(message)


def _elements(kind: Callable[[Any], Any], hashed: bool = False) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        items = list(_given(items, list, tuple, set))
        return kind(checked_keys(_fail, items) if hashed else items)

    return make


def _ordered(pairs: Any = ()) -> Any:
    found = [_given(p, list, tuple) for p in _given(pairs, list, tuple)]
    return OrderedDict(zip(checked_keys(_fail, [k for k, _ in found]), [v for _, v in found]))


def _defaultdict(factory: Any = None, items: Any = None) -> Any:
    if factory is not None and not (type(factory) is Recipe and factory in _FACTORIES):
        raise TypeError(f"a defaultdict of {shown(factory)}")
    return defaultdict(_FACTORIES.get(factory), _given({} if items is None else items, dict))


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """What protocol 2 says for bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {shown(encoding)}")
    return bytes(_given(text, str).encode("latin1"))


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(data if type(data) is bytes else _bytes(data, encoding))


def _complex(real: Any, imag: Any) -> complex:
    return complex(_given(real, float, int), _given(imag, float, int))


def _namespace() -> Draft:
    """The arguments of a training script, which many keep beside the weights."""

    def finish(state: Any) -> argparse.Namespace:
        made = argparse.Namespace()
        for name, value in _given(state, dict).items():
            if type(name) is not str or isinstance(value, Part | type):
                raise TypeError(f"a Namespace in which {shown(name)} is {shown(value)}")
            if not may_be_set(made, name):
                raise ValueError(f"a Namespace with the attribute {shown(name)}")
            vars(made)[name] = value
        return made

    return Draft(finish)


def _refused(*args: Any) -> None:
    raise TypeError("a class is called that is only named in data")


# ---- NumPy -------------------------------------------------------------------------------------


def _dtype(name: Any, align: Any = False, copy: Any = False) -> Draft:
    """A dtype without its byte order, which the state that follows has."""

    def finish(state: Any) -> np.dtype[Any]:
        order, plain = state[1], state[2:5] == (None, None, None) and len(state) == 8
        if order not in ("<", ">", "|") or not plain:
            raise ValueError(f"a dtype {shown(name)} with {shown(state)}")
        dtype: np.dtype[Any] = np.dtype(name).newbyteorder(order)
        return dtype

    if not _NUMBERS.fullmatch(_given(name, str)):
        raise ValueError(f"a dtype {shown(name)}")
    return Draft(finish)


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, np.dtype) or len(_given(data, bytes)) != dtype.itemsize:
        raise ValueError(f"a number of {shown(dtype)}")
    return np.frombuffer(data, dtype)[0]


def _numpy_array(kind: Any, shape: Any, code: Any) -> Draft:
    """An array of nothing, which the state that follows fills."""

    def finish(state: Any) -> Any:
        _, shape, dtype, columns_first, data = state
        return _filled(data, dtype, shape, "F" if columns_first is True else "C")

    return Draft(finish)


def _filled(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    """An array of the given bytes, in memory of its own."""
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or order not in ("C", "F"):
        raise ValueError(f"an array of {shown(dtype)}")
    if len(_given(data, bytes, bytearray)) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shown(shape)} in {len(data)} bytes")
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order=order)


#: Names that files have for builtins, of Python 2 and 3.
_BUILTINS: dict[str, Any] = {
    "set": Recipe(_elements(set, True)),
    "frozenset": Recipe(_elements(frozenset, True)),
    "list": Recipe(_elements(list)),
    "tuple": Recipe(_elements(tuple)),
    "complex": Recipe(_complex),
    "bytearray": Recipe(_bytearray),
    "range": Recipe(lambda *n: range(*(_given(i, int) for i in n))),
    "slice": Recipe(slice),
    "Ellipsis": ...,
    **{name: Recipe(lambda *args, name=name: _refused(name, *args))
       for name in ("int", "float", "str", "bool", "dict")},
}  # fmt: skip
_BUILTINS["xrange"] = _BUILTINS["range"]

PLAIN: dict[str, Any] = {
    **{f"{module}.{name}": v for module in ("builtins", "__builtin__")
       for name, v in _BUILTINS.items()},
    "collections.OrderedDict": Recipe(_ordered),
    "collections.Counter": Recipe(lambda counts=None: Counter(_given(counts or {}, dict))),
    "collections.defaultdict": Recipe(_defaultdict),
    "argparse.Namespace": Recipe(_namespace, made=True),
    "_codecs.encode": Recipe(_bytes),
    "numpy.dtype": Recipe(_dtype),
    "numpy.ndarray": np.ndarray,
    **{f"numpy.{core}.multiarray.scalar": Recipe(_numpy_scalar) for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": Recipe(_numpy_array) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": Recipe(_filled) for core in ("core", "_core")},
}  # fmt: skip
_FACTORIES = {
    **{_BUILTINS[name]: FACTORIES[name] for name in FACTORIES if name in _BUILTINS},
    PLAIN["collections.OrderedDict"]: OrderedDict,
}
