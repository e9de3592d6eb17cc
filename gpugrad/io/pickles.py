"""A machine that reads pickles and runs nothing of what they ask for.

A pickle is a small program: it pushes values on a stack, names functions and calls them.  Python's
own machine calls whatever is named.  This one knows the instructions that make plain containers and
numbers; a name means something only if its table says so, and only what the table marks as a
``Recipe`` is ever called.  Every other name or instruction is refused, by name.
"""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpugrad.errors import GpugradError
from gpugrad.io.describe import may_be_set
from gpugrad.io.source import Source, shown

_DICTS = (dict, OrderedDict, Counter, defaultdict)
#: How many parts a key of a dict may have: a small file can describe one of 2**1000.
_KEY_PARTS = 1000


class Part:
    """What a pickle needs on its way, and no file can give the user."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Recipe(Part):
    """Something that a pickle may call (or, where ``made``, make one of); it checks its input."""

    make: Callable[..., Any]
    made: bool = False


@dataclass(frozen=True, slots=True)
class Trusted(Part):
    """A class or function that the user has declared safe."""

    value: Any


class Draft(Part):
    """An object that a later instruction completes, and what it is then."""

    def __init__(self, finish: Callable[[Any], Any]) -> None:
        self.finish = finish
        self.done: Any = None


class Machine:
    """Runs one pickle.

    Args:
        source: the file, for messages.
        find: what a global means, from its module and name; it refuses what it does not know.
        persistent: what a persistent id means.
        trusts: whether the user has declared a class safe.
    """

    def __init__(self, source: Source, find: Callable[[str, str], Any],
                 persistent: Callable[[Any], Any],
                 trusts: Callable[[type], bool]) -> None:  # fmt: skip
        self.refuse = source.refuse
        self._find, self._persistent, self._trusts = find, persistent, trusts
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: Any) -> Any:
        """The object that a pickle describes; the stream is left behind its end.

        Raises:
            FileFormatError: for a damaged pickle, and for whatever is not in the tables.
        """
        try:
            for opcode, arg, _ in pickletools.genops(stream):
                self._step(opcode.name, arg)
            (result,) = map(self._data, self._stack)
        except GpugradError:
            raise
        except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError,
                TypeError, ValueError, Warning) as error:  # fmt: skip
            # A Warning where they are errors: pickletools warns of backslashes in names.
            self.refuse(f"its pickle is damaged: {error!s:.200}")
        return result

    def _step(self, name: str, arg: Any) -> None:
        if name in _PUSH:
            self._stack.append(arg)
        elif name in _CONSTANT:
            self._stack.append(_CONSTANT[name]())
        elif name in _TAKE:
            taken = [self._stack.pop() for _ in range(_TAKE[name][0])]
            self._stack.append(_TAKE[name][1](self, *reversed(taken)))
        elif name in _SINCE_MARK:
            self._stack.append(_SINCE_MARK[name](self, self._since_mark()))
        elif name in _MEMO:
            _MEMO[name](self, arg)
        elif name not in ("PROTO", "FRAME", "STOP"):
            self.refuse(f"its pickle has the instruction {name}, which plain data does not need")

    def _data(self, value: Any) -> Any:
        """A value that becomes a part of the result."""
        if isinstance(value, Part | type):
            self.refuse(f"its pickle has {shown(value)} where data should be")
        return value

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    # ---- the memo ------------------------------------------------------------------------------

    def _put(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    def _get(self, number: int) -> None:
        found = self._memo[number]
        self._stack.append(found.done if type(found) is Draft and found.done is not None else found)

    # ---- containers ----------------------------------------------------------------------------

    def _append(self, target: Any, items: list[Any]) -> Any:
        if type(target) is not list:
            self.refuse(f"its pickle appends to a {type(target).__name__}")
        target.extend(map(self._data, items))
        return target

    def _add(self, target: Any, items: list[Any]) -> Any:
        if type(target) is not set:
            self.refuse(f"its pickle adds elements to a {type(target).__name__}")
        target.update(checked_keys(self.refuse, items))
        return target

    def _set(self, target: Any, items: list[Any]) -> Any:
        if type(target) not in _DICTS or len(items) % 2:
            self.refuse(f"its pickle sets items of a {type(target).__name__}")
        for key, value in zip(checked_keys(self.refuse, items[::2]), items[1::2], strict=True):
            target[key] = self._data(value)
        return target

    def _on_last(self, change: Callable[[Any, list[Any]], Any], items: list[Any]) -> Any:
        return change(self._stack.pop(), items)

    # ---- names and calls -----------------------------------------------------------------------

    def _global(self, module: Any, name: Any) -> Any:
        if type(module) is not str or type(name) is not str:
            self.refuse("its pickle names a global by something that is no text")
        return self._find(module, name)

    def _call(self, function: Any, args: Any) -> Any:
        if type(args) is tuple and isinstance(function, Recipe):
            return function.make(*args)
        if type(args) is tuple and isinstance(function, Trusted):
            return function.value(*args)
        self.refuse(f"its pickle calls {shown(function)}, which is no function of its tables")

    def _new(self, kind: Any, args: Any, named: Any = None) -> Any:
        if isinstance(kind, Recipe) and kind.made and not named:
            return self._call(kind, args)
        if type(args) is not tuple or type(kind) is not Trusted or not isinstance(kind.value, type):
            self.refuse(f"its pickle makes an object of {shown(kind)}, which is no data")
        return kind.value.__new__(kind.value, *args, **(named or {}))

    def _build(self, target: Any, state: Any) -> Any:
        """Complete an object: a draft, a dict's attributes, or an object of a trusted class."""
        if type(target) is Draft:
            target.done = target.finish(state)
            return target.done
        if type(target) in _DICTS and type(state) is dict:
            for name, value in state.items():
                if type(name) is not str or type(target) is dict or not may_be_set(target, name):
                    self.refuse(f"its pickle sets the attribute {shown(name)} of a dict")
                vars(target)[name] = value
            return target
        if not self._trusts(type(target)):
            self.refuse(f"its pickle changes the state of a {type(target).__name__}")
        if hasattr(target, "__setstate__"):
            target.__setstate__(state)
        else:
            attributes, slots = state if type(state) is tuple else (state, None)
            vars(target).update(attributes or {})
            for name, value in (slots or {}).items():
                setattr(target, name, value)
        return target


def checked_keys(refuse: Callable[[str], Any], keys: list[Any]) -> list[Any]:
    """The keys, if hashing each takes no longer than it took to write down."""
    for key in keys:
        parts, left = [key], _KEY_PARTS
        while parts:
            part = parts.pop()
            left -= 1
            if type(part) is tuple:
                parts += part[: left + 1]
            if left < 0:
                refuse(f"a key has more than {_KEY_PARTS} parts")
    return keys


#: Instructions that push what they carry.
_PUSH = {
    "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
#: Instructions that push a constant or something empty.
_CONSTANT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip
#: Instructions that replace some values on the stack by one.
_TAKE: dict[str, tuple[int, Callable[..., Any]]] = {
    "TUPLE1": (1, lambda _, *items: items),
    "TUPLE2": (2, lambda _, *items: items),
    "TUPLE3": (3, lambda _, *items: items),
    "APPEND": (2, lambda m, target, item: m._append(target, [item])),
    "SETITEM": (3, lambda m, target, key, value: m._set(target, [key, value])),
    "STACK_GLOBAL": (2, Machine._global),
    "REDUCE": (2, Machine._call),
    "NEWOBJ": (2, Machine._new),
    "NEWOBJ_EX": (3, Machine._new),
    "BUILD": (2, Machine._build),
    "BINPERSID": (1, lambda m, pid: m._persistent(pid)),
}
#: Instructions that replace everything since the last mark by one.
_SINCE_MARK: dict[str, Callable[[Machine, list[Any]], Any]] = {
    "TUPLE": lambda _, items: tuple(items),
    "LIST": lambda _, items: items,
    "DICT": lambda m, items: m._set({}, items),
    "FROZENSET": lambda m, items: frozenset(checked_keys(m.refuse, items)),
    "APPENDS": lambda m, items: m._on_last(m._append, items),
    "ADDITEMS": lambda m, items: m._on_last(m._add, items),
    "SETITEMS": lambda m, items: m._on_last(m._set, items),
}
#: Instructions that change no more than the machine's own state.
_MEMO: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._get),
    "MEMOIZE": lambda m, _: m._put(len(m._memo)),
    "MARK": lambda m, _: m._marks.append(len(m._stack)),
    "POP": lambda m, _: m._stack.pop(),
    "POP_MARK": lambda m, _: m._since_mark(),
    "DUP": lambda m, _: m._stack.append(m._stack[-1]),
    "GLOBAL": lambda m, arg: m._stack.append(m._global(*arg.split(" ", 1))),
}
