"""Nested tuples, lists and dicts of values: taken apart, and put together again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from gpugrad.errors import ArgumentError


def _children(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]] | None:
    """What a container holds, and how to make it of other contents; None for a leaf."""
    if isinstance(value, tuple):
        if hasattr(value, "_fields"):  # a named tuple takes its fields one by one
            return list(value), lambda xs: type(value)(*xs)
        return list(value), tuple
    if isinstance(value, list):
        return list(value), list
    if type(value) in (dict, OrderedDict):
        keys = list(value)
        return list(value.values()), lambda xs: type(value)(zip(keys, xs, strict=True))
    return None


def flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of a tree, in order, and a function that puts others in their places."""
    found = _children(tree)
    if found is None:
        return [tree], lambda xs: xs[0]
    parts = [flatten(child) for child in found[0]]
    counts = [len(leaves) for leaves, _ in parts]

    def build(xs: list[Any]) -> Any:
        made, at = [], 0
        for count, (_, part) in zip(counts, parts, strict=True):
            made.append(part(xs[at : at + count]))
            at += count
        return found[1](made)

    return [leaf for leaves, _ in parts for leaf in leaves], build


def spread(prefix: Any, tree: Any, what: str) -> list[Any]:
    """A value for each leaf of ``tree``: ``prefix`` has its form, or one value for a whole branch.

    Raises:
        ArgumentError: if the forms do not fit.
    """
    above = _children(prefix)
    if above is None:
        return [prefix] * len(flatten(tree)[0])
    below = _children(tree)
    same_keys = not isinstance(prefix, dict) or (
        isinstance(tree, dict) and list(prefix) == list(tree)
    )
    if below is None or len(above[0]) != len(below[0]) or not same_keys:
        raise ArgumentError(f"{what}: {prefix!r} has not the form of {type(tree).__name__}")
    return [v for p, t in zip(above[0], below[0], strict=True) for v in spread(p, t, what)]
