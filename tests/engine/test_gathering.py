"""Gather, scatter, masks, embeddings, sorting, searching and counting beyond what samples cover.

A case is one expression in ``m`` (gpugrad, then PyTorch) and the tensors ``a``, ``b``, ``c``: both
libraries give the same values, dtypes and gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import errors
from gpugrad.backends.additions.indexing import combine

RNG = np.random.default_rng(0)
NAN, INF = np.nan, np.inf
X = RNG.standard_normal((4, 5))
TIES = np.array([[1.0, 2, 2, 0, 2], [0, 0, 3, 3, -1], [2, 2, 2, 2, 2], [0, -0.0, 1, 0, 5]])
SRC = RNG.standard_normal((3, 5))
ZEROS = np.array([[0.0, 2, 0, 1, 3], [0, 3, 2, 0, -1], [4, 0, 1, 0, 2]])
INDEX = np.array([[0, 1, 0, 3, 2], [0, 0, 2, 3, 2], [1, 0, 0, 3, 1]])
ROWS = np.array([2, 0, 2, 3])
MASK = RNG.random((4, 5)) < 0.5
SPECIAL = np.array([1.0, NAN, -1, INF, 0, -0.0, NAN, -INF, 1])
TOKENS = np.array([[1, 3, 1], [0, 3, 3]])
FLAT = np.array([1, 3, 1, 0, 3, 3, 2])
COUNTS = np.array([3, 1, 3, 0, 7])
EDGES = np.array([-1.0, 0, 0.5, 2])
GRID = np.sort(RNG.integers(0, 9, (4, 6)), 1)
BAG = "m.nn.functional.embedding_bag"

SCATTERS: list[tuple[Any, ...]] = [
    *[
        (f"a.scatter_reduce(0, b, c, {r!r}, include_self={k})", x, INDEX, s)
        for r in ("sum", "prod", "mean", "amax", "amin")
        for k in (True, False)
        for x, s in ((X, SRC), (TIES, ZEROS), (TIES[[0, 1, 1, 3]], TIES[:3]))
        if k or s is SRC or r not in ("amax", "amin")  # PyTorch counts the excluded input as a tie
    ],
    ("a.scatter(0, b, c)", X, INDEX[:1], SRC[:1]),
    ("a.scatter(1, b, 2.5)", X, INDEX),
    ("a.detach().scatter(1, b, 2.5, reduce='multiply')", X, INDEX),
    ("a.detach().scatter(1, b, value=2, reduce='add')", X, INDEX),
    ("(a * 1).scatter_(1, b, -1)", X, INDEX),
    ("(a * 1).scatter_add_(0, b, c)", X, INDEX, SRC),
    ("a.scatter_add(0, b, a[:3])", X, INDEX),
    ("a.gather(1, b)", X, INDEX),
    ("a[0].gather(0, b[0, 1])", X, INDEX),
    ("a[:, ::2].gather(1, b % 3)", X, INDEX),
    ("a.t().gather(0, b.t())", X, INDEX[:, :4]),
    ("m.take_along_dim(a, m.argsort(a, 1), 1)", X),
    ("m.take_along_dim(a, b - 2, 0)", X, INDEX),
    ("m.take_along_dim(a, b[:, :1], 1)", X, ROWS[:, None]),
]
ROWWISE: list[tuple[Any, ...]] = [
    ("a.index_select(-2, b)", X, ROWS),
    ("(a * 1).index_add_(0, b, c, alpha=-2)", X, ROWS, X),
    ("(a * 1).index_copy_(0, b[1:], c[1:])", X, ROWS, X),
    ("(a * 1).index_fill_(1, b, 3)", X, ROWS),
    ("a.index_fill(0, b - 4, c.sum().detach())", X, ROWS, X),
    *[(f"(a * 1).index_reduce_(0, b, c, {r!r}, include_self={k})", X, ROWS, X[::-1].copy())
      for r in ("prod", "mean", "amax", "amin") for k in (True, False)],
    ("(a * 1).put_(b, c[0, :4], accumulate=True)", X, ROWS, X),
    ("a.take(b - 7)", X, ROWS),
    ("(a * 1).index_put_((b, b), c[0, :4], accumulate=True)", X, ROWS, X),
    ("(a * 1).index_put_((b,), c.sum())", X, MASK, X),
    ("m.unravel_index(a, (2, 3, 4))", ROWS),
    ("a[0, 0].index_select(0, b[1:2])", X, ROWS),
    ("a[0].index_select(0, b[0])", X, ROWS),
]  # fmt: skip
MASKS: list[tuple[Any, ...]] = [
    ("(a * 1).masked_fill_(b, -1)", X, MASK),
    ("a.masked_fill(b[:, :1], a.sum())", X, MASK),
    ("a[0].masked_select(b)", X, MASK),
    ("a[0, 0].masked_select(b)", X, MASK),
    ("(a * 1).masked_scatter_(b, c)", X, MASK, X),
    ("m.nonzero(a.detach() > 0)", X),
    ("m.nonzero(a.detach()[0, 0], as_tuple=True)", X),
    ("m.nonzero(a.detach()[0, 0])", X),
    ("m.argwhere(a.detach())", SPECIAL),
    ("a.bool().nonzero(as_tuple=True)", MASK),
]
EMBEDDINGS: list[tuple[Any, ...]] = [
    ("m.nn.functional.embedding(a, b, padding_idx=-1)", TOKENS, X),
    ("m.nn.functional.embedding(a, b, 3, scale_grad_by_freq=True)", TOKENS, X),
    ("m.nn.functional.embedding(a, b.detach() * 1, max_norm=1.0)", TOKENS, X),
    ("m.nn.functional.embedding(a, b.detach() * 1, None, 1.0, float('inf'))", TOKENS, X),
    *[(f"{BAG}(a, b, mode={mode!r}, padding_idx={p})", TOKENS, X)
      for mode in ("sum", "mean", "max") for p in (None, 3)],
    *[(f"{BAG}(a, b, m.tensor({offsets}), mode={mode!r}, padding_idx={p}, include_last_offset={i})",
       FLAT, X)
      for mode in ("sum", "mean", "max") for p in (None, 1)
      for offsets, i in (([0, 2, 2, 5], False), ([0, 4, 7], True))],
    (f"{BAG}(a, b, m.tensor([0, 3]), mode='sum', per_sample_weights=c)", FLAT, X, X.ravel()[:7]),
]  # fmt: skip
SORTED: list[tuple[Any, ...]] = [
    ("a.sort(stable=True)", SPECIAL), ("a.sort(descending=True, stable=True)", SPECIAL),
    ("m.sort(a, dim=0, descending=True, stable=True)", TIES), ("a.sort(dim=1, stable=True)", TIES),
    ("a.argsort(descending=True, stable=True)", TIES), ("a.bool().sort(stable=True)", TIES),
    ("a.to(m.bfloat16).sort(0)", X), ("a.half().argsort(1)", X), ("m.msort(a)", X),
    ("a.t().sort(0)", X), ("a[:, ::2].topk(2)", X), ("a.to(m.bfloat16).topk(2, 0)", X),
    ("a.detach().topk(4).values", SPECIAL), ("a.detach().topk(5, largest=False).values", SPECIAL),
    ("a.topk(3, sorted=False).values.sort().values", X), ("a.topk(0)", X), ("a.topk(5)", X),
    ("a.detach().kthvalue(6).values", SPECIAL), ("a.kthvalue(2, 0, keepdim=True)", X),
    *[(f"m.unique(a.detach(), return_inverse=True, return_counts=True, dim={d})", x)
      for x, d in ((SPECIAL, None), (TIES, None), (TIES, 0), (TIES.astype(np.int64), 1),
                   (TIES > 1, 1), (TIES > 1, None), (np.zeros((0, 3)), None))],
    *[(f"m.unique_consecutive(a.detach(), True, True, dim={d})", x)
      for x, d in ((SPECIAL, None), (TIES, None), (TIES[[1, 1, 0, 1]], 0))],
    ("a.int().unique()", TIES), ("a.detach().unique(return_counts=True)", TIES),
]  # fmt: skip
SEARCHES: list[tuple[Any, ...]] = [
    *[(f"m.searchsorted(a, b, right={r})", s, v) for r in (True, False)
      for s, v in ((EDGES, SPECIAL), (EDGES, X), (GRID, GRID[:, ::-1].copy()), (EDGES[:0], X),
                   (np.array([[1, 2, 2.5], [0, INF, INF]]), np.array([[NAN, 2], [INF, -1]])))],
    ("m.searchsorted(a[[2, 0, 3, 1]], b, sorter=m.tensor([1, 3, 0, 2]), side='right')", EDGES, X),
    ("m.searchsorted(a, 0.5, out_int32=True)", EDGES), ("m.bucketize(b, a)", EDGES, X),
    ("m.bucketize(b, a, right=True, out_int32=True)", EDGES, TIES), ("m.bucketize(2, a)", EDGES),
    ("m.isin(a, b)", TIES, EDGES), ("m.isin(a, b, invert=True)", SPECIAL, SPECIAL[:4]),
    ("m.isin(a, 3)", COUNTS), ("m.isin(a, b[:0])", X, X), ("m.isin(a[0, 0], a)", X),
]  # fmt: skip
COUNTED: list[tuple[Any, ...]] = [
    ("m.bincount(a)", COUNTS), ("a.bincount(minlength=10)", COUNTS), ("m.bincount(a[:0])", COUNTS),
    ("m.bincount(a, a)", COUNTS), ("m.bincount(a, b[0].detach().float())", COUNTS, X.copy()),
    ("m.bincount(a.to(m.uint8), b[0].detach(), 2)", COUNTS, X),
    *[(f"m.histc(a.detach(), {args})", x)
      for x, args in ((X, "4"), (X, "bins=7, min=-1, max=0.5"), (TIES, "4"), (TIES * 0 + 2, "4"),
                      (SPECIAL, "3, 0, 1"), (X[:0], "4"))],
    *[(f"m.histogram(a.detach(), {args})", x)
      for x, args in ((X, "4"), (X, "7, range=(-1., 0.5)"), (TIES, "m.tensor([0., 2, 3]).double()"),
                      (TIES, "6, density=True"), (SPECIAL, "3, range=(0., 1.)"),
                      (X, "5, weight=a.detach() + 3"))],
]  # fmt: skip
CASES = SCATTERS + ROWWISE + MASKS + EMBEDDINGS + SORTED + SEARCHES + COUNTED


def outcome(m: Any, from_numpy: Any, expression: str, arrays: tuple[Any, ...], grad: Any) -> Any:
    """(outputs, gradients) as NumPy arrays."""
    tensors = {n: from_numpy(x.copy()) for n, x in zip("abc", arrays, strict=False)}
    leaves = [t for t in tensors.values() if t.is_floating_point()]
    for t in leaves:
        t.requires_grad_()
    found = eval(expression, {"m": m, **tensors})
    outs = list(found) if isinstance(found, tuple) else [found]
    roots = [o for o in outs if o.requires_grad]
    weights = [from_numpy(np.asarray(np.arange(1.0, 1 + o.numel()).reshape(tuple(o.shape)) % 7))
               .to(o.dtype) for o in roots]  # fmt: skip
    gs = grad(roots, leaves, weights, allow_unused=True) if roots else []
    both = ((o.detach(), str(o.dtype).split(".")[1]) for o in outs)
    return ([(o.double().numpy(), name) for o, name in both],
            [None if g is None else g.numpy() for g in gs])  # fmt: skip


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:(index_reduce|The reduce argument)")
@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_a_case_is_pytorchs(case: tuple[Any, ...]) -> None:
    """Values, dtypes, shapes and gradients."""
    import torch

    expression, *arrays = case
    ours = outcome(gpugrad, gpugrad.from_numpy, expression, tuple(arrays), gpugrad.autograd.grad)
    theirs = outcome(torch, torch.from_numpy, expression, tuple(arrays), torch.autograd.grad)
    assert len(ours[0]) == len(theirs[0])
    for (x, a), (y, b) in zip(*(side[0] for side in (ours, theirs)), strict=True):
        assert (a, x.shape) == (b, y.shape)
        np.testing.assert_allclose(x, y, rtol=1e-6 if a == "float32" else 1e-12)
    assert len(ours[1]) == len(theirs[1])
    for x, y in zip(ours[1], theirs[1], strict=True):
        x, y = (np.zeros(()) if g is None else g for g in (x, y))
        np.testing.assert_allclose(x, y, rtol=1e-12)


# ---- what PyTorch leaves open or does not do ----------------------------------------------------


@pytest.mark.parametrize("name", ["scatter", "scatter_add"])
def test_a_src_larger_than_the_index_gets_zeros_beyond_it(name: str) -> None:
    """PyTorch has no gradient for it."""
    a, c = (gpugrad.from_numpy(x).requires_grad_() for x in (X.copy(), X.copy()))
    index = gpugrad.from_numpy(INDEX[:1, :3].copy())
    (getattr(a, name)(0, index, c) * gpugrad.from_numpy(X)).sum().backward()
    expected = np.zeros_like(X)
    expected[0, :3] = X[INDEX[0, :3], np.arange(3)]
    np.testing.assert_array_equal(c.grad.numpy(), expected)


def test_an_input_left_out_of_the_extremum_takes_no_share_of_its_gradient() -> None:
    """The input equals the extremum here, but is not included; PyTorch counts it all the same."""
    a, c = (gpugrad.from_numpy(np.full(n, 2.0)).requires_grad_() for n in (3, 2))
    index = gpugrad.from_numpy(np.zeros(2, np.int64))
    a.scatter_reduce(0, index, c, "amax", include_self=False).sum().backward()
    assert c.grad.tolist() == [0.5, 0.5]
    assert a.grad.tolist() == [0, 1, 1]


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum])
@pytest.mark.parametrize("width", [1, 3, 600])
def test_rows_are_combined_as_numpy_does(ufunc: Any, width: int) -> None:
    """Whichever way the width and the count choose; the kernels' are in test_hand_kernels.py."""
    for n, size in ((0, 3), (1, 1), (50, 4), (50, 200), (33, 1)):
        places = RNG.integers(0, size, n)
        values = RNG.standard_normal((n, width))
        one, two = np.ones((size, width)), np.ones((size, width))
        combine(np, ufunc, one, places, values)
        ufunc.at(two, places, values)
        np.testing.assert_allclose(one, two, rtol=1e-12)


def test_16_bit_sums_are_made_in_float32() -> None:
    """1000 times 0.1 added in float16 would stop growing at 128."""
    for dtype in (gpugrad.float16, gpugrad.bfloat16):
        x = gpugrad.from_numpy(np.zeros((1, 2))).to(dtype).requires_grad_()
        ones = gpugrad.from_numpy(np.full((4000, 2), 0.1)).to(dtype)
        index = gpugrad.from_numpy(np.zeros((4000, 2), np.int64))
        total = float(ones[0, 0]) * 4000
        added = x.scatter_add(0, index, ones)
        assert added.dtype is dtype
        np.testing.assert_allclose(added.detach().double().numpy(), total, rtol=4e-3)
        (x[index[:, 0]] * ones).sum().backward()
        np.testing.assert_allclose(x.grad.double().numpy(), total, rtol=4e-3)


REFUSED: list[tuple[str, type[Exception], str]] = [
    ("a.gather(0, b[:, 0])", errors.ShapeError, r"\(3,\).*\(4, 5\)"),
    ("a.gather(0, a)", errors.DTypeError, "int64 or int32, got float64"),
    ("a.gather(2, b)", errors.DimError, "dim 2.*2 dimensions"),
    ("a[:2].gather(1, b)", errors.ShapeError, r"\(3, 5\).*\(2, 5\)"),
    ("a.scatter(0, b, a[:2])", errors.ShapeError, r"\(3, 5\).*\(2, 5\)"),
    ("a.scatter(0, b, a.float())", errors.DTypeError, "float32.*float64"),
    ("a.scatter(0, b)", errors.ArgumentError, "src.*value"),
    ("a.scatter_reduce(0, b, a, 'max')", errors.SettingError, "'amax'.*'max'"),
    ("a.index_select(0, b)", errors.IndexingError, r"one dim.*\(3, 5\)"),
    ("a.index_add(0, b[0], a)", errors.ShapeError, r"\(4, 5\).*5 indices.*\(5, 5\)"),
    ("a.index_fill(0, b[0], a)", errors.ShapeError, r"0-d.*\(4, 5\)"),
    ("a.put(b, a)", errors.ShapeError, "15.*20"),
    ("a.masked_fill(b, 1)", errors.DTypeError, "bool, got int64"),
    ("a.half().masked_fill(a > 0, 1e9)", errors.SettingError, "float16"),
    ("a.masked_scatter(a < 9, a[0])", errors.ShapeError, "20.*5"),
    ("a.topk(6)", errors.SettingError, "6.*size 5.*0 to 5"),
    ("a.kthvalue(0)", errors.SettingError, "0.*size 5.*1 to 5"),
    ("m.searchsorted(a, b)", errors.ShapeError, r"\(4, 5\).*\(3, 5\)"),
    ("m.bucketize(a, a)", errors.ShapeError, r"one dim.*\(4, 5\)"),
    ("m.bincount(b)", errors.DTypeError, "1-d int.*2 dims"),
    ("m.bincount(b[0] - 1)", errors.SettingError, "negative, got -1"),
    ("m.histc(a, 0)", errors.SettingError, "positive, got 0"),
    ("m.nn.functional.embedding(b, a, sparse=True)", errors.NotSupportedError, "sparse"),
    ("m.nn.functional.embedding(b + 9, a)", errors.IndexingError, "embedding: index .*0 to 3"),
    ("m.nn.functional.embedding(b, a, 4)", errors.SettingError, "4.*4 rows"),
    (f"{BAG}(b[0], a)", errors.ShapeError, r"\(5,\).*offsets"),
    (f"{BAG}(b[0], a, m.tensor([1]))", errors.SettingError, "begin with 0"),
    ("m.unravel_index(b[0], (1, 2))", errors.IndexingError, "0 to 1"),
]


@pytest.mark.parametrize(("expression", "kind", "words"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_does_not_fit_is_refused(expression: str, kind: type[Exception], words: str) -> None:
    """One clear error of the right class that shows both sides."""
    a, b = gpugrad.from_numpy(X.copy()), gpugrad.from_numpy(INDEX.copy())
    with pytest.raises(kind, match=words) as caught:
        eval(expression, {"m": gpugrad, "a": a, "b": b})
    assert type(caught.value) is kind


SMALL = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("gather", (0, np.array([[3, 0, 0]]))),
        ("gather", (0, np.array([[-1, 0, 0]]))),
        ("index_select", (0, np.array([2]))),
        ("index_select", (1, np.array([-1]))),
        ("index_add", (0, np.array([2]), np.zeros((1, 3), np.float32))),
        ("take", (np.array([6]),)),
        ("scatter", (1, np.array([[3]]), 1.0)),
        ("scatter_add", (1, np.array([[3]]), np.zeros((1, 1), np.float32))),
        ("scatter_reduce", (1, np.array([[3]]), np.zeros((1, 1), np.float32), "prod")),
    ],
)
def test_out_of_range_is_an_indexing_error_that_names_op_dim_and_size(
    name: str, args: tuple[Any, ...]
) -> None:
    """As PyTorch, only ``x[...]``, take, put and index_fill count negative indices from the end."""
    given = [gpugrad.from_numpy(a) if isinstance(a, np.ndarray) else a for a in args]
    words = rf"{name}: index .* out of range for dim .* size"
    with pytest.raises(errors.IndexingError, match=words):
        getattr(gpugrad.from_numpy(SMALL.copy()), name)(*given)
