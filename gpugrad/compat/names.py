"""What a dotted PyTorch name stands for in gpugrad.  There is no list: the package is asked."""

from __future__ import annotations

import difflib
from importlib import import_module
from types import ModuleType
from typing import Any

import gpugrad
from gpugrad import publish

OURS, THEIRS = "gpugrad", "torch"


class Missing(LookupError):
    """gpugrad lacks a name; the message says which and what is closest."""


def is_ours(name: str) -> bool:
    """Whether a dotted name is that of gpugrad or of something in it."""
    return name == OURS or name.startswith(f"{OURS}.")


def is_theirs(name: str) -> bool:
    """Whether a dotted name is that of torch or of something in it."""
    return name == THEIRS or name.startswith(f"{THEIRS}.")


def ours(name: str) -> str:
    """``torch.nn.Linear`` as ``gpugrad.nn.Linear``."""
    return OURS + name.removeprefix(THEIRS)


def theirs(name: str) -> str:
    """``gpugrad.nn.Linear`` as ``torch.nn.Linear``; PyTorch's own names stay."""
    return THEIRS + name.removeprefix(OURS) if is_ours(name) else name


def resolve(name: str) -> Any:
    """The object of gpugrad that a name such as ``torch.nn.functional.relu`` stands for.

    Raises:
        Missing: the first part that gpugrad lacks, and what is closest to it.
    """
    value: Any = gpugrad
    _, *parts = name.split(".")
    for i, part in enumerate(parts, 2):
        try:
            value = _part(value, part)
        except (AttributeError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and not is_ours(error.name or ""):
                raise  # a library that the module needs
            raise Missing(lack(value, part, ".".join([THEIRS, *parts][:i]))) from None
    return value


def _part(value: Any, part: str) -> Any:
    try:
        return getattr(value, part)
    except AttributeError:
        if not isinstance(value, ModuleType) or not hasattr(value, "__path__"):
            raise
        return import_module(f"{value.__name__}.{part}")


def lack(value: Any, part: str, name: str) -> str:
    """Words for: ``value`` has no ``part``, which PyTorch would call ``name``."""
    near = closest(value, part)
    return f"{name}: gpugrad has no {part!r}" + (f"; closest: {', '.join(near)}" if near else "")


def closest(value: Any, part: str) -> list[str]:
    """Names like ``part``: the same in another module, then similar ones beside it, then anywhere.

    Args:
        value: the module, class or object of gpugrad that has no ``part``.
        part: what was asked of it.
    """
    homes = {theirs(f"{OURS}.{home}".rstrip(".")): table for home, table in publish.homes.items()}
    same = [f"{home}.{part}" for home, table in homes.items() if part in table]
    here = public_name(value)
    similar = difflib.get_close_matches(part, _offered(value), 3, 0.81)
    found = [*same, *(f"{here}.{n}" for n in similar)]
    if not found:
        everywhere = {n: home for home, table in homes.items() for n in table}
        similar = difflib.get_close_matches(part, everywhere, 3, 0.85)
        found = [f"{everywhere[n]}.{n}" for n in similar]
    return found[:3]


def _offered(value: Any) -> list[str]:
    """Names that may be suggested: beside the public ones, gpugrad's root has its own modules."""
    names = [n for n in dir(value) if n[0] != "_"]
    if value is not gpugrad:
        return names
    return [n for n in names if not isinstance(getattr(value, n), ModuleType)]


def public_name(value: Any) -> str:
    """How PyTorch's users call a module or class of gpugrad, or the class of an object."""
    if isinstance(value, ModuleType):
        return theirs(value.__name__)
    kind = value if isinstance(value, type) else type(value)
    if getattr(gpugrad, kind.__name__, None) is kind:  # whatever file it is in
        return f"{THEIRS}.{kind.__name__}"
    return f"{theirs(kind.__module__)}.{kind.__qualname__}"
