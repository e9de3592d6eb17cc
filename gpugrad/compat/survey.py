"""What the scripts under some paths need of PyTorch, and which of it gpugrad has."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import gpugrad
from gpugrad.compat import usage
from gpugrad.compat.names import Missing, resolve
from gpugrad.compat.tensor_names import TENSOR_NAMES

#: Folders that hold no program of the user's.
_SKIPPED = {"__pycache__", "site-packages", "node_modules", "build", "dist"}


@dataclass(slots=True)
class Name:
    """One name and where it is used.

    Attributes:
        name: dotted, e.g. ``torch.nn.Linear``; of an attribute, the bare name.
        lacking: what gpugrad lacks and what is closest; "" if it has the name.
        places: ``file:line`` of each use, in order.
        guarded: every use is one that the script can do without.
    """

    name: str
    lacking: str
    places: list[str] = field(default_factory=list)
    guarded: bool = True


@dataclass(slots=True)
class Survey:
    """What was found.

    Attributes:
        files: how many were read.
        names: PyTorch's names, by name.
        attributes: names of ``torch.Tensor`` that gpugrad's lacks, seen behind a dot of something.
        stars: ``from torch import *``, which hides names from this survey.
        companions: packages made for PyTorch that are imported.
        unreadable: file, and why it could not be read.
    """

    files: int = 0
    names: dict[str, Name] = field(default_factory=dict)
    attributes: dict[str, Name] = field(default_factory=dict)
    stars: dict[str, Name] = field(default_factory=dict)
    companions: dict[str, Name] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[Name]:
        """Names without which a script fails."""
        return [n for n in self.names.values() if n.lacking and not n.guarded]


def survey(paths: Iterable[Path]) -> Survey:
    """Read every script, notebook and folder; nothing is run."""
    found = Survey()
    for path in _files(paths):
        shown = os.path.relpath(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # an odd escape in somebody's text
                uses = usage.read(usage.source_of(path))
        except (SyntaxError, ValueError, OSError, RecursionError) as error:
            found.unreadable[shown] = _reason(error)
            continue
        found.files += 1
        for use in uses.names:
            _add(found.names, use, shown, _lacking)
        for use in uses.attributes:
            if (uses.names or uses.stars) and use.name in _foreign_attributes():
                _add(found.attributes, use, shown, _lacking_of_tensor)
        for use in uses.stars:
            _add(found.stars, use, shown, str)
        for use in uses.companions:
            _add(found.companions, use, shown, str)
    return found


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(f for f in folders if f[0] != "." and f not in _SKIPPED)
            yield from (Path(folder, f) for f in sorted(files) if f.endswith((".py", ".ipynb")))


def _add(table: dict[str, Name], use: usage.Use, file: str, lacking: Callable[[str], str]) -> None:
    if use.name not in table:
        table[use.name] = Name(use.name, lacking(use.name))
    entry = table[use.name]
    entry.places.append(f"{file}:{use.line}")
    entry.guarded &= use.guarded


def _lacking(name: str) -> str:
    try:
        resolve(name)
    except Missing as missing:
        return str(missing)
    return ""


def _lacking_of_tensor(name: str) -> str:
    return f"torch.Tensor.{name}: gpugrad's Tensor has no {name!r}"


@functools.cache
def _foreign_attributes() -> frozenset[str]:
    """What only PyTorch's tensors have: not gpugrad's, nor what scripts use besides."""
    others = (gpugrad.Tensor, str, bytes, list, tuple, dict, set, int, float, np.ndarray, Path)
    return TENSOR_NAMES.difference(*map(dir, others))


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.lineno is not None:  # null bytes have no line
        return f"line {error.lineno}: {error.msg}"
    message = getattr(error, "strerror", None) or getattr(error, "msg", None)
    return message or str(error) or type(error).__name__
