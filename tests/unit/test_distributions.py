"""Draws of distributions, what their gradients are, and formulas that users register."""

import math

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Exponential,
    Independent,
    Laplace,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Uniform,
    kl_divergence,
    register_kl,
)
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError

N = 20_000
LOC, SCALE = gg.tensor([-1.0, 2.0]), gg.tensor([0.5, 2.0])
DRAWN = {
    "Normal": Normal(LOC, SCALE),
    "Laplace": Laplace(LOC, SCALE),
    "Exponential": Exponential(SCALE),
    "Uniform": Uniform(LOC, LOC + SCALE),
    "Bernoulli": Bernoulli(gg.tensor([0.2, 0.7])),
    "OneHotCategorical": OneHotCategorical(gg.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])),
    "MultivariateNormal": MultivariateNormal(LOC, gg.tensor([[2.0, 0.6], [0.6, 1.0]])),
    "Independent": Independent(Normal(LOC, SCALE), 1),
}  # fmt: skip


@pytest.fixture(autouse=True)
def seeded():
    gg.manual_seed(0)


@pytest.mark.parametrize("name", DRAWN)
def test_moments_of_draws(name: str) -> None:
    """Mean and variance of many draws are within five standard errors of the formulas."""
    d = DRAWN[name]
    x = d.sample((N,))
    assert tuple(x.shape) == (N, *d.batch_shape, *d.event_shape)
    assert not x.requires_grad
    error = (d.variance / N).sqrt()
    assert bool(((x.mean(0) - d.mean).abs() < 5 * error).all())
    # the fourth moment of a Laplace distribution, 24 scale^4, is the largest among these
    assert bool(((x.var(0) - d.variance).abs() < 5 * d.variance * (6 / N) ** 0.5).all())
    assert bool(d.log_prob(x).isfinite().all())


def test_categories_are_drawn_by_their_probabilities() -> None:
    """Rows of a batch do not mix, and an impossible event never comes."""
    p = gg.tensor([[0.0, 0.3, 0.7], [0.6, 0.4, 0.0]])
    x = Categorical(p).sample((N,))
    assert x.dtype is gg.int64
    assert tuple(x.shape) == (N, 2)
    found = gg.stack([gg.stack([(x[:, i] == k).float().mean() for k in range(3)]) for i in (0, 1)])
    assert bool((found - p).abs().max() < 0.02)
    assert found[0, 0] == found[1, 2] == 0
    assert Categorical(p).sample().shape == (2,)


@pytest.mark.parametrize("name", ["Normal", "Laplace", "Exponential", "Uniform"])
def test_a_draw_s_gradient_is_that_of_its_quantile(name: str) -> None:
    """``rsample`` is the inverse of the cdf at noise that parameters do not touch."""
    kind = type(DRAWN[name])
    values = [getattr(DRAWN[name], n).double().requires_grad_() for n in kind._parameters]
    x = kind(*values).rsample((3,))
    got = gg.autograd.grad(x.sum(), values)
    fixed = kind(*[v.detach() for v in values])
    wanted = gg.autograd.grad(kind(*values).icdf(fixed.cdf(x.detach())).sum(), values)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_a_draw_of_vectors_has_gradients() -> None:
    loc, tril = gg.zeros(2, requires_grad=True), gg.eye(2, requires_grad=True)
    x = MultivariateNormal(loc, scale_tril=tril).rsample()
    x[1].backward()
    assert loc.grad.tolist() == [0, 1]
    assert tril.grad[1].tolist() == x.tolist()


def test_draws_that_cannot_be_differentiated_say_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Categorical.*sample\(\) with log_prob\(\)"):
        Categorical(gg.ones(2)).rsample()
    assert not Categorical.has_rsample
    assert Independent(Normal(LOC, SCALE), 1).has_rsample


def test_a_seed_decides() -> None:
    first = Normal(0.0, 1.0).sample((4,)).tolist()
    gg.manual_seed(0)
    assert Normal(0.0, 1.0).sample((4,)).tolist() == first
    assert Normal(0.0, 1.0).sample_n(2).shape == (2,)


def test_formulas_of_users() -> None:
    """The nearest classes win; what nobody registered is refused by name."""

    class Shifted(Normal):
        pass

    with pytest.raises(NotSupportedError, match="Bernoulli and Normal"):
        kl_divergence(Bernoulli(0.5), Normal(0.0, 1.0))
    assert kl_divergence(Shifted(0.0, 1.0), Normal(0.0, 1.0)).item() == 0

    @register_kl(Shifted, Normal)
    def formula(p, q):
        return p.loc + 7

    assert kl_divergence(Shifted(0.0, 1.0), Normal(0.0, 1.0)).item() == 7
    assert kl_divergence(Normal(0.0, 1.0), Shifted(0.0, 1.0)).item() == 0
    with pytest.raises(ArgumentError, match="subclasses of Distribution"):
        register_kl(int, Normal)


def test_an_error_shows_both_sides() -> None:
    with pytest.raises(SettingError, match=r"scale of shape \(2,\).*lower_bound=0.0.*: -2.0"):
        Normal(0.0, gg.tensor([1.0, -2.0]))
    with pytest.raises(SettingError, match=r"support Boolean\(\).*: 2.0"):
        Bernoulli(0.5).log_prob(gg.tensor(2.0))
    with pytest.raises(ArgumentError, match="tensors or numbers, got str"):
        Normal("0", 1.0)


def test_checks_can_be_off_for_all() -> None:
    Distribution.set_default_validate_args(False)
    try:
        assert math.isnan(Normal(0.0, -1.0).entropy().item())
    finally:
        Distribution.set_default_validate_args(True)


def test_how_they_look() -> None:
    assert repr(Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    shown = repr(Independent(Normal(LOC, 1.0), 1))
    assert shown == "Independent(Normal(loc: gpugrad.Size([2]), scale: gpugrad.Size([2])), 1)"


def test_what_depends_on_parameters_has_history_though_asked_for_under_no_grad() -> None:
    p = gg.tensor([0.2, 0.8], requires_grad=True)
    d = Categorical(p)
    with gg.no_grad():
        _ = d.logits
    assert d.log_prob(gg.tensor(1)).requires_grad
