"""Registering ops for a while: what a test defines must not outlive it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpugrad import expr, publish, spec
from gpugrad.functional_namespace import F
from gpugrad.methods import TensorMethods
from gpugrad.op import registry


@contextmanager
def scratch() -> Iterator[None]:
    """Forget at the end of the block every op and function that was registered inside.

    Names, aliases, methods and operators go with them; records that were there before stay.
    """
    tables: list[dict[str, Any]] = [registry.ops, registry.functions, registry.by_xp]
    tables += [vars(space) for space in (F, spec.SPEC, expr.EXPR)]
    before = [dict(t) for t in tables]
    homes = {home: dict(table) for home, table in publish.homes.items()}
    methods = dict(vars(TensorMethods))
    try:
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.clear()
            table.update(old)
        for home, table in publish.homes.items():
            _forget_names(home, set(table) - set(homes.get(home, ())))
            table.clear()
            table.update(homes.get(home, {}))
        for name in set(vars(TensorMethods)) - set(methods):
            delattr(TensorMethods, name)
        for name, value in methods.items():
            if vars(TensorMethods)[name] is not value:
                setattr(TensorMethods, name, value)


def _forget_names(home: str, names: set[str]) -> None:
    """A module remembers what it looked up; it must look again."""
    module = sys.modules.get(f"gpugrad.{home}" if home else "gpugrad")
    for name in names:
        vars(module).pop(name, None) if module is not None else None
