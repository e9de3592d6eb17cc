"""Settings that a record's function computes with, remembered as formulas.

An optimiser's step has other numbers every time, ``1 - beta ** t`` for one, but the same kernel.
Its function is traced once with ``Number`` for its float settings; each constant of the kernel is
then a formula of the settings, and so is every answer that the function asked of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

Formula = Callable[[dict[str, Any]], Any]


class Number(float):
    """A float that knows where it comes from.

    Args:
        value: the number.
        formula: the number for other settings.
        asked: takes a formula and its answer for every comparison that is made.
    """

    __slots__ = ("asked", "formula")
    formula: Formula
    asked: list[tuple[Formula, bool]]

    def __new__(cls, value: float, formula: Formula, asked: list[tuple[Formula, bool]]) -> Self:
        made = super().__new__(cls, value)
        made.formula, made.asked = formula, asked
        return made

    def __bool__(self) -> bool:
        answer, formula = plain(self) != 0, self.formula
        self.asked.append((lambda s: formula(s) != 0, answer))
        return answer

    def __reduce__(self) -> Any:
        return float, (plain(self),)

    __hash__ = float.__hash__


def plain(value: float) -> float:
    """The number alone."""
    return float.__mul__(value, 1.0)


def _formula(x: Any) -> tuple[Any, Formula]:
    return (plain(x), x.formula) if type(x) is Number else (x, lambda s: x)


def _method(name: str) -> Callable[..., Any]:
    compares = name in ("eq", "ne", "lt", "le", "gt", "ge")
    swapped = name.startswith("r")
    function = getattr(operator, name[1:] if swapped else name)

    def method(self: Number, *others: Any) -> Any:
        if others and not isinstance(others[0], int | float):
            return NotImplemented
        args = [_formula(x) for x in ((*others, self) if swapped else (self, *others))]
        formulas = [f for _, f in args]

        def formula(settings: dict[str, Any]) -> Any:
            return function(*[f(settings) for f in formulas])

        value = function(*[v for v, _ in args])
        if compares:
            self.asked.append((formula, value))
            return value
        return Number(value, formula, self.asked)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow", "radd", "rsub", "rmul", "rtruediv", "rpow",
              "neg", "abs", "eq", "ne", "lt", "le", "gt", "ge"):  # fmt: skip
    setattr(Number, f"__{_name}__", _method(_name))


def remembered(settings: dict[str, Any], asked: list[tuple[Formula, bool]]) -> dict[str, Any]:
    """The settings with ``Number`` in place of floats, also of those in tuples."""

    def one(value: Any, formula: Formula) -> Any:
        if type(value) is float:
            return Number(value, formula, asked)
        if type(value) is tuple:
            return tuple(
                one(v, lambda s, i=i: formula(s)[i])  # type: ignore[misc]
                for i, v in enumerate(value)
            )
        return value

    return {k: one(v, operator.itemgetter(k)) for k, v in settings.items()}


def fixed(settings: dict[str, Any]) -> tuple[Any, ...]:
    """What of the settings is part of a kernel: all but the values of floats."""

    def one(value: Any) -> Any:
        if type(value) is float:
            return float
        return tuple([one(v) for v in value]) if type(value) is tuple else (type(value), value)

    return tuple([(k, one(v)) for k, v in settings.items()])
