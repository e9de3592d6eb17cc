"""What there is: every public op and function, read off the registry.

``gpugrad ops`` prints it; docs and counts come from the same rows.
"""

from __future__ import annotations

import fnmatch
import inspect
from dataclasses import dataclass

from gpugrad import signature
from gpugrad.op import Function, Op, registry
from gpugrad.testing.calls import samples_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One public op or function.

    Attributes:
        name: the public name below ``gpugrad.``, e.g. ``nn.functional.gelu``.
        kind: ``leaf`` (spelt by itself in a kernel), ``composite`` (made of leaves, in a kernel
            too), ``op`` (any other record) or ``function`` (a plain function of ops).
        signature: as a caller sees it.
        doc: first line of the docstring.
        differentiable: whether a gradient flows through it.
        method: whether it is a method of Tensor, too.
        inplace: whether there is a ``name_``.
        operator: the Python operator it serves, or "".
        view: whether its result shares memory with its input.
        aliases: further names.
        samples: number of calls that describe it to the tests.
        module: where its record is.
    """

    name: str
    home: str
    kind: str
    signature: str
    doc: str
    differentiable: bool
    method: bool
    inplace: bool
    operator: str
    view: bool
    aliases: tuple[str, ...]
    samples: int
    module: str


def entries(pattern: str = "") -> list[Entry]:
    """Every public op and function by name; ``pattern`` is a part of the name or a glob."""
    found = [_entry(r) for r in registry if not f"{r.home}.{r.name}".startswith("_")]
    return sorted((e for e in found if _fits(e, pattern)), key=lambda e: (e.home, e.name))


def _fits(entry: Entry, pattern: str) -> bool:
    names = (entry.name, *entry.aliases)
    if any(c in pattern for c in "*?["):
        return any(fnmatch.fnmatchcase(n, pattern) for n in names)
    return any(pattern.lower() in n.lower() for n in names)


def _entry(record: Op | Function) -> Entry:
    home = f"{record.home}." if record.home else ""
    return Entry(
        name=home + record.name,
        home=record.home,
        kind=_kind(record),
        signature=home + _signature(record),
        doc=inspect.cleandoc(record.doc).partition("\n")[0],
        differentiable=record.differentiable,
        method=record.method,
        inplace=record.inplace,
        operator=record.operator,
        view=isinstance(record, Op) and record.view,
        aliases=tuple(a if "." in a else home + a for a in record.aliases),
        samples=len(samples_of(record)),
        module=record.module,
    )


def _kind(record: Op | Function) -> str:
    if isinstance(record, Function):
        return "function"
    if record.elementwise:
        return "leaf" if record.leaf else "composite"
    return "op"


def _signature(record: Op | Function) -> str:
    if isinstance(record, Op):
        return signature.signature_text(record)
    return signature.function_text(record)
