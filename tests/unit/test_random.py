"""Generators and draws.  The bits themselves are checked in test_philox."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import AutogradError, DTypeError, SettingError, ShapeError


@pytest.fixture(autouse=True)
def seeded():
    gg.manual_seed(7)


def test_the_same_seed_gives_the_same_numbers():
    first = [gg.randn(5).tolist(), gg.randperm(9).tolist(), gg.rand(2, 2).tolist()]
    gg.manual_seed(7)
    assert [gg.randn(5).tolist(), gg.randperm(9).tolist(), gg.rand(2, 2).tolist()] == first
    gg.manual_seed(8)
    assert gg.randn(5).tolist() != first[0]


def test_calls_do_not_overlap():
    assert gg.rand(4).tolist() != gg.rand(4).tolist()


def test_state_is_two_numbers_that_can_be_put_back():
    gg.rand(3)
    state = gg.get_rng_state()
    assert (state.dtype, state.numel()) == (gg.uint8, 16)
    a = gg.rand(3).tolist()
    gg.set_rng_state(state)
    assert gg.rand(3).tolist() == a
    with pytest.raises(SettingError, match="16 uint8"):
        gg.set_rng_state(gg.zeros(3, dtype=gg.uint8))


def test_a_generator_of_ones_own():
    g = gg.Generator().manual_seed(1)
    h = gg.Generator().manual_seed(1)
    before = gg.get_rng_state().tolist()
    assert gg.rand(3, generator=g).tolist() == gg.rand(3, generator=h).tolist()
    assert gg.get_rng_state().tolist() == before
    assert g.initial_seed() == 1
    assert gg.rand(2, generator=g.clone_state()).tolist() == gg.rand(2, generator=h).tolist()


def test_fork_rng_draws_aside():
    a = gg.get_rng_state().tolist()
    with gg.random.fork_rng():
        gg.rand(3)
    assert gg.get_rng_state().tolist() == a


@pytest.mark.parametrize("dtype", [gg.float64, gg.float32, gg.float16, gg.bfloat16])
def test_moments(dtype):
    n = 20_000
    u, z = gg.rand(n, dtype=dtype).double(), gg.randn(n, dtype=dtype).double()
    assert 0 <= u.min().item() <= u.max().item() < 1
    assert abs(u.mean().item() - 0.5) < 0.02
    assert abs(z.mean().item()) < 0.03
    assert abs(z.std().item() - 1) < 0.03


def test_integers_and_permutations():
    x = gg.randint(-3, 4, (5000,))
    assert x.dtype is gg.int64
    assert sorted(set(x.tolist())) == list(range(-3, 4))
    assert sorted(gg.randperm(100).tolist()) == list(range(100))
    assert gg.randint(2, (3,), dtype=gg.uint8).dtype is gg.uint8
    with pytest.raises(SettingError, match="high must be above low"):
        gg.randint(3, 3, (2,))


def test_bernoulli_and_multinomial_frequencies():
    p = gg.full((10_000,), 0.3)
    assert abs(gg.bernoulli(p).mean().item() - 0.3) < 0.02
    w = gg.tensor([0.0, 1.0, 3.0])
    counts = np.bincount(gg.multinomial(w, 8000, replacement=True).numpy(), minlength=3) / 8000
    np.testing.assert_allclose(counts, [0, 0.25, 0.75], atol=0.03)
    assert sorted(gg.multinomial(gg.ones(6), 6).tolist()) == list(range(6))
    first = [gg.multinomial(w, 1).item() for _ in range(600)]
    np.testing.assert_allclose(np.bincount(first, minlength=3) / 600, [0, 0.25, 0.75], atol=0.08)
    assert tuple(gg.multinomial(gg.ones(2, 5), 3).shape) == (2, 3)


def test_bad_weights():
    for weights, samples, message in (
        (gg.zeros(3), 1, "all zero"), (gg.tensor([-1.0, 2.0]), 1, "negative"),
        (gg.ones(2), 3, "without replacement"),
    ):  # fmt: skip
        with pytest.raises(SettingError, match=message):
            gg.multinomial(weights, samples)
    with pytest.raises(DTypeError, match="int64"):
        gg.multinomial(gg.ones(2, dtype=gg.int64), 1)


FILLS = {
    "uniform_": ((-1, 3), 1.0, 4 / 12**0.5), "normal_": ((2, 3), 2.0, 3.0),
    "exponential_": ((0.5,), 2.0, 2.0), "bernoulli_": ((0.25,), 0.25, (0.25 * 0.75) ** 0.5),
    "geometric_": ((0.5,), 2.0, 2**0.5), "log_normal_": ((0.0, 0.25), np.exp(1 / 32), None),
    "random_": ((10,), 4.5, (99 / 12) ** 0.5), "cauchy_": ((), None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", FILLS)
def test_fills(name):
    args, mean, std = FILLS[name]
    x = gg.zeros(20_000, dtype=gg.float64)
    assert getattr(x, name)(*args) is x
    assert x._version == 1
    assert np.unique(x.numpy()).size > 1
    if mean is not None:
        assert abs(x.mean().item() - mean) < 0.08
    if std is not None:
        assert abs(x.std().item() - std) < 0.1


def test_fills_respect_leaves_and_dtypes():
    w = gg.zeros(3, requires_grad=True)
    with pytest.raises(AutogradError, match="leaf"):
        w.normal_()
    with gg.no_grad():
        w.normal_()
    with pytest.raises(DTypeError, match="floating"):
        gg.zeros(3, dtype=gg.int64).uniform_()


def test_dropout_keeps_the_mean_and_stores_no_mask():
    x = gg.ones(20_000, requires_grad=True)
    y = gg.nn.functional.dropout(x, 0.25)
    kept = (y > 0).float()
    assert abs(kept.mean().item() - 0.75) < 0.02
    np.testing.assert_allclose(y.detach().numpy()[kept.numpy() > 0], 1 / 0.75, rtol=1e-6)
    assert not y.grad_fn.saved
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    assert gg.nn.functional.dropout(x, 0.5, training=False) is x
    with pytest.raises(SettingError, match="p must be"):
        gg.nn.functional.dropout(x, 1.5)


def test_normal_with_tensors():
    mean, std = gg.arange(4.0), gg.zeros(4)
    assert gg.normal(mean, std).tolist() == [0, 1, 2, 3]
    assert tuple(gg.normal(0.0, 1.0, (2, 3)).shape) == (2, 3)
    with pytest.raises(SettingError, match="std"):
        gg.normal(0.0, -1.0, (2,))


def test_meta_and_out():
    assert gg.rand(2, 3, device="meta").is_meta
    out = gg.zeros(3)
    assert gg.rand(3, out=out) is out
    assert out.abs().sum().item() > 0
    with pytest.raises(ShapeError, match=r"out has shape \(3,\)"):
        gg.rand(4, out=out)
