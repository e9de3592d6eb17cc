"""Views, in-place writes and the tape together: what a program gives is what PyTorch gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpugrad
from gpugrad.errors import AutogradError, ShapeError, ViewError

# ---- programs that run with either library -----------------------------------------------------
# A program takes the library and a float64 leaf of shape (4, 6) and returns tensors; their values
# and the gradient of a fixed weighted sum of them are compared.


def write_through_select(lib, x):
    y = x * 2
    y[1] = y[0] * 3
    return y


def write_through_a_chain(lib, x):
    y = x * 2
    y.transpose(0, 1)[1:3].select(1, 2).mul_(x[0, 0])
    return y


def view_before_the_write(lib, x):
    y = x * 2
    row, block = y[1], y.view(2, 12)
    y[1] = x[2]
    return row * y[0], block.sum(1), y


def view_after_the_write(lib, x):
    y = x * 2
    y[1:3].mul_(x[:2])
    return y[2] * y[3], y.t()


def two_writes_to_one_region(lib, x):
    y = x.clone()
    y[0].add_(x[1])
    y[0, 1:3].mul_(5)
    y[:, 1].zero_()
    return y


def base_written_under_views_of_views(lib, x):
    y = x + 1
    a = y[1:]
    b = a.t()
    c = b[2:4]
    y.mul_(x)
    a.mul_(2)
    return a, b, c, y


def write_to_one_view_seen_in_another(lib, x):
    y = x + 1
    left, right = y[:, :4], y[:, 2:]
    left.mul_(right.sum())
    return left, right


def copy_into_a_view(lib, x):
    y = lib.zeros(4, 6, dtype=lib.float64)
    y[1:3].copy_(x[0])
    y[3] = x[1, 0]
    return y


def history_begins_with_a_write(lib, x):
    y = lib.zeros(4, 6, dtype=lib.float64)
    view = y[1]
    y.add_(x)
    return view * 2, y


def fill_with_a_tensor(lib, x):
    y = x * 1
    y[:, 0].fill_(x[2, 2])
    return y


def diagonal_written(lib, x):
    y = x * 1
    y.diagonal().mul_(x[:, 5])
    y.diagonal(1).fill_(3)
    return y


def windows_read(lib, x):
    return x.unfold(1, 3, 2), x.unfold(0, 2, 1).sum(-1)


def strided_read(lib, x):
    y = x * 2
    return y.as_strided((3, 3), (1, 2), 4), y[1:].as_strided((2, 2), (6, 1))


def strided_written(lib, x):
    y = x * 2
    y.as_strided((2, 3), (6, 2), 1).mul_(x[:2, :3])
    return y


def split_pieces_read(lib, x):
    a, b = (x * 2).split([1, 3])
    c, d, e = x.chunk(3, 1)
    return a * b, c * d * e


def expanded_read(lib, x):
    y = x[:, :1] * 1
    wide = y.expand(4, 3)
    y.mul_(2)
    return wide, y


def unit_expand_written(lib, x):
    y = x * 1
    y.expand(1, 4, 6)[0, 2].mul_(3)
    return y


def detached_write_is_seen(lib, x):
    y = x.detach().clone()
    y.detach()[0] = 7
    return y * x


def written_without_recording(lib, x):
    y = x * 1
    with lib.no_grad():
        y.view(-1)[3] = 5
    return y + 1


def reshape_that_copies(lib, x):
    y = x * 1
    z = y.t().reshape(4, 6)
    z.mul_(2)
    return y, z


def squeezed_and_unsqueezed(lib, x):
    y = x * 1
    y.unsqueeze(1).squeeze(1).unsqueeze(-1)[2].mul_(4)
    return y.flatten().unflatten(0, (2, -1)), y.movedim(0, 1)


def masked_after_view(lib, x):
    y = x * 1
    v = y[::2]
    v[v > 0] = 0
    return y


def in_place_operators(lib, x):
    y = x * 1
    y[0] += x[1]
    y[:, 1] *= 2
    y[2:] -= 1
    return y


def scattered_copies(lib, x):
    a = x.slice_scatter(x[:2] * 2, 0, 0, 4, 2)
    b = x.select_scatter(x[:, 1] * 3, 1, -1)
    return a, b, x.diagonal_scatter(x[:, 0], 1)


def becomes_a_view(lib, x):
    y = x * 1
    row = y[1]
    y.t_()
    y[0].mul_(x[:, 1])
    y.unsqueeze_(0).squeeze_(0)
    row.add_(x[0])
    column = (x * 3)[:, 2:3]
    column.squeeze_(1).mul_(2)
    return y, row, column


def narrowed_and_selected(lib, x):
    y = x * 1
    y.narrow(1, 2, 3).select(0, 1).mul_(3)
    y.chunk(2)[1].detach()
    return y.select(0, 1), y.narrow(0, -2, 2), y.unbind(1)[2] * y.hsplit(2)[0][:, 0]


def padded_and_tiled(lib, x):
    pad = lib.nn.functional.pad
    return (pad(x, (1, -2, 0, 3), value=2.0), pad(x[None], (2, 3), mode="reflect"), x.tile(2, 1, 3),
            pad(x[None], (1, 2), mode="circular"), x.roll((1, -2), (0, 1)), x.rot90(3))  # fmt: skip


PROGRAMS = [
    write_through_select, write_through_a_chain, view_before_the_write, view_after_the_write,
    two_writes_to_one_region, base_written_under_views_of_views, write_to_one_view_seen_in_another,
    copy_into_a_view, history_begins_with_a_write, fill_with_a_tensor, diagonal_written,
    windows_read, strided_read, strided_written, split_pieces_read, expanded_read,
    unit_expand_written, detached_write_is_seen, written_without_recording, reshape_that_copies,
    squeezed_and_unsqueezed, masked_after_view, in_place_operators, scattered_copies,
    becomes_a_view, narrowed_and_selected, padded_and_tiled,
]  # fmt: skip


def _outcome(lib, program):
    """Values, first gradient, and the gradient of the first gradient's weighted sum."""
    data = np.random.default_rng(0).uniform(-2, 2, (4, 6))
    x = lib.tensor(data, requires_grad=True)
    outs = program(lib, x)
    outs = outs if isinstance(outs, tuple) else (outs,)
    total = 0
    for i, out in enumerate(outs):
        weights = lib.arange(out.numel(), dtype=lib.float64).reshape(out.shape) * 0.1 + i + 1
        total = total + (out * out * weights).sum()
    (first,) = _grad(lib, total, x)
    (second,) = _grad(lib, (first * first).sum(), x)
    return [np.array(t.detach().numpy()) for t in (*outs, first, second)]


def _grad(lib, root, x):
    return lib.autograd.grad(root, (x,), create_graph=True)


@pytest.mark.torch
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs_as_in_pytorch(program):
    import torch

    for found, wanted in zip(_outcome(gpugrad, program), _outcome(torch, program), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


# ---- random chains of views --------------------------------------------------------------------

STEPS = ["row", "half", "t", "flat", "new", "diag", "chunk", "every", "narrow"]


def _step(view, step):
    if step == "row" and view.ndim > 1:
        return view.select(0, view.shape[0] - 1)
    if step == "half" and view.ndim:
        return view[: (view.shape[0] + 1) // 2]
    if step == "t" and view.ndim > 1:
        return view.transpose(0, -1)
    if step == "flat" and view.is_contiguous():
        return view.view(-1)
    if step == "new" and view.ndim < 5:
        return view.unsqueeze(-1)
    if step == "diag" and view.ndim > 1:
        return view.diagonal(0, 0, -1)
    if step == "chunk" and view.ndim:
        return view.chunk(2, 0)[-1]
    if step == "every" and view.ndim:
        return view[..., ::2]
    if step == "narrow" and view.ndim and view.shape[-1] > 1:
        return view.narrow(-1, 1, view.shape[-1] - 1)
    return view


def _random_program(steps, when, scale):
    def program(lib, x):
        y = x * 1
        view, seen = y, []
        for i, step in enumerate(steps):
            view = _step(view, step)
            seen.append(view)
            if i in when and "chunk" not in steps[: i + 1]:  # PyTorch writes to no chunk
                view.mul_(scale + i)
                view.add_(x[0, 0])
        return (y, *seen)

    return program


@pytest.mark.torch
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6), st.sets(st.integers(0, 5)))
def test_random_chains_as_in_pytorch(steps, when):
    import torch

    program = _random_program(steps, when, 1.5)
    for found, wanted in zip(_outcome(gpugrad, program), _outcome(torch, program), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


# ---- memory, versions --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda x: x[1], lambda x: x.t(), lambda x: x.view(6, 4), lambda x: x.expand(2, 4, 6),
    lambda x: x.unfold(0, 2, 1), lambda x: x.split(2)[1], lambda x: x.unbind(1)[3],
    lambda x: x.diagonal(), lambda x: x.squeeze(), lambda x: x[None], lambda x: x.detach(),
    lambda x: x.as_strided((2,), (3,)), lambda x: x.T, lambda x: x.mT, lambda x: x.movedim(0, 1),
])  # fmt: skip
def test_views_share_memory_and_version(make):
    x = gpugrad.zeros(4, 6)
    view = make(x)
    x.fill_(3)
    assert bool((view == 3).all())
    assert view._version == x._version == 1
    assert view.data_ptr() >= x.data_ptr()


@pytest.mark.parametrize("make", [
    lambda x: x.flip(0), lambda x: x.clone(), lambda x: x.t().reshape(24), lambda x: x.repeat(1, 1),
    lambda x: x.roll(1), lambda x: x.tile(1), lambda x: x.t().contiguous(), lambda x: x.diag(),
    lambda x: gpugrad.cat([x]), lambda x: x.repeat_interleave(1),
])  # fmt: skip
def test_copies_do_not(make):
    x = gpugrad.zeros(4, 6)
    copy = make(x)
    x.fill_(3)
    assert bool((copy == 0).all())
    assert copy._version == 0


def test_base_is_the_tensor_that_owns_the_memory():
    x = gpugrad.zeros(4, 6)
    assert x._base is None
    assert x[1:].t()[0]._base is x
    assert x.clone()._base is None


def test_stale_saved_values_are_refused():
    x = gpugrad.ones(3, requires_grad=True)
    y = x * 1
    z = y * y
    y[0] = 2
    with pytest.raises(AutogradError, match=r"mul needs its 'input'.*test_views.py"):
        z.sum().backward()


def test_pieces_of_a_split_can_be_written():
    """PyTorch refuses this while recording; here it means what a write to a slice means."""
    x = gpugrad.arange(6.0, requires_grad=True)
    y = x * 1
    first, second = y.split(3)
    first.mul_(5)
    (y * y).sum().backward()
    assert x.grad.tolist() == [0, 50, 100, 6, 8, 10]
    assert first.grad_fn is not None
    assert second.tolist() == [3, 4, 5]


def test_a_write_keeps_what_the_gradient_reads():
    x = gpugrad.tensor([2.0, 3.0], dtype=gpugrad.float64, requires_grad=True)
    y = x * 1
    y.mul_(x)  # reads the old y
    y.pow_(2)
    y.sum().backward()
    assert x.grad.tolist() == [4 * 8, 4 * 27]


# ---- refusals ----------------------------------------------------------------------------------


def test_expanded_memory_is_not_written():
    x = gpugrad.zeros(3, 1)
    with pytest.raises(ViewError, match="expanded"):
        x.expand(3, 4).add_(1)
    with pytest.raises(ViewError, match="expanded"):
        x.expand(3, 4).copy_(gpugrad.ones(3, 4))


def test_partial_overlap_is_refused():
    x = gpugrad.arange(6.0)
    with pytest.raises(ViewError, match="share some but not all"):
        x[1:].copy_(x[:-1])
    with pytest.raises(ViewError, match="share some but not all"):
        x[1:].add_(x[:-1])
    assert x.tolist() == [0, 1, 2, 3, 4, 5]


def test_leaves_are_not_written_while_recording():
    x = gpugrad.ones(3, requires_grad=True)
    for write in (lambda: x.zero_(), lambda: x[0].fill_(1), lambda: x.copy_(gpugrad.ones(3))):
        with pytest.raises(AutogradError, match="leaf"):
            write()
    with gpugrad.no_grad():
        x.zero_()
    assert x.tolist() == [0, 0, 0]


def test_view_says_when_a_layout_has_none():
    x = gpugrad.zeros(4, 6)
    with pytest.raises(ViewError, match="reshape"):
        x.t().view(24)
    with pytest.raises(ShapeError, match="24"):
        x.view(5, 5)


def test_view_as_another_dtype():
    x = gpugrad.tensor([1.0, 2.0])
    bits = x.view(gpugrad.int32)
    bits[0] = 0
    assert x.tolist() == [0.0, 2.0]
    assert x.view(gpugrad.uint8).shape == (8,)
    with pytest.raises(ViewError, match="8 bytes"):
        gpugrad.zeros(3).view(gpugrad.float64)


def test_as_strided_stays_within_its_memory():
    x = gpugrad.zeros(4, 6)
    with pytest.raises(ShapeError, match="block of 96 bytes"):
        x.as_strided((5, 6), (6, 1))
    assert x[2:].storage_offset() == 12
    assert x[2:].as_strided((4, 6), (6, 1), 0).shape == (4, 6)
