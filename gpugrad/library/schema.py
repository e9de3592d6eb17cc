"""What a custom op takes and returns, read off the type hints of its function.

The kinds are PyTorch's for ``torch.library.custom_op``: tensors, lists of tensors, numbers,
strings, dtypes, devices, lists of numbers, and each of them or None.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, RegistrationError
from gpugrad.refusals import brief
from gpugrad.tensor import Tensor

#: Kinds of one value: the type of a hint, and the types of what is taken for it.
_ONE: dict[Any, tuple[str, tuple[type, ...]]] = {
    Tensor: ("Tensor", (Tensor,)), bool: ("bool", (bool,)), int: ("int", (int,)),
    float: ("float", (float, int)), str: ("str", (str,)), DType: ("dtype", (DType,)),
    Device: ("device", (Device, str, int)),
}  # fmt: skip
_NUMBER = ("Number", (bool, int, float))
ACCEPTED = (
    "Tensor, int, float, bool, str, Number, dtype, device, list[Tensor], list[int], list[float], "
    "list[bool], and any of these | None"
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its name, what it takes, and its default (``inspect.Parameter.empty``: none).

    Attributes:
        kind: ``"Tensor"``, ``"int"`` and their like; of the items, for a list.
        taken: the types of a value or item.
        many, optional: whether it is a list of the kind, and whether None is taken.
        keyword_only: whether it is given by name only.
    """

    name: str
    kind: str
    taken: tuple[type, ...]
    many: bool
    optional: bool
    keyword_only: bool
    default: Any

    def __str__(self) -> str:
        text = f"list[{self.kind}]" if self.many else self.kind
        return f"{self.name}: {text}{' | None' if self.optional else ''}"

    def read(self, op: str, value: Any) -> Any:
        """Check a value.

        Raises:
            ArgumentError: if it is of another kind; the message has both.
        """
        if value is None and self.optional:
            return None
        if not self.many:
            return self._one(op, value)
        if not isinstance(value, list | tuple):
            raise self._wrong(op, value)
        return [self._one(op, v) for v in value]

    def _one(self, op: str, value: Any) -> Any:
        if not isinstance(value, self.taken):
            raise self._wrong(op, value)
        if self.kind == "float" and isinstance(value, int):
            return float(value)
        return Device(value) if self.kind == "device" else value

    def _wrong(self, op: str, value: Any) -> ArgumentError:
        kind = str(self).partition(": ")[2]
        return ArgumentError(f"{op}: {self.name} must be {kind}, got {brief(value)}")


@dataclass(frozen=True, slots=True)
class Schema:
    """The signature of a custom op.

    Attributes:
        parameters: positional ones first.
        returns: per returned value ``"Tensor"``, ``"list[Tensor]"`` or ``"number"``; empty for
            None.
        one: whether a single value is returned rather than a tuple.
        mutated: names of the arguments that the op writes into.
    """

    op: str
    parameters: tuple[Parameter, ...]
    returns: tuple[str, ...]
    one: bool
    mutated: frozenset[str]

    def __str__(self) -> str:
        parts = [str(p) for p in self.parameters]
        first = next((i for i, p in enumerate(self.parameters) if p.keyword_only), None)
        if first is not None:
            parts.insert(first, "*")
        many = f"({', '.join(self.returns)})" if self.returns else "None"
        return f"{self.op}({', '.join(parts)}) -> {self.returns[0] if self.one else many}"

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]
             ) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
        """Sort a call into positional values, defaults filled in, and keyword-only ones.

        Raises:
            ArgumentError: for a missing, surplus or unknown argument, or one of a wrong kind.
        """
        positional = [p for p in self.parameters if not p.keyword_only]
        if len(args) > len(positional):
            raise ArgumentError(
                f"{self.op}: {len(args)} positional arguments, it takes {len(positional)}; it is "
                f"{self}"
            )
        given = dict(zip((p.name for p in positional), args, strict=False))
        for name, value in kwargs.items():
            if name in given or all(p.name != name for p in self.parameters):
                what = "given twice" if name in given else "not known"
                raise ArgumentError(f"{self.op}: argument {name!r} is {what}; it is {self}")
            given[name] = value
        values, named = [], {}
        for p in self.parameters:
            if p.name in given:
                value = p.read(self.op, given[p.name])
            elif p.default is not inspect.Parameter.empty:
                value = p.default
            else:
                raise ArgumentError(f"{self.op}: missing argument {p.name!r}; it is {self}")
            if p.keyword_only:
                named[p.name] = value
            else:
                values.append(value)
        return values, named

    def check_result(self, result: Any) -> tuple[Any, ...]:
        """The returned values as a tuple.

        Raises:
            ArgumentError: if they are not what the type hint promised.
        """
        values = (result,) if self.one else () if result is None else result
        if isinstance(values, list | tuple) and len(values) == len(self.returns):
            values = tuple(
                list(v) if k == "list[Tensor]" and isinstance(v, list | tuple) else v
                for k, v in zip(self.returns, values, strict=True)
            )
            if all(_is_a(k, v) for k, v in zip(self.returns, values, strict=True)):
                return values
        said = str(self).rpartition("-> ")[2]
        got = ", ".join(map(brief, result)) if isinstance(result, tuple) else brief(result)
        raise ArgumentError(f"{self.op}: its function returned {got}; the type hint says {said}")


def _is_a(kind: str, value: Any) -> bool:
    if kind == "list[Tensor]":
        return isinstance(value, list) and all(isinstance(v, Tensor) for v in value)
    return isinstance(value, Tensor if kind == "Tensor" else _NUMBER[1])


def schema_of(op: str, fn: Callable[..., Any], mutates_args: str | Iterable[str]) -> Schema:
    """Read a function's signature.

    Args:
        op: the op's name, for errors.
        fn: the function; every parameter and the result have a type hint.
        mutates_args: names of the arguments it writes into; ``"unknown"``: all tensors.

    Raises:
        RegistrationError: for a hint that is missing or of a kind not supported, ``*args``, tensors
            by keyword only, or a name in ``mutates_args`` that is no tensor argument.
    """
    try:
        hints = typing.get_type_hints(fn)
    except Exception as error:
        raise RegistrationError(f"{op}: a type hint cannot be read: {error}") from error
    found = [_parameter(op, p, hints) for p in inspect.signature(fn).parameters.values()]
    tensors = [p.name for p in found if p.kind == "Tensor"]
    if named := [p.name for p in found if p.kind == "Tensor" and p.keyword_only]:
        raise RegistrationError(f"{op}: tensors must be positional, {named} are keyword-only")
    if isinstance(mutates_args, str) and mutates_args != "unknown":
        raise RegistrationError(
            f'{op}: mutates_args must be a sequence of names or "unknown", got {mutates_args!r}'
        )
    mutated = frozenset(tensors if isinstance(mutates_args, str) else mutates_args)
    if extra := sorted(mutated - set(tensors)):
        raise RegistrationError(f"{op}: mutates_args has {extra}; its tensors are {tensors}")
    if "return" not in hints:
        raise RegistrationError(f"{op}: the result needs a type hint: -> Tensor, or -> None")
    returns, one = _returns(op, hints["return"])
    return Schema(op, tuple(found), returns, one, mutated)


def _parameter(op: str, p: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
    if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
        raise RegistrationError(f"{op}: *{p.name} is not supported; name the parameters")
    if p.name not in hints:
        raise RegistrationError(f"{op}: parameter {p.name!r} needs a type hint: {ACCEPTED}")
    hint, optional = _without_none(hints[p.name])
    items = typing.get_args(hint)
    many = typing.get_origin(hint) in (list, Sequence) and len(items) == 1
    kind = _kind(items[0] if many else hint)
    if kind is None:
        raise RegistrationError(
            f"{op}: parameter {p.name!r} has the type hint {hints[p.name]}; accepted: {ACCEPTED}"
        )
    return Parameter(p.name, *kind, many, optional, p.kind is p.KEYWORD_ONLY, p.default)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    rest = [h for h in typing.get_args(hint) if h is not type(None)]
    return typing.Union[tuple(rest)], len(rest) < len(typing.get_args(hint))  # noqa: UP007


def _kind(hint: Any) -> tuple[str, tuple[type, ...]] | None:
    if isinstance(hint, type) and hint in _ONE:
        return _ONE[hint]
    return _NUMBER if set(typing.get_args(hint)) == set(_NUMBER[1]) else None


def _returns(op: str, hint: Any) -> tuple[tuple[str, ...], bool]:
    if hint is None or hint is type(None):
        return (), False
    one = typing.get_origin(hint) is not tuple
    found = []
    for h in (hint,) if one else typing.get_args(hint):
        items = typing.get_args(h)
        kind = _kind(h)
        if typing.get_origin(h) in (list, Sequence) and items == (Tensor,):
            found.append("list[Tensor]")
        elif kind is not None and kind[0] in ("Tensor", "bool", "int", "float", "Number"):
            found.append("Tensor" if kind[0] == "Tensor" else "number")
        else:
            raise RegistrationError(
                f"{op}: the result has the type hint {hint}; accepted: Tensor, list[Tensor], a "
                "number, a tuple of these, None"
            )
    return tuple(found), one
