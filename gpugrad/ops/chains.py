"""Products of several matrices in the order that costs least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.errors import ArgumentError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.matmul import check_inner
from gpugrad.refusals import brief
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor


def _best_order(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split each chain of matrices ``sizes[i] x sizes[i + 1]`` (dynamic programming)."""
    n = len(sizes) - 1
    cost = dict.fromkeys(((i, i) for i in range(n)), 0)
    split = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return split


@function(home="linalg", method=False, samples=[
    Sample([A((2, 3)), A((3, 4)), A((4, 2))]), Sample([A((3,)), A((3, 4)), A((4,))]),
    Sample([A((2, 3)), A((3, 2))])])  # fmt: skip
def multi_dot(tensors: Sequence[Any]) -> Any:
    """Product of matrices in the order that costs least; the first and last may be vectors."""
    chain = list(tensors)
    if len(chain) < 2:
        raise ArgumentError(f"linalg.multi_dot: takes at least two tensors, got {len(chain)}")
    row, col = chain[0].ndim == 1, chain[-1].ndim == 1
    chain[0] = F.reshape(chain[0], (1, -1)) if row else chain[0]
    chain[-1] = F.reshape(chain[-1], (-1, 1)) if col else chain[-1]
    for i, x in enumerate(chain):
        if x.ndim != 2:
            raise ShapeError(f"linalg.multi_dot: tensor {i} of shape {tuple(x.shape)} is no matrix")
        if i:
            check_inner("linalg.multi_dot", chain[i - 1], x, chain[i - 1].shape[1], x.shape[0])
    split = _best_order([x.shape[0] for x in chain] + [chain[-1].shape[1]])

    def product(i: int, j: int) -> Any:
        if i == j:
            return chain[i]
        k = split[i, j]
        return F.matmul(product(i, k), product(k + 1, j))

    out = product(0, len(chain) - 1)
    shape = (() if row else out.shape[:1]) + (() if col else out.shape[1:])
    return F.reshape(out, tuple(shape))


@function(method=False, samples=[Sample(A((2, 3)), A((3, 4)), A((4, 2)))])
def chain_matmul(*matrices: Any) -> Any:
    """Product of matrices in the order that costs least: ``linalg.multi_dot``."""
    wrong = [brief(m) for m in matrices if not isinstance(m, Tensor)]
    if wrong:
        raise ArgumentError(f"chain_matmul: matrices must be tensors, got {wrong[0]}")
    if any(m.ndim != 2 for m in matrices):
        shapes = " and ".join(str(tuple(m.shape)) for m in matrices)
        raise ShapeError(f"chain_matmul: takes matrices, got shapes {shapes}")
    return multi_dot(matrices) if len(matrices) > 1 else matrices[0]
