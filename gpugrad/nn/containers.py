"""Modules that hold modules and add nothing of their own."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from gpugrad.errors import ArgumentError, IndexingError, SettingError
from gpugrad.nn.module import Module, _indent
from gpugrad.tensor import Tensor


def listed(name: str, method: str, given: Any) -> list[Any]:
    """What was given to ``name.method``, which takes an iterable."""
    if isinstance(given, Iterable) and not isinstance(given, str | Tensor):
        return list(given)
    raise ArgumentError(f"{name}.{method} should be called with an iterable, but got {given!r:.60}")


def _pairs(name: str, given: Any) -> list[tuple[str, Any]]:
    """Keys and values of a mapping, or of an iterable of pairs; ``name`` is for the message."""
    if isinstance(given, Mapping | _Names):
        return list(given.items())
    rows = listed(name, "update", given)
    pairs = [tuple(p) if isinstance(p, Iterable) else (p,) for p in rows]
    for i, pair in enumerate(pairs):
        if len(pair) != 2:
            raise SettingError(
                f"{name}.update: element {i} has length {len(pair)}; 2 is required (key, value)"
            )
    return pairs


class _Row(Module):
    """Modules in a row: what ``Sequential`` and ``ModuleList`` share."""

    def _number(self, index: Any) -> int:
        """A non-negative position for a possibly negative one."""
        n, i = len(self), operator.index(index)
        if not -n <= i < n:
            raise IndexingError(f"index {i} is out of range for {type(self).__name__} of {n}")
        return i % n

    def _renumber(self, members: Iterable[Any]) -> None:
        numbered = {str(i): m for i, m in enumerate(members)}
        self._modules.clear()
        self._modules.update(numbered)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def __contains__(self, member: Any) -> bool:
        return any(m is member for m in self)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])  # type: ignore[call-arg]
        return list(self._modules.values())[self._number(index)]

    def __setitem__(self, index: Any, member: Any) -> None:
        names = list(self._modules)
        if isinstance(index, slice):
            for name, m in zip(names[index], listed(type(self).__name__, "__setitem__", member)):
                setattr(self, name, m)
        else:
            setattr(self, names[self._number(index)], member)

    def __delitem__(self, index: Any) -> None:
        members = list(self)
        del members[index if isinstance(index, slice) else self._number(index)]
        self._renumber(members)

    def append(self, member: Any) -> Self:
        """Put one at the end."""
        self.add_module(str(len(self)), member)
        return self

    def extend(self, members: Iterable[Any]) -> Self:
        """Put several at the end."""
        for member in listed(type(self).__name__, "extend", members):
            self.append(member)
        return self

    def insert(self, index: int, module: Any) -> Any:
        """Put one before position ``index``."""
        if not isinstance(module, Module):
            raise ArgumentError(f"insert: module should be a Module, got {type(module).__name__}")
        n = len(self)
        if not -n <= index <= n:
            raise IndexingError(f"index {index} is out of range for {type(self).__name__} of {n}")
        members = list(self)
        members.insert(index, module)
        self._renumber(members)
        return self

    def pop(self, key: Any) -> Any:
        """Take one out and return it."""
        member = self[key]
        del self[key]
        return member

    def __iadd__(self, other: Iterable[Any]) -> Self:
        return self.extend(other)

    def __add__(self, other: Iterable[Any]) -> Self:
        if not isinstance(other, Iterable):
            raise ArgumentError(
                f"{type(self).__name__}: only another row of members can be added, got "
                f"{type(other).__name__}"
            )
        return type(self)(chain(self, other))  # type: ignore[call-arg]


class Sequential(_Row):
    """Modules one after the other, each on what the one before gave.

    ``Sequential(a, b)`` numbers them; ``Sequential(OrderedDict(name=a, ...))`` names them.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = args[0].items() if len(args) == 1 and isinstance(args[0], OrderedDict) else None
        for name, module in named or ((str(i), m) for i, m in enumerate(args)):
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:
        """Pass ``input`` through all modules."""
        for module in self._modules.values():
            input = module(input)
        return input

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):  # names stay
            return type(self)(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def __add__(self, other: Any) -> Self:
        if not isinstance(other, Sequential):
            raise ArgumentError(
                f"Sequential: only another Sequential can be added, got {type(other).__name__}"
            )
        return type(self)(*self, *other)

    def __mul__(self, times: int) -> Self:
        if not isinstance(times, int):
            raise ArgumentError(f"Sequential: can be repeated by an int, got {times!r}")
        if times <= 0:
            raise SettingError(f"Sequential: the number of repeats must be positive, got {times}")
        return type(self)(*list(self) * times)

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        self._renumber((self * times)._modules.values())
        return self


class ModuleList(_Row):
    """A list of modules that are found as children."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __repr__(self) -> str:
        """Runs of equal members in one line, as ``(0-11): 12 x Linear(...)``."""
        if not len(self):
            return f"{self._get_name()}()"
        runs: list[tuple[int, int, str]] = []
        for i, text in enumerate(map(repr, self)):
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        lines = [
            _indent(f"({a}): {text}" if a == b else f"({a}-{b}): {b - a + 1} x {text}", 2)
            for a, b, text in runs
        ]
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"


class _Names(Module):
    """Named members: what the two dicts share."""

    def _place(self) -> dict[str, Any]:
        return self._modules

    def __len__(self) -> int:
        return len(self._place())

    def __iter__(self) -> Iterator[str]:
        return iter(self._place())

    def __contains__(self, key: object) -> bool:
        return key in self._place()

    def __getitem__(self, key: str) -> Any:
        return self._place()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.add_module(key, value)

    def __delitem__(self, key: str) -> None:
        del self._place()[key]

    def clear(self) -> None:
        """Take everything out."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take one out and return it."""
        value = self[key]
        del self[key]
        return value

    def keys(self) -> Iterable[str]:
        """The names, in order."""
        return self._place().keys()

    def values(self) -> Iterable[Any]:
        """The members, in order."""
        return [self[key] for key in self]

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and members, in order."""
        return [(key, self[key]) for key in self]

    def update(self, given: Any) -> None:
        """Put in all of a mapping, or of pairs."""
        for key, value in _pairs(type(self).__name__, given):
            self[key] = value


class ModuleDict(_Names):
    """A dict of modules that are found as children."""

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)


__all__ = ["ModuleDict", "ModuleList", "Sequential"]
