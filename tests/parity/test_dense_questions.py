"""``stft`` by values and gradients; what PyTorch asks of sparse and quantised tensors only."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import NotSupportedError

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
SETTINGS = {
    "plain": {},
    "not centred": {"center": False},
    "two-sided": {"onesided": False},
    "normalised": {"normalized": True, "hop_length": 3},
    "short window": {"win_length": 6},
    "padded with zeros": {"pad_mode": "constant"},
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("shape", [(40,), (2, 33)])
def test_stft(name, shape):
    settings = SETTINGS[name]
    x, w = RNG.normal(size=shape), RNG.uniform(0.1, 1, settings.get("win_length", 9))
    a, b = gg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    v, u = gg.tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    ours = a.stft(9, window=v, return_complex=False, **settings)
    theirs = torch.view_as_real(b.stft(9, window=u, return_complex=True, **settings))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-10, 1e-12)
    (ours**3).sum().backward()
    (theirs**3).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-9, 1e-10)
    np.testing.assert_allclose(v.grad.numpy(), u.grad.numpy(), 1e-9, 1e-10)


REFUSED = {
    "complex": lambda x: x.stft(4, return_complex=True),
    "not said": lambda x: x.stft(4),
    "too long": lambda x: x.stft(99, return_complex=False, center=False),
    "no hop": lambda x: x.stft(4, hop_length=0, return_complex=False),
    "window": lambda x: x.stft(4, window=x[:3], return_complex=False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_stft_refuses(name):
    with pytest.raises(RuntimeError, match=r"^stft: "):
        REFUSED[name](gg.ones(12))
    if name not in ("complex",):
        with pytest.raises(RuntimeError):
            REFUSED[name](torch.ones(12))


@pytest.mark.parametrize("name", ["values", "indices", "crow_indices", "coalesce", "is_coalesced",
                                  "q_scale", "q_zero_point", "qscheme", "int_repr"])  # fmt: skip
def test_what_dense_tensors_do_not_have(name):
    with pytest.raises(RuntimeError):
        getattr(torch.ones(3), name)()
    with pytest.raises(NotSupportedError, match=rf"^{name}: only (sparse|quantised) tensors"):
        getattr(gg.ones(3), name)()


def test_dims_of_dense_tensors():
    for lib in (gg, torch):
        assert (lib.ones(2, 3).sparse_dim(), lib.ones(2, 3).dense_dim()) == (0, 2)


def test_resize():
    for lib in (gg, torch):
        x = lib.arange(6.0).requires_grad_()
        with pytest.warns(UserWarning, match="non-inplace resize is deprecated"):
            y = x.resize(2, 3)
        (y[1] * 2).sum().backward()
        assert x.grad.tolist() == [0, 0, 0, 2, 2, 2]
        with pytest.warns(UserWarning, match="resize"), pytest.raises(RuntimeError):
            x.resize(7)
