"""Helpers around modules: clipping, vectors, sequences, parametrizations, fused weights.

Stories marked ``torch`` run on both libraries from the same numbers and must tell the same.
"""

from __future__ import annotations

import copy
import math
import pickle
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.errors import DeviceError, NotSupportedError, SettingError, ShapeError
from gpugrad.nn.utils import parametrizations, parametrize, rnn

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


def both(story: Any) -> None:
    """Run a story on gpugrad and on PyTorch and compare, numbers to 1e-6."""
    torch = pytest.importorskip("torch")
    same(story(gg), story(torch))


def same(ours: Any, theirs: Any) -> None:
    """Compare nested tensors, numbers and text."""
    if isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif hasattr(theirs, "tolist"):
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert str(ours.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2]
        assert np.allclose(ours.tolist(), theirs.tolist(), rtol=1e-6, atol=1e-6, equal_nan=True)
    else:
        assert ours == theirs


def numbers(lib: ModuleType, *shape: int, seed: int = 0) -> Any:
    """The same float64 numbers in either library."""
    return lib.tensor(np.random.default_rng(seed).standard_normal(shape).tolist(),
                      dtype=lib.float64)  # fmt: skip


def linear(lib: ModuleType, inp: int = 3, out: int = 4, seed: int = 1) -> Any:
    """A linear layer with the same weights in either library."""
    return set_all(lib, lib.nn.Linear(inp, out, dtype=lib.float64), seed)


def set_all(lib: ModuleType, module: Any, seed: int = 1) -> Any:
    """Give every parameter and float buffer known numbers."""
    with lib.no_grad():
        for i, t in enumerate([*module.parameters(), *module.buffers()]):
            if t.is_floating_point():
                t.copy_(numbers(lib, *t.shape, seed=seed + i).abs() + 0.1)
    return module


# ---- gradients ---------------------------------------------------------------------------------


def with_gradients(lib: ModuleType) -> Any:
    """Parameters with gradients, and one without."""
    params = [lib.nn.Parameter(numbers(lib, n, 2, seed=n)) for n in (1, 2, 3)]
    sum((p * p).sum() for p in params[:2]).backward()
    return params


@pytest.mark.torch
@pytest.mark.parametrize("norm_type", [1, 2.0, 3, math.inf, 0.5])
@pytest.mark.parametrize("max_norm", [0.3, 1e3])
def test_clip_grad_norm(norm_type: float, max_norm: float) -> None:
    """The norm before comes back; gradients are scaled only when it is too large."""

    def story(lib: ModuleType) -> Any:
        params = with_gradients(lib)
        total = lib.nn.utils.clip_grad_norm_(params, max_norm, norm_type)
        again = lib.nn.utils.get_total_norm([p.grad for p in params[:2]], norm_type)
        one = lib.nn.utils.clip_grad_norm_(params[0], 0.1, norm_type, foreach=False)
        return [total, again, one, [p.grad for p in params[:2]], params[2].grad]

    both(story)


@pytest.mark.torch
def test_clip_by_value_and_by_a_given_norm() -> None:
    """Element by element; and with the norm of somebody else."""

    def story(lib: ModuleType) -> Any:
        params = with_gradients(lib)
        lib.nn.utils.clip_grad_value_(params, 0.5)
        first = [p.grad.clone() for p in params[:2]]
        lib.nn.utils.clip_grads_with_norm_(params, 1.0, lib.tensor(2.0, dtype=lib.float64))
        return [first, [p.grad for p in params[:2]]]

    both(story)


def test_gradients_that_are_not_finite() -> None:
    """They raise where asked for, and spoil the others otherwise; a generator is enough."""
    params = with_gradients(gg)
    params[0].grad[0, 0] = math.nan
    with pytest.raises(SettingError, match="is nan"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert math.isnan(nn.utils.clip_grad_norm_((p for p in params), 1.0).item())
    assert params[1].grad.isnan().all()
    with pytest.warns(UserWarning, match="empty"):
        assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    with pytest.warns(FutureWarning, match="deprecated"):
        nn.utils.clip_grad_norm(params, 1.0)


@pytest.mark.torch
def test_parameters_as_one_vector() -> None:
    """There and back, differentiably on the way there."""

    def story(lib: ModuleType) -> Any:
        m = linear(lib)
        vector = lib.nn.utils.parameters_to_vector(m.parameters())
        (vector * vector).sum().backward()
        lib.nn.utils.vector_to_parameters(vector.detach() * 2, m.parameters())
        return [vector.detach(), m.weight.grad, m.weight.detach(), m.bias.detach()]

    both(story)


# ---- sequences ---------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [[4, 2, 1], [2, 4, 1], [3, 3, 3]])
def test_pack_and_pad(batch_first: bool, lengths: list[int]) -> None:
    """Packed data, sizes and indices; back again; and the gradient of both ways."""

    def story(lib: ModuleType) -> Any:
        r = lib.nn.utils.rnn
        x = numbers(lib, *((3, 4) if batch_first else (4, 3)), 2).requires_grad_()
        packed = r.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
        padded, sizes = r.pad_packed_sequence(packed, batch_first, -1.0, total_length=5)
        (padded * padded).sum().backward()
        detached = [t.detach() for t in packed]
        wide = packed.to(lib.float32).data
        return [detached, padded.detach(), sizes, x.grad, wide.detach(), packed.is_cuda]

    both(story)


@pytest.mark.torch
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_pack_and_unpack_sequences(side: str) -> None:
    """Lists of sequences to batches, and back to lists."""

    def story(lib: ModuleType) -> Any:
        r = lib.nn.utils.rnn
        given = [numbers(lib, n, 2, seed=n).requires_grad_() for n in (3, 1, 2)]
        padded = r.pad_sequence(given, True, 9.0, side)
        (padded * padded).sum().backward()
        packed = r.pack_sequence([g.detach() for g in given], enforce_sorted=False)
        lengths = lib.tensor([3, 1, 2])
        return [
            padded.detach(), given[1].grad, list(packed), r.unpack_sequence(packed),
            r.unpad_sequence(r.pad_sequence(given).detach(), lengths),
            r.pad_sequence([lib.tensor([1, 2]), lib.tensor([3])]),
        ]  # fmt: skip

    both(story)


def test_wrong_sequences_are_refused() -> None:
    """Lengths that do not fall, fit or count; sequences that differ elsewhere."""
    x = gg.ones(4, 2)
    with pytest.raises(SettingError, match=r"lengths must fall, got \[1, 4\]"):
        rnn.pack_padded_sequence(x, [1, 4])
    for lengths in ([5, 1], [4, 0], []):
        with pytest.raises((SettingError, ShapeError), match="lengths"):
            rnn.pack_padded_sequence(x, lengths)
    with pytest.raises(ShapeError, match="3 lengths for a batch of 2"):
        rnn.pack_padded_sequence(x, gg.tensor([4, 2, 1]))
    with pytest.raises(DeviceError, match="cpu"):
        rnn.pack_padded_sequence(x, gg.ones(2, device="meta"))
    with pytest.raises(ShapeError, match="differ behind the first dimension"):
        rnn.pad_sequence([gg.ones(2, 3), gg.ones(2, 4)])
    with pytest.raises(SettingError, match="'right' or 'left'"):
        rnn.pad_sequence([gg.ones(2)], padding_side="top")
    packed = rnn.pack_sequence([gg.ones(3), gg.ones(2)])
    with pytest.raises(SettingError, match="total_length is 2"):
        rnn.pad_packed_sequence(packed, total_length=2)


# ---- parametrizations --------------------------------------------------------------------------


class Double(nn.Module):
    """Twice the tensor."""

    def forward(self, x: Any) -> Any:
        return x * 2

    def right_inverse(self, y: Any) -> Any:
        """Half of it."""
        return y / 2


class Cut(nn.Module):
    """Lower triangle; without an inverse."""

    def forward(self, x: Any) -> Any:
        return x.tril()


def test_a_parametrized_weight_is_computed_where_it_is_read() -> None:
    """What is trained is ``original``; assignment goes through the inverse; removal restores."""
    m = nn.Linear(3, 3)
    before = m.weight.tolist()
    trained = m.weight
    assert parametrize.register_parametrization(m, "weight", Double()) is m
    assert parametrize.is_parametrized(m)
    assert parametrize.is_parametrized(m, "weight")
    assert not parametrize.is_parametrized(m, "bias")
    assert isinstance(m, nn.Linear)
    assert parametrize.type_before_parametrizations(m) is nn.Linear
    assert [n for n, _ in m.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert m.parametrizations.weight.original is trained
    assert m.weight.tolist() == before
    m(gg.ones(1, 3)).sum().backward()
    assert trained.grad.tolist() == [[2.0] * 3] * 3
    m.weight = gg.eye(3)
    assert trained.tolist() == (gg.eye(3) / 2).tolist()
    parametrize.register_parametrization(m, "weight", Cut())
    with gg.no_grad():
        trained.fill_(1)
    assert m.weight.tolist() == (2 * gg.ones(3, 3).tril()).tolist()
    with pytest.raises(NotSupportedError, match="Cut has no right_inverse"):
        m.weight = gg.eye(3)
    parametrize.remove_parametrizations(m, "weight")
    assert type(m) is nn.Linear
    assert m.weight is trained
    assert trained.tolist() == (2 * gg.ones(3, 3).tril()).tolist()


def test_leave_unparametrized_and_other_modules_are_left_alone() -> None:
    """The original's values may be kept; the class of other layers does not change."""
    m, other = nn.Linear(2, 2), nn.Linear(2, 2)
    parametrize.register_parametrization(m, "weight", Cut())
    assert isinstance(other.weight, nn.Parameter)
    original = m.parametrizations.weight.original.tolist()
    parametrize.remove_parametrizations(m, "weight", leave_parametrized=False)
    assert m.weight.tolist() == original


def test_cached_computes_once() -> None:
    """Inside the block, and anew after it."""
    m = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Double())
    with parametrize.cached():
        assert m.weight is m.weight
    assert m.weight is not m.weight


def test_copies_of_parametrized_modules() -> None:
    """``deepcopy`` gives an independent one; pickling is refused with advice."""
    m = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Double())
    twin = copy.deepcopy(m)
    with gg.no_grad():
        twin.parametrizations.weight.original.zero_()
    assert m.weight.abs().sum() > 0
    parametrize.remove_parametrizations(twin, "weight")
    assert parametrize.is_parametrized(m)
    assert m.weight.abs().sum() > 0
    with pytest.raises(NotSupportedError, match="state_dict"):
        pickle.dumps(m)


def test_bad_parametrizations_are_refused() -> None:
    """Unknown names, changed shapes and dtypes, removal of what is not there."""

    class Wide(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.double() if self.dtype else x[:1]

    m = nn.Linear(2, 2)
    with pytest.raises(SettingError, match="no parameter or buffer 'nobody'"):
        parametrize.register_parametrization(m, "nobody", Double())
    for dtype in (True, False):
        wide = Wide()
        wide.dtype = dtype
        with pytest.raises(SettingError, match="may not change the"):
            parametrize.register_parametrization(m, "weight", wide)
    with pytest.raises(SettingError, match="has none on 'weight'"):
        parametrize.remove_parametrizations(m, "weight")


@pytest.mark.torch
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_as_parametrization(dim: int | None) -> None:
    """Names, value, gradients, repr, assignment and removal; older state dicts load."""

    def story(lib: ModuleType) -> Any:
        m = lib.nn.utils.parametrizations.weight_norm(linear(lib), dim=dim)
        names = [n for n, _ in m.named_parameters()]
        (m(numbers(lib, 2, 3)) ** 2).sum().backward()
        grads = [p.grad for p in m.parameters()]
        value = m.weight.detach()
        m.weight = numbers(lib, 4, 3, seed=9)
        assigned = [m.weight.detach(), [p.detach() for p in m.parameters()]]
        old = lib.nn.utils.weight_norm(linear(lib, seed=5), dim=dim)
        m.load_state_dict(old.state_dict())
        loaded = m.weight.detach()
        text = repr(m)
        lib.nn.utils.parametrize.remove_parametrizations(m, "weight")
        return [names, grads, value, assigned, loaded, text, m.weight.detach()]

    both(story)


@pytest.mark.torch
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_by_hook(dim: int | None) -> None:
    """The older form: names, value, gradients, a changed length, and removal."""

    def story(lib: ModuleType) -> Any:
        m = lib.nn.utils.weight_norm(linear(lib), dim=dim)
        names = [n for n, _ in m.named_parameters()]
        with lib.no_grad():
            m.weight_g.mul_(3)
        (m(numbers(lib, 2, 3)) ** 2).sum().backward()
        told = [names, m.weight.detach(), [p.grad for p in m.parameters()]]
        lib.nn.utils.remove_weight_norm(m)
        return [*told, [n for n, _ in m.named_parameters()], m.weight.detach(), repr(m)]

    both(story)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["Linear", "Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("older", [True, False])
def test_spectral_norm(kind: str, older: bool) -> None:
    """From the same vectors: value and gradients of two steps, evaluation, and removal."""

    def story(lib: ModuleType) -> Any:
        size = (3, 4) if kind == "Linear" else (3, 4, 2)
        m = set_all(lib, getattr(lib.nn, kind)(*size, dtype=lib.float64))
        home = lib.nn.utils if older else lib.nn.utils.parametrizations
        home.spectral_norm(m)
        vectors = dict(m.named_buffers())
        with lib.no_grad():
            for i, v in enumerate(vectors.values()):
                v.copy_(lib.nn.functional.normalize(numbers(lib, *v.shape, seed=i), dim=0))
        x = numbers(lib, 2, 3) if kind == "Linear" else numbers(lib, 1, 3, 5, 5)
        first, second = m(x), m(2 * x)
        (first.sum() + (second**2).sum()).backward()
        grads = [p.grad for p in m.parameters()]
        m.eval()
        told = [list(vectors), list(vectors.values()), first.detach(), grads, m(x).detach()]
        if older:
            lib.nn.utils.remove_spectral_norm(m)
        else:
            lib.nn.utils.parametrize.remove_parametrizations(m, "weight")
        return [*told, m.weight.detach(), [n for n, _ in m.named_parameters()]]

    both(story)


def test_spectral_norm_is_one() -> None:
    """After its fifteen first steps the weight's largest singular value is nearly one."""
    m = parametrizations.spectral_norm(nn.Linear(20, 10))
    assert abs(gg.linalg.svdvals(m.weight.detach())[0].item() - 1) < 0.1
    vector = nn.ParameterDict({"w": gg.tensor([3.0, 4.0])})
    parametrizations.spectral_norm(vector, "w")
    assert [round(v, 6) for v in getattr(vector, "w").tolist()] == [0.6, 0.8]  # noqa: B009


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4)])
def test_orthogonal_from_the_same_numbers(kind: str, shape: tuple[int, int]) -> None:
    """Value and gradient are PyTorch's, and the value is orthogonal."""

    def story(lib: ModuleType) -> Any:
        m = linear(lib, shape[1], shape[0])
        lib.nn.utils.parametrizations.orthogonal(m, orthogonal_map=kind)
        original = m.parametrizations.weight.original
        n = max(shape)
        with lib.no_grad():
            m.parametrizations.weight[0].base = lib.eye(n, dtype=lib.float64).flip(0)
            noise = numbers(lib, *shape, seed=3) / 5
            original.add_(noise.tril(-1) + noise.triu(1))  # PyTorch needs a diagonal of -1
        w = m.weight
        (w * numbers(lib, *shape, seed=4)).sum().backward()
        gram = w @ w.mT if shape[0] < shape[1] else w.mT @ w
        assert (gram - lib.eye(min(shape), dtype=lib.float64)).abs().max() < 1e-9
        return [w.detach(), original.grad]

    both(story)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4)])
def test_orthogonal_starts_at_the_weight(shape: tuple[int, int]) -> None:
    """An orthogonal weight stays what it is; another is made orthogonal; so is an assigned one."""
    m = nn.Linear(shape[1], shape[0], dtype=gg.float64)
    nn.init.orthogonal_(m.weight)
    before = np.array(m.weight.tolist())
    parametrizations.orthogonal(m)
    assert np.allclose(m.weight.tolist(), before)
    m.weight = gg.randn(*shape, dtype=gg.float64)
    w = np.array(m.weight.tolist())
    gram = w @ w.T if shape[0] < shape[1] else w.T @ w
    assert np.allclose(gram, np.eye(min(shape)))
    with pytest.raises(ShapeError, match="cannot be set to one of"):
        m.weight = gg.ones(7, 7)


def test_orthogonal_without_trivialization() -> None:
    """From what the map makes of the weight; reflections cannot."""
    m = parametrizations.orthogonal(nn.Linear(3, 3), use_trivialization=False)
    assert np.allclose((m.weight @ m.weight.T).tolist(), np.eye(3), atol=1e-5)
    with pytest.raises(NotSupportedError, match="use_trivialization=True"):
        m.weight = gg.eye(3)
    with pytest.raises(NotSupportedError, match="householder without"):
        parametrizations.orthogonal(nn.Linear(2, 3), use_trivialization=False)
    with pytest.raises(SettingError, match="orthogonal_map is one of"):
        parametrizations.orthogonal(nn.Linear(2, 3), orthogonal_map="qr")


def test_norms_twice_or_nowhere_are_refused() -> None:
    """Two of the older kind on one weight, and removal where there is none."""
    for name in ("weight_norm", "spectral_norm"):
        add, remove = getattr(nn.utils, name), getattr(nn.utils, f"remove_{name}")
        m = nn.Linear(2, 2)
        with pytest.raises(SettingError, match="has none"):
            remove(m)
        add(m)
        with pytest.raises(SettingError, match="has one already"):
            add(m)
    with pytest.raises(SettingError, match="must be positive, got 0"):
        nn.utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    with pytest.raises(SettingError, match="dim is from 0 to 1 or None, got 2"):
        nn.utils.weight_norm(nn.Linear(2, 2), dim=2)


# ---- fused weights, skipped initial values -----------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_folded_into_a_convolution(bias: bool, affine: bool) -> None:
    """The fused layer does what both did, in PyTorch's numbers, and the first is unchanged."""

    def story(lib: ModuleType) -> Any:
        told: list[Any] = []
        for kind in ("Conv2d", "ConvTranspose2d"):
            make = getattr(lib.nn, kind)
            conv = set_all(lib, make(3, 4, 2, bias=bias, dtype=lib.float64)).eval()
            bn = lib.nn.BatchNorm2d(4, affine=affine, dtype=lib.float64)
            bn = set_all(lib, bn, 7).eval()
            x = numbers(lib, 2, 3, 5, 5)
            before = bn(conv(x)).detach()
            fused = lib.nn.utils.fuse_conv_bn_eval(conv, bn, transpose=kind != "Conv2d")
            after = fused(x).detach()
            assert (after - before).abs().max() < 1e-9
            told += [after, fused.weight.detach(), conv.weight.detach()]
        return told

    both(story)


@pytest.mark.torch
def test_batch_norm_folded_into_a_linear_layer() -> None:
    """As for convolutions; only in evaluation."""

    def story(lib: ModuleType) -> Any:
        bn = set_all(lib, lib.nn.BatchNorm1d(4, dtype=lib.float64), 7).eval()
        fused = lib.nn.utils.fuse_linear_bn_eval(linear(lib).eval(), bn)
        return [fused.weight.detach(), fused.bias.detach()]

    both(story)
    with pytest.raises(SettingError, match="evaluation only"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(2, 2), nn.BatchNorm1d(2))


def test_skip_init() -> None:
    """A real module, made without drawing numbers."""
    gg.manual_seed(0)
    state = gg.get_rng_state().tolist()
    m = nn.utils.skip_init(nn.Linear, 3, out_features=2, bias=False)
    assert m.weight.device.type == "cpu"
    assert m(gg.ones(1, 3)).shape == (1, 2)
    assert gg.get_rng_state().tolist() == state
    with pytest.raises(TypeError, match="Sequential does not take a device"):
        nn.utils.skip_init(nn.Sequential)
