"""Sums of products over named dimensions: everything is brought to ``matmul``, pair by pair."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, DTypeError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.ops.matmul import check_inner
from gpugrad.samples import A, Sample
from gpugrad.signature import wrap_dim
from gpugrad.tensor import Tensor

_LETTERS = string.ascii_uppercase + string.ascii_lowercase
#: An operand: a tensor and one label per dimension.
Labelled = tuple[Any, list[str]]


# ---- pairs -------------------------------------------------------------------------------------


def _permuted(x: Any, labels: Sequence[str], order: Sequence[str]) -> Any:
    places = tuple(labels.index(c) for c in order)
    return x if places == tuple(range(len(places))) else F.permute_dims(x, places)


def _summed(x: Labelled, keep: set[str]) -> Labelled:
    """Sum over the labels that nothing else has."""
    gone = tuple(i for i, c in enumerate(x[1]) if c not in keep)
    return (F.sum(x[0], gone), [c for c in x[1] if c in keep]) if gone else x


def _contract(left: Labelled, right: Labelled, keep: set[str]) -> Labelled:
    """Multiply two operands and sum over the labels that are not in ``keep``."""
    (a, la), (b, lb) = _summed(left, keep | {*right[1]}), _summed(right, keep | {*left[1]})
    batch = [c for c in la if c in lb and c in keep]
    inner = [c for c in la if c in lb and c not in keep]
    own_a, own_b = [c for c in la if c not in lb], [c for c in lb if c not in la]
    size = dict(zip(la + lb, (*a.shape, *b.shape)))

    def extent(labels: list[str]) -> int:
        return math.prod(size[c] for c in labels)

    shape = tuple(size[c] for c in (*batch, *own_a, *own_b))
    a, b = _permuted(a, la, batch + own_a + inner), _permuted(b, lb, batch + inner + own_b)
    lead = tuple(size[c] for c in batch)
    if not inner:  # nothing to sum: a product with broadcasting
        a = F.reshape(a, (*a.shape, *(1,) * len(own_b)))
        b = F.reshape(b, (*lead, *(1,) * len(own_a), *(size[c] for c in own_b)))
        return a * b, batch + own_a + own_b
    a = F.reshape(a, (*lead, extent(own_a), extent(inner)))
    b = F.reshape(b, (*lead, extent(inner), extent(own_b)))
    return F.reshape(F.matmul(a, b), shape), batch + own_a + own_b


def _cost(a: Labelled, b: Labelled, keep: set[str]) -> int:
    """Growth of what is held in memory by contracting this pair first."""
    size = dict(zip(a[1] + b[1], (*a[0].shape, *b[0].shape)))
    made = math.prod(size[c] for c in {*size} & keep)
    return made - math.prod(a[0].shape) - math.prod(b[0].shape)


def contract_all(operands: list[Labelled], out: list[str]) -> Any:
    """Multiply all operands, always the pair next that leaves least in memory."""
    while len(operands) > 1:

        def rest(i: int, j: int) -> set[str]:
            others = (x[1] for k, x in enumerate(operands) if k not in (i, j))  # noqa: B023
            return {*out}.union(*others)

        pairs = list(itertools.combinations(range(len(operands)), 2))
        i, j = pairs[0] if len(pairs) == 1 else min(
            pairs, key=lambda p: _cost(operands[p[0]], operands[p[1]], rest(*p)))  # fmt: skip
        made = _contract(operands[i], operands[j], rest(i, j))
        operands = [x for k, x in enumerate(operands) if k not in (i, j)] + [made]
    x, labels = _summed(operands[0], {*out})
    return _permuted(x, labels, out)


# ---- einsum ------------------------------------------------------------------------------------


def _from_lists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """The equation of ``einsum(a, [0, 1], b, [1, 2], [0, 2])``."""

    def spell(labels: Sequence[Any]) -> str:
        return "".join("..." if c is Ellipsis else _LETTERS[c] for c in labels)

    n = len(operands) // 2 * 2
    equation = ",".join(spell(labels) for labels in operands[1:n:2])
    if len(operands) > n:
        equation += "->" + spell(operands[-1])
    return equation, list(operands[0:n:2])


def _read(equation: Any, operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Equation and tensors from either form of the call."""
    if isinstance(equation, Tensor):
        equation, tensors = _from_lists((equation, *operands))
    else:
        one_list = len(operands) == 1 and isinstance(operands[0], list | tuple)
        tensors = list(operands[0] if one_list else operands)
    if not isinstance(equation, str) or not tensors:
        raise ArgumentError("einsum: takes an equation and at least one tensor")
    return equation, tensors


def _labels(term: str, ndim: int, spare: str, equation: str) -> list[str]:
    """One label per dimension of an operand; those of the ellipsis end with ``spare``'s last."""
    named = term.replace("...", "")
    bad = [c for c in named if c not in _LETTERS]
    if bad or term.count("...") > 1:
        raise SettingError(f"einsum: {equation!r}: {term!r} must be letters and at most one '...'")
    hidden = ndim - len(named)
    if hidden < 0 or (hidden and "..." not in term):
        raise ShapeError(
            f"einsum: {equation!r}: {term!r} names {len(named)} dimensions, its operand has {ndim}"
        )
    filled = spare[len(spare) - hidden :] if hidden else ""
    return list(term.replace("...", filled))


def _diagonals(x: Any, labels: list[str]) -> Labelled:
    """Take the diagonal of dimensions that share a label."""
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ShapeError(
                    f"einsum: {c!r} names dimensions of sizes {x.shape[i]} and {x.shape[j]} of one "
                    "operand"
                )
            x = x.diagonal(0, i, j)
            labels = [d for k, d in enumerate(labels) if k not in (i, j)] + [c]
    return x, labels


def _sized(operands: list[Labelled], equation: str) -> list[Labelled]:
    """Check sizes; a dimension of size 1 broadcasts, that is, it is dropped beside a larger one."""
    size: dict[str, int] = {}
    for x, labels in operands:
        for c, n in zip(labels, x.shape):
            if size.setdefault(c, n) != n and 1 not in (size[c], n):
                raise ShapeError(
                    f"einsum: {equation!r}: {c!r} has the sizes {size[c]} and {n}; they must be "
                    "equal or 1"
                )
            if size[c] == 1:
                size[c] = n
    found: list[Labelled] = []
    for x, labels in operands:
        stay = [c for c, n in zip(labels, x.shape) if n == size[c]]
        found.append((F.reshape(x, tuple(size[c] for c in stay)), stay))
    return found


@function(method=False, samples=[
    Sample("ij,jk->ik", A((2, 3)), A((3, 4))), Sample("ij->ji", A((2, 3))), Sample("ii", A((3, 3))),
    Sample("bij,bjk->bik", A((2, 3, 4)), A((2, 4, 2))),
    Sample("...ij,...j->...i", A((2, 3, 4)), A((4,))),
    Sample("i,j", A((2,)), A((3,))), Sample("ij,jk,kl->il", A((2, 3)), A((3, 2)), A((2, 4))),
    Sample("iij->ij", A((3, 3, 2))), Sample("ij->", A((2, 3))),
    Sample("ab,ab->a", A((2, 1)), A((1, 3)))])  # fmt: skip
def einsum(equation: Any, *operands: Any) -> Any:
    """Sums of products of elements after Einstein's convention.

    ``einsum("bij,bjk->bik", a, b)``: a letter per dimension; letters missing on the right are
    summed over; ``...`` stands for the leading dimensions, which broadcast.  Without ``->`` the
    result has the letters that occur once, in alphabetical order.  The form
    ``einsum(a, [0, 1], b, [1, 2], [0, 2])`` is taken, too.
    """
    equation, tensors = _read(equation, operands)
    source, arrow, target = equation.replace(" ", "").partition("->")
    terms = source.split(",")
    if len(terms) != len(tensors):
        raise ArgumentError(
            f"einsum: {equation!r} names {len(terms)} operands, {len(tensors)} were given"
        )
    hidden = max(x.ndim - len(t.replace("...", "")) for x, t in zip(tensors, terms))
    spare = "".join(chr(0x3B1 + i) for i in range(max(hidden, 0)))  # no letter of the equation
    labels = [_labels(t, x.ndim, spare, equation) for t, x in zip(terms, tensors)]
    every = [c for ls in labels for c in ls]
    if arrow:
        out = list(target.replace("...", spare))
    else:
        out = [*spare, *sorted(c for c in {*every} if every.count(c) == 1 and c not in spare)]
    if len({*out}) != len(out) or not {*out} <= {*every}:
        raise SettingError(
            f"einsum: {equation!r}: each letter of the result must occur there once, and in an "
            "operand"
        )
    operands_ = [_diagonals(x, ls) for x, ls in zip(tensors, labels)]
    return contract_all(_sized(operands_, equation), out)


# ---- other contractions ------------------------------------------------------------------------


@function(method=False, samples=[
    Sample(A((2, 3, 4)), A((3, 4, 5))), Sample(A((2, 3)), A((4, 5)), 0),
    Sample(A((2, 3, 4)), A((4, 2)), ([0, 2], [1, 0]))])  # fmt: skip
def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Contract the last ``dims`` dimensions of ``a`` with the first of ``b``, or two lists."""
    if a.dtype is dtypes.bool_:
        raise DTypeError("tensordot: takes integer or floating dtypes, got bool")
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise SettingError(
                f"tensordot: dims must be from 0 to {min(a.ndim, b.ndim)}, got {dims}"
            )
        of_a, of_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        of_a, of_b = ([d] if isinstance(d, int) else list(d) for d in dims)
    of_a = [wrap_dim("tensordot", d, a.ndim) for d in of_a]
    of_b = [wrap_dim("tensordot", d, b.ndim) for d in of_b]
    if [a.shape[d] for d in of_a] != [b.shape[d] for d in of_b]:
        raise ShapeError(
            f"tensordot: dims {of_a} of {tuple(a.shape)} and {of_b} of {tuple(b.shape)} differ in "
            "size"
        )
    la, lb = [f"a{i}" for i in range(a.ndim)], [f"b{i}" for i in range(b.ndim)]
    for i, j in zip(of_a, of_b):
        lb[j] = la[i]
    shared = {la[i] for i in of_a}
    return contract_all([(a, la), (b, lb)], [c for c in la + lb if c not in shared])


@function(samples=[Sample(A((2, 3)), A((4, 3))), Sample(A((3,)), A((3,))),
    Sample(A((2, 3)), A(()))])  # fmt: skip
def inner(input: Any, other: Any) -> Any:
    """Sums of products over the last dimension of both."""
    if not input.ndim or not other.ndim:
        return input * other
    check_inner("inner", input, other, input.shape[-1], other.shape[-1])
    return tensordot(input, other, ([-1], [-1]))


@function(samples=[Sample(A((2, 3)), A((4, 5))), Sample(A((2,)), A((3, 2))),
    Sample(A(()), A((2,)))])  # fmt: skip
def kron(input: Any, other: Any) -> Any:
    """Kronecker product: ``other`` once per element of ``input``, scaled by it."""
    n = max(input.ndim, other.ndim)
    a = (*(1,) * (n - input.ndim), *input.shape)
    b = (*(1,) * (n - other.ndim), *other.shape)
    left = F.reshape(input, tuple(x for s in a for x in (s, 1)))
    right = F.reshape(other, tuple(x for s in b for x in (1, s)))
    return F.reshape(left * right, tuple(s * t for s, t in zip(a, b)))


@function(home="nn.functional", method=False, samples=[
    Sample(A((2, 3)), A((2, 4)), A((5, 3, 4)), A((5,))),
    Sample(A((2, 6, 3)), A((2, 6, 4)), A((5, 3, 4)))])  # fmt: skip
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """``input1 @ weight[k] @ input2`` for every output ``k``, over any leading dimensions."""
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ShapeError(
            f"bilinear: inputs {tuple(input1.shape)} and {tuple(input2.shape)} must be the same in "
            "all but the last dimension"
        )
    out = einsum("...kj,...j->...k", einsum("...i,kij->...kj", input1, weight), input2)
    return out if bias is None else out + bias
