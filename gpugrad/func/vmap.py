"""``vmap``: a function of single examples becomes one of batches.

It is a loop: the function runs once per slice and the results are stacked.  So any function of
tensors can be mapped, with gradients through it, at the cost of a Python loop; write the batch
dimension into the function where speed matters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gpugrad import random
from gpugrad.errors import ArgumentError, AutogradError, DimError, SettingError, ShapeError
from gpugrad.func.tree import flatten, spread
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor

_RANDOMNESS = ("error", "different", "same")


def vmap(func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error",
         *, chunk_size: int | None = None) -> Callable[..., Any]:  # fmt: skip
    """Map a function over a dimension of its arguments.

    Args:
        func: takes and returns tensors, also in nested tuples, lists and dicts.
        in_dims: the dimension to map over, for all arguments, or a tuple with one per argument
            (nested as they are); None for what every call gets whole, as it does keyword arguments.
        out_dims: where the mapped dimension goes in the results, likewise.  None for a result that
            is the same in every call; that of the last is given.
        randomness: whether draws from the default generators inside are an ``"error"``,
            ``"different"`` or the ``"same"`` in every call.
        chunk_size: how many slices may be computed at once; one is, which any bound allows.

    Returns:
        A function of the batched arguments.

    Raises:
        SettingError: for an unknown ``randomness`` or a ``chunk_size`` below 1; later if nothing is
            mapped, or the mapped dimension has size 0.
        ShapeError: if mapped dimensions differ in size.
        AutogradError: for a draw inside with ``randomness="error"``.
    """
    if randomness not in _RANDOMNESS:
        raise SettingError(
            f"vmap: randomness is {randomness!r}; accepted: {', '.join(map(repr, _RANDOMNESS))}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise SettingError(f"vmap: chunk_size is {chunk_size}; accepted: 1, 2, ... or None")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, build = flatten((args, kwargs))
        if isinstance(in_dims, list):
            dims = spread(tuple(in_dims), args, "vmap: in_dims")
        else:
            dims = spread(in_dims, args, "vmap: in_dims")
        dims += spread(None, kwargs, "vmap: in_dims")
        slices, size = _slices(leaves, dims)
        results = []
        states = random.get_rng_states()
        for i in range(size):
            given = [leaf if cut is None else cut[i] for leaf, cut in zip(leaves, slices)]
            call_args, call_kwargs = build(given)
            results.append(func(*call_args, **call_kwargs))
            if randomness != "different" and random.get_rng_states() != states:
                if randomness == "error" or i < size - 1:
                    random.set_rng_states(states)
                if randomness == "error":
                    raise AutogradError(
                        "vmap: the function draws random numbers; say randomness='different' or "
                        "'same' to allow it"
                    )
        return _stacked(results, out_dims)

    return mapped


def _slices(leaves: list[Any], dims: list[Any]) -> tuple[list[Any], int]:
    """Per leaf its slices, or None for one that is passed whole; and how many there are."""
    cuts: list[Any] = []
    sizes = set()
    for leaf, dim in zip(leaves, dims, strict=True):
        if dim is None:
            cuts.append(None)
            continue
        if not isinstance(leaf, Tensor):
            raise ArgumentError(
                f"vmap: only tensors are mapped, got {type(leaf).__name__}; say None for it in "
                "in_dims"
            )
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise ArgumentError(f"vmap: a dimension in in_dims must be an int, got {dim!r}")
        if not -leaf.ndim <= dim < leaf.ndim:
            raise DimError(
                f"vmap: in_dims has dimension {dim} for a tensor of shape {tuple(leaf.shape)}"
            )
        cuts.append(leaf.unbind(dim))
        sizes.add(leaf.shape[dim])
    if not sizes:
        raise SettingError("vmap: nothing is mapped; at least one of in_dims must be an int")
    if len(sizes) > 1:
        raise ShapeError(f"vmap: mapped dimensions differ in size: {sorted(sizes)}")
    (size,) = sizes
    if not size:
        raise SettingError("vmap: the mapped dimension has size 0, so no call tells the result")
    return cuts, size


def _stacked(results: list[Any], out_dims: Any) -> Any:
    rows = [flatten(r)[0] for r in results]
    build = flatten(results[0])[1]
    if any(len(r) != len(rows[0]) for r in rows):
        raise ArgumentError("vmap: calls returned results of different forms")
    if isinstance(out_dims, tuple | list) and not isinstance(results[0], tuple | list):
        out_dims = out_dims[0] if len(out_dims) == 1 else out_dims
    elif isinstance(out_dims, list):
        out_dims = tuple(out_dims)
    dims = spread(out_dims, results[0], "vmap: out_dims")
    made = []
    for parts, dim in zip(zip(*rows), dims, strict=True):
        for part in parts:
            if not isinstance(part, Tensor):
                raise ArgumentError(
                    f"vmap: the function must return tensors, got {type(part).__name__}"
                )
        made.append(parts[-1] if dim is None else F.stack(parts, dim))
    return build(made)
