"""Objects as JSON that says exactly what they are; ``rebuild`` reads it.

Texts, whole numbers, finite floats, True, False and None stand for themselves, a list for a list;
everything else is an object whose first key says what it is: ``{"tuple": [...]}``.  An object that
was met before is ``{"same": n}``: the n-th of all that are counted, in the order in which they
begin.  Elements of a set are each counted on their own, as a set has no order.  Arrays go to
``memory``, which fills in where their elements are.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import struct
import types
from binascii import b2a_base64
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, SettingError
from gpugrad.factory import Layout, MemoryFormat
from gpugrad.io.header import CODES
from gpugrad.io.memory import Piece
from gpugrad.nn.parameter import Buffer, Parameter
from gpugrad.nn.state import StateDict
from gpugrad.tensor import Size, Tensor

#: How deeply containers may lie in each other.
DEEPEST = 64
#: Whole numbers up to here are written as such, longer ones in hexadecimal.
LARGEST = 1 << 63
#: Attributes that Python sets: ``OrderedDict[str, int]()`` remembers its type arguments.
_RESIDUE = {"__orig_class__"}
#: What a defaultdict may make; a function of the user's cannot be described.
FACTORIES: dict[str, Callable[[], Any]] = {
    f.__name__: f for f in (list, dict, set, int, float, str, bool, tuple, OrderedDict)
}
#: NumPy's kinds of dtypes whose elements are plain bytes.
NUMPY_KINDS = "biufcSUmM"
#: What a tensor may be, besides a Tensor.
TENSORS: dict[type, str] = {Tensor: "tensor", Parameter: "parameter", Buffer: "buffer"}


class Describer:
    """Describes one object; ``pieces`` are the arrays that were met on the way."""

    def __init__(self, root: str = "obj", pieces: list[Piece] | None = None) -> None:
        self.pieces: list[Piece] = [] if pieces is None else pieces
        self._root = root
        self._met: dict[int, int] = {}  # id of an object to its number
        self._open: set[int] = set()  # ids of immutable containers that are not finished
        self._kept: list[Any] = []  # what is only made here must live as long as its id counts
        self._path: list[tuple[str, str]] = []  # as Python and as a name, from the root

    def describe(self, value: Any) -> Any:
        """What JSON says for a value.

        Raises:
            ArgumentError: for what has no description, naming its place; SettingError: too deep.
        """
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind in _PLAIN:
            return _PLAIN[kind](value)
        if isinstance(value, np.generic):
            return {"scalar": [array_type(self, value.dtype), base64(value.tobytes())]}
        if isinstance(value, pathlib.PurePath):
            return {"path": str(value)}
        write = _COUNTED.get(np.ndarray if isinstance(value, np.memmap) else kind)
        if write is None:
            self._refuse(value)
        return self._counted(value, write)

    def _counted(self, value: Any, write: Callable[[Describer, Any], Any]) -> Any:
        """Describe what may occur again; if it does, say which it was."""
        kind = type(value)
        if id(value) in self._met:
            if id(value) in self._open:
                raise SettingError(f"save: {self.where()} is a {kind.__name__} that holds itself")
            return {"same": self._met[id(value)]}
        self._met[id(value)] = len(self._met)
        self._kept.append(value)
        if len(self._path) > DEEPEST:
            raise SettingError(f"save: {self.where():.200}... lies more than {DEEPEST} deep")
        if kind in _FIXED:
            self._open.add(id(value))
        node = write(self, value)
        self._open.discard(id(value))
        return node

    def at(self, step: str, name: str, value: Any) -> Any:
        """Describe a part of the object in hand: ``step`` is how Python gets there."""
        self._path.append((step, name))
        node = self.describe(value)
        self._path.pop()
        return node

    def where(self) -> str:
        """The place in hand as one would write it in Python."""
        return self._root + "".join(step for step, _ in self._path)

    def array(self, kind: str, array: Any) -> dict[str, Any]:
        """The description of an array, to be completed by ``memory.store``."""
        node = {kind: ""}
        name = ".".join(name for _, name in self._path)
        self.pieces.append(Piece(array, name or kind, node))
        return node

    def items(self, values: Any) -> list[Any]:
        """Descriptions of the elements of a sequence."""
        return [self.at(f"[{i}]", str(i), v) for i, v in enumerate(values)]

    def pairs(self, mapping: Any) -> Any:
        """A dict's description: by name if all keys are texts, else as pairs."""
        if all(type(k) is str for k in mapping):
            return {k: self.at(f"[{k!r}]", k, v) for k, v in mapping.items()}
        found = []
        for i, (k, v) in enumerate(mapping.items()):
            name = str(k) if type(k) in (str, int, bool, float) else f"item{i}"
            key = self.at(f" (key number {i})", f"{name}.key", k)
            found.append([key, self.at(f"[{k!r:.80}]", name, v)])
        return found

    def attributes(self, holder: Any) -> dict[str, Any]:
        """The description of what the user set on an object.

        Raises:
            ArgumentError: if that hides something of the object's own.
        """
        found = {}
        for name, value in vars(holder).items():
            if name in _RESIDUE or (isinstance(holder, Tensor) and name.startswith("_")):
                continue
            if not may_be_set(holder, name):
                raise ArgumentError(
                    f"save: {self.where()} has an attribute {name!r} that hides its own; remove it"
                )
            found[name] = self.at(f".{name}", name, value)
        return found

    def _refuse(self, value: Any) -> NoReturn:
        kind = type(value).__name__
        if callable(getattr(value, "state_dict", None)) and not isinstance(value, type):
            hint = "save its state_dict(), and load_state_dict() into one made anew"
        elif isinstance(value, Tensor):
            hint = "save its detach(), which is a plain Tensor"
        elif callable(getattr(value, "get_state", None)):
            hint = "save its get_state()"
        elif hasattr(type(value), "__dataclass_fields__"):
            hint = "save dataclasses.asdict(...) of it"
        elif isinstance(value, tuple | dict | list | str | int | float):
            base = next(b for b in (tuple, dict, list, str, int, float) if isinstance(value, b))
            hint = f"save {base.__name__}(...) of it"
        else:
            hint = (
                "accepted are tensors, NumPy arrays, numbers, texts, bytes, dtypes, devices, and "
                "dicts, lists, tuples, sets and Namespaces of them"
            )
        raise ArgumentError(f"save: {self.where()} is a {kind}, which cannot be saved; {hint}")


def may_be_set(holder: Any, name: str) -> bool:
    """Whether an attribute is the user's: not private and nothing of the object's class."""
    private = "_" if isinstance(holder, Tensor) else "__"
    return not name.startswith(private) and not hasattr(type(holder), name)


def number(value: int) -> Any:
    """A whole number of any length."""
    return value if -LARGEST <= value < LARGEST else {"int": hex(value)}


def real(value: float) -> Any:
    """A float; JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else {"float": struct.pack("<d", value).hex()}


def base64(data: bytes | bytearray) -> str:
    """Bytes as text."""
    return b2a_base64(data, newline=False).decode()


def array_type(describer: Describer, dtype: Any) -> str:
    """A NumPy dtype as text.

    Raises:
        ArgumentError: for objects, records, and floats whose length depends on the machine.
    """
    if dtype in CODES:
        return CODES[dtype]
    if dtype.kind not in NUMPY_KINDS or dtype.char in "gG" or not dtype.itemsize:
        raise ArgumentError(
            f"save: {describer.where()} is a NumPy array of {dtype}; accepted are arrays of "
            "numbers, dates and texts of fixed length"
        )
    return str(dtype.str)


def _tensor(describer: Describer, value: Tensor) -> Any:
    kind = TENSORS[type(value)]
    if value.is_meta:
        node: dict[str, Any] = {
            kind: None, "dtype": value.dtype.name, "shape": list(value.shape), "device": "meta",
        }  # fmt: skip
    else:
        node = describer.array(kind, value._array)
        if value.device.type != "cpu":
            node["device"] = str(value.device)
    if value.requires_grad:
        node["requires_grad"] = True
    return _with_attributes(describer, node, value)


def _with_attributes(describer: Describer, node: dict[str, Any], value: Any) -> Any:
    if found := describer.attributes(value):
        node["attributes"] = found
    return node


def _ndarray(describer: Describer, value: Any) -> Any:
    array_type(describer, value.dtype)
    return describer.array("array", np.asarray(value))


def _defaultdict(describer: Describer, value: Any) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if name is not None and FACTORIES.get(name) is not factory:
        raise ArgumentError(
            f"save: {describer.where()} is a defaultdict that calls {factory!r}; accepted are "
            f"{', '.join(FACTORIES)}; or save dict(...) of it"
        )
    return {"defaultdict": describer.pairs(value), "factory": name}


def _ordered(describer: Describer, value: Any) -> Any:
    # A module's state_dict keeps the modules' versions in an attribute.
    return _with_attributes(describer, {"OrderedDict": describer.pairs(value)}, value)


def _set(tag: str) -> Callable[[Describer, Any], Any]:
    def write(describer: Describer, value: Any) -> Any:
        root = f"an element of {describer.where()}"
        found = [Describer(root, describer.pieces).describe(v) for v in value]
        # Sorted by what is written: a set of texts has another order in every process.
        return {tag: sorted(found, key=repr)}

    return write


def _deque(describer: Describer, value: Any) -> Any:
    return {"deque": describer.items(value), "maxlen": value.maxlen}


_PLAIN: dict[type, Callable[[Any], Any]] = {
    int: number,
    float: real,
    complex: lambda v: {"complex": [real(v.real), real(v.imag)]},
    bytes: lambda v: {"bytes": base64(v)},
    range: lambda v: {"range": [number(v.start), number(v.stop), number(v.step)]},
    type(...): lambda v: {"Ellipsis": None},
    DType: lambda v: {"dtype": v.name},
    Device: lambda v: {"device": str(v)},
    Size: lambda v: {"Size": list(v)},
    MemoryFormat: lambda v: {"memory_format": v.name},
    Layout: lambda v: {"layout": v.name},
}

_COUNTED: dict[type, Callable[[Describer, Any], Any]] = {
    list: lambda d, v: d.items(v),
    tuple: lambda d, v: {"tuple": d.items(v)},
    dict: lambda d, v: {"dict": d.pairs(v)},
    OrderedDict: _ordered,
    StateDict: _ordered,
    Counter: lambda d, v: {"Counter": d.pairs(v)},
    defaultdict: _defaultdict,
    set: _set("set"),
    frozenset: _set("frozenset"),
    deque: _deque,
    slice: lambda d, v: {"slice": d.items((v.start, v.stop, v.step))},
    bytearray: lambda d, v: {"bytearray": base64(v)},
    types.SimpleNamespace: lambda d, v: {"SimpleNamespace": d.attributes(v)},
    argparse.Namespace: lambda d, v: {"Namespace": d.attributes(v)},
    np.ndarray: _ndarray,
    **dict.fromkeys(TENSORS, _tensor),
}
#: Those that can only be made when all their parts are there.
_FIXED = {tuple, frozenset, slice}
