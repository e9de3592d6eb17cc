"""Small helpers that programs take from here: one number per dimension, names of a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gpugrad.nn.layer import sizes


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    """A function that makes ``n`` values of one, and a tuple of several."""
    repeat = partial(sizes, n=n)
    repeat.__name__ = name  # type: ignore[attr-defined]
    return repeat


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: Sequence[Any], n: int) -> tuple[Any, ...]:
    """The values from the last on, each ``n`` times: a layer's padding as ``pad`` takes it."""
    return tuple(value for value in reversed(t) for _ in range(n))


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Take ``prefix`` (such as ``"module."``) off the names of a ``state_dict``, in place."""
    for names in (state_dict, getattr(state_dict, "_metadata", {})):
        for name in list(names):
            if name.startswith(prefix) or f"{name}." == prefix:  # the module itself, in metadata
                names[name[len(prefix) :]] = names.pop(name)
