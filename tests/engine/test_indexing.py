"""Index expressions, read and written, against PyTorch; what is a view, and what is an error."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpugrad
from gpugrad import errors
from gpugrad.autograd import grad

# ---- index expressions ------------------------------------------------------------------------


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Shapes of up to four dims, some of them empty."""
    return tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 3, 2, 0]), max_size=4)))


@st.composite
def slices(draw: st.DrawFn, size: int) -> slice:
    """Slices with ends inside and outside of a dim."""
    end = st.none() | st.integers(-size - 2, size + 2)
    return slice(draw(end), draw(end), draw(st.none() | st.integers(1, 3)))


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Valid index expressions; index arrays are NumPy arrays, to be dressed by ``dress``."""
    joint = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
    lone_mask = draw(st.booleans())
    items: list[Any] = []
    dim = 0
    stop = draw(st.integers(0, len(shape)))
    while dim < len(shape):
        if dim == stop and draw(st.booleans()):
            rest = draw(st.integers(0, len(shape) - dim))
            items.append(Ellipsis)
            stop = -1
            dim += rest
            if dim == len(shape):
                break
        size = shape[dim]
        kind = draw(st.sampled_from(["int", "slice", "slice", "array", "mask", "none", "flag"]))
        if kind == "none":
            items.append(None)
        elif kind == "flag" and not lone_mask and joint != (0, 0, 0):
            items.append(draw(st.booleans()) if joint[-1:] == (0,) else True)
        elif kind == "mask" and lone_mask:
            take = draw(st.integers(1, min(2, len(shape) - dim)))
            bits = draw(st.integers(0, 2**16))
            seed = np.random.default_rng(bits)
            items.append(seed.random(shape[dim : dim + take]) < 0.5)
            dim += take
            lone_mask = False
            joint = (0, 0, 0)  # no other index array beside a mask of any count
        elif kind == "array" and not lone_mask and joint != (0, 0, 0) and (size or 0 in joint):
            sub = tuple(n if draw(st.booleans()) else 1 for n in joint)[draw(st.integers(0, 1)) :]
            if 0 not in sub and not size:
                sub = joint
            seed = np.random.default_rng(draw(st.integers(0, 2**16)))
            items.append(seed.integers(-size, max(size, 1 - size), sub))
            dim += 1
        elif kind == "int" and size:
            items.append(draw(st.integers(-size, size - 1)))
            dim += 1
        else:
            items.append(draw(slices(size)))
            dim += 1
    if Ellipsis not in [i for i in items if not isinstance(i, np.ndarray)] and draw(st.booleans()):
        while items and isinstance(items[-1], slice):
            items.pop()
    return tuple(items)


def dress(key: tuple[Any, ...], tensor: Any, form: str) -> Any:
    """The key with its index arrays as tensors, arrays or lists."""

    def one(item: Any) -> Any:
        if not isinstance(item, np.ndarray):
            return item
        if form == "tensor" or not item.size:  # an empty list has lost its shape and dtype
            return tensor(item)
        return item if form == "array" else item.tolist()

    return tuple(one(i) for i in key)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    """(shape, key, form of index arrays, seed)."""
    shape = draw(shapes())
    form = draw(st.sampled_from(["tensor", "array", "list"]))
    return shape, draw(keys(shape)), form, draw(st.integers(0, 99))


def both(array: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """A leaf of gpugrad and one of PyTorch with the same values."""
    import torch

    ours = gpugrad.from_numpy(array.copy()).requires_grad_()
    return ours, torch.from_numpy(array.copy()).requires_grad_()


def same(ours: Any, theirs: Any) -> None:
    """Equal shape and values, of results or gradients."""
    assert (ours is None) == (theirs is None)
    if ours is not None:
        assert tuple(ours.shape) == tuple(theirs.shape)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.torch
@given(cases())
def test_reading_is_pytorchs(case: tuple[Any, ...]) -> None:
    """Value, whether it is a view, and the first and second gradient of ``x[key]``."""
    import torch

    shape, key, form, seed = case
    rng = np.random.default_rng(seed)
    x, tx = both(rng.standard_normal(shape))
    y = x[dress(key, gpugrad.from_numpy, form)]
    ty = tx[dress(key, torch.from_numpy, "tensor")]  # it miscounts the dims of a mask in NumPy
    same(y, ty)
    assert (y._base is x) == (ty._base is tx)
    weight = rng.standard_normal(tuple(y.shape))
    loss = (y * y * y * gpugrad.from_numpy(weight)).sum()
    tloss = (ty * ty * ty * torch.from_numpy(weight)).sum()
    (g,) = grad(loss, [x], create_graph=True)
    (tg,) = torch.autograd.grad(tloss, [tx], create_graph=True)
    same(g, tg)
    same(grad((g * g).sum(), [x])[0], torch.autograd.grad((tg * tg).sum(), [tx])[0])


@pytest.mark.torch
@given(cases(), st.sampled_from(["whole", "row", "zero-d", "number", "ones"]))
def test_writing_is_pytorchs(case: tuple[Any, ...], kind: str) -> None:
    """``base[key] = value``: what base holds, and the gradients of what was there and of value."""
    import torch

    shape, key, form, seed = case
    rng = np.random.default_rng(seed)
    x, tx = both(rng.standard_normal(shape))
    base, tbase = x * 1, tx * 1
    ours = dress(key, gpugrad.from_numpy, form)
    theirs = dress(key, torch.from_numpy, "tensor")
    part = tuple(tbase[theirs].shape)
    size = {"whole": part, "row": part[1:], "ones": (1, 1, *part)}.get(kind, ())
    value, tvalue = both(rng.standard_normal(size))
    base[ours] = 2.5 if kind == "number" else value
    tbase[theirs] = 2.5 if kind == "number" else tvalue
    same(base, tbase)
    weight = rng.standard_normal(shape)
    (base * base * gpugrad.from_numpy(weight)).sum().backward()
    (tbase * tbase * torch.from_numpy(weight)).sum().backward()
    same(x.grad, tx.grad)
    if kind != "number":
        same(value.grad, tvalue.grad)


@pytest.mark.torch
@given(cases(), st.integers(0, 5), st.sampled_from([7, -9, None, "mask"]))
def test_refused_where_pytorch_refuses(case: tuple[Any, ...], at: int, wrong: Any) -> None:
    """An index out of range, one too many, or a mask too long is an IndexError in both."""
    import torch

    shape, key, _, _ = case
    bad = np.ones(9, bool) if wrong == "mask" else wrong
    if wrong is None:
        key = (*key, *[slice(None)] * (len(shape) + 1))
    else:
        key = (*key[:at], bad, *key[at:])
    x = gpugrad.from_numpy(np.zeros(shape))
    try:
        torch.zeros(shape)[dress(key, torch.from_numpy, "tensor")]
    except IndexError:
        with pytest.raises(errors.IndexingError):
            x[dress(key, gpugrad.from_numpy, "tensor")]


# ---- views and copies -------------------------------------------------------------------------


def test_a_basic_index_is_a_view_and_an_index_tensor_copies() -> None:
    """A write through a view is seen by the base; a copy is on its own."""
    x = gpugrad.from_numpy(np.zeros((3, 4)))
    x[1][2] = 5
    x[:, 1:3][0] = 7
    x[..., None, 0][2] = 9
    x[[0, 1]][0] = 1
    x[gpugrad.from_numpy(np.ones((3, 4), bool))][0] = 1
    assert x.tolist() == [[0, 7, 7, 0], [0, 0, 5, 0], [9, 0, 0, 0]]
    assert x[0, 1]._base is x
    assert x[gpugrad.from_numpy(np.array(1))]._base is x  # a 0-d tensor is an int
    assert x[[1]]._base is None
    assert x._version == 3


def test_a_mixed_index_writes_through_its_view() -> None:
    """The basic part is a view, the index tensor writes into it."""
    x = gpugrad.from_numpy(np.zeros((2, 3, 4)))
    x[1, :, [0, 3]] = 1
    expected = np.zeros((2, 3, 4))
    expected[1][:, [0, 3]] = 1
    np.testing.assert_array_equal(x.numpy(), expected)


def test_a_written_part_gives_no_gradient_to_what_was_there() -> None:
    """History of ``base[key] = value``: zeros where it was overwritten, through every live view."""
    x = gpugrad.from_numpy(np.ones((3, 3))).requires_grad_()
    v = gpugrad.from_numpy(np.full(3, 2.0)).requires_grad_()
    base = x * 1
    row = base[1]
    base[:, 0] = v
    (row * row).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0, 0], [0, 2, 2], [0, 0, 0]])
    np.testing.assert_array_equal(v.grad.numpy(), [0, 4, 0])


def test_duplicates_add_up_in_the_same_order_every_time() -> None:
    """The gradient of an element that was read many times, and ``index_put`` with accumulate."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 5, 1000)
    weight = gpugrad.from_numpy(rng.standard_normal(1000).astype(np.float32))
    found = []
    for _ in range(2):
        x = gpugrad.from_numpy(np.zeros(5, np.float32)).requires_grad_()
        (x[places] * weight).sum().backward()
        index = (gpugrad.from_numpy(places),)
        put = x.detach().index_put(index, weight, accumulate=True)
        assert put.tolist() == x.grad.tolist()
        found.append(put.tolist())
    assert found[0] == found[1]


# ---- refusals ---------------------------------------------------------------------------------

X = np.zeros((2, 3), np.float32)

REFUSED: list[tuple[Any, type[Exception], tuple[str, ...]]] = [
    (2, errors.IndexingError, ("2", "dim 0", "size 2", "-2 to 1")),
    ((0, -4), errors.IndexingError, ("-4", "dim 1", "size 3", "-3 to 2")),
    ([0, 5], errors.IndexingError, ("5", "dim 0", "size 2", "-2 to 1")),
    ((0, 0, 0), errors.IndexingError, ("3 indices", "2 dims", "(2, 3)")),
    (np.ones((3, 2), bool), errors.IndexingError, ("(3, 2)", "(2, 3)")),
    (np.ones((2, 2), bool), errors.IndexingError, ("(2, 2)", "(2, 3)")),
    (([0, 1], [0, 1, 2]), errors.IndexingError, ("(2,)", "(3,)", "broadcast")),
    (slice(None, None, -1), errors.IndexingError, ("positive", "-1", "flip")),
    (slice(None, None, 0), errors.IndexingError, ("positive", "0")),
    (slice(0.5, 1), errors.ArgumentError, ("ints", "0.5")),
    (1.0, errors.IndexingError, ("float", "int, slice")),
    ("a", errors.IndexingError, ("str", "int, slice")),
    ((..., 0, ...), errors.IndexingError, ("once",)),
    (np.array([0.5]), errors.IndexingError, ("int or bool", "float64")),
    ([[0, 1], [0, 1]], errors.IndexingError, ("tuple(seq)",)),
]  # fmt: skip


@pytest.mark.parametrize(("key", "kind", "words"), REFUSED, ids=[str(r[0]) for r in REFUSED])
def test_a_bad_index_is_refused_when_read_and_when_written(
    key: Any, kind: type[Exception], words: tuple[str, ...]
) -> None:
    """One clear error that shows both sides, and nothing is written."""
    x = gpugrad.from_numpy(X.copy())
    for call in (lambda: x[key], lambda: operator.setitem(x, key, 1.0)):
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        for word in words:
            assert word in str(caught.value), str(caught.value)
    np.testing.assert_array_equal(x.numpy(), X)
    assert x._version == 0


def test_a_0d_tensor_has_nothing_to_index() -> None:
    """An int is refused; None, ... and bools are fine."""
    x = gpugrad.from_numpy(np.array(3.0))
    with pytest.raises(errors.IndexingError, match="0-d"):
        x[0]
    assert x[None].shape == x[True].shape == (1,)
    assert x[...].item() == 3


VALUES: list[tuple[Any, Any, type[Exception], tuple[str, ...]]] = [
    (0, np.zeros(2, np.float32), errors.ShapeError, ("(2,)", "(3,)")),
    ([0, 1], np.zeros((3, 3), np.float32), errors.ShapeError, ("(3, 3)", "(2, 3)")),
    ([0, 1], np.zeros(3, np.float64), errors.DTypeError, ("float64", "float32")),
    (np.ones((2, 3), bool), np.zeros(5, np.float32), errors.ShapeError, ("5", "6")),
]


@pytest.mark.parametrize(("key", "value", "kind", "words"), VALUES)
def test_a_value_that_does_not_fit_is_refused(
    key: Any, value: Any, kind: type[Exception], words: tuple[str, ...]
) -> None:
    """Both shapes, or both dtypes, are named."""
    x = gpugrad.from_numpy(X.copy())
    with pytest.raises(kind) as caught:
        x[key] = gpugrad.from_numpy(value)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    np.testing.assert_array_equal(x.numpy(), X)


def test_values_of_other_kinds_are_refused() -> None:
    """A list is no value, and a number must fit the dtype."""
    x = gpugrad.from_numpy(np.zeros(3, np.int8))
    with pytest.raises(errors.ArgumentError, match="list"):
        x[0] = [1]
    with pytest.raises(errors.SettingError, match=r"300.*int8.*-128 to 127"):
        x[0] = 300


def test_a_leaf_and_an_expanded_tensor_are_not_written() -> None:
    """Writing would lose a leaf's history, or hit one element of memory twice."""
    x = gpugrad.from_numpy(X.copy()).requires_grad_()
    with pytest.raises(errors.AutogradError, match="leaf"):
        x[0] = 1.0
    with pytest.raises(errors.AutogradError, match="leaf"):
        x[[0]] = 1.0
    with gpugrad.no_grad():
        x[[0]] = 1.0
    assert x.tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(errors.ViewError, match="expanded"):
        x.detach()[:1].expand(4, 3)[0] = 1.0
