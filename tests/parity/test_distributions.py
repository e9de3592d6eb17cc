"""Distributions: densities, moments, entropies, divergences and their gradients are PyTorch's."""

import math

import numpy as np
import pytest

import gpugrad as gg

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(2, 3)), RNG.uniform(0.3, 2, (2, 3)), RNG.normal(size=(3,))
SPD = np.stack([m @ m.T + np.eye(3) for m in RNG.normal(size=(2, 3, 3))])
TRIL = np.linalg.cholesky(SPD)
SIMPLEX = RNG.dirichlet(np.ones(4), (2,))
COUNT = np.array([[0, 3], [2, 1], [1, 1]])

#: Class, parameters, values to ask for.
CASES = {
    "Normal": ("Normal", {"loc": A, "scale": B}, RNG.normal(size=(4, 2, 3))),
    "Normal of a row": ("Normal", {"loc": C, "scale": B}, RNG.normal(size=(2, 3))),
    "Laplace": ("Laplace", {"loc": A, "scale": B}, RNG.normal(size=(2, 3))),
    "Exponential": ("Exponential", {"rate": B}, RNG.uniform(0, 3, (2, 3))),
    "Uniform": ("Uniform", {"low": A, "high": A + B}, A + B * RNG.uniform(0, 1, (2, 3))),
    "Bernoulli": ("Bernoulli", {"probs": B / 2.5}, (A > 0).astype(float)),
    "Bernoulli by logits": ("Bernoulli", {"logits": A}, (B > 1).astype(float)),
    "Categorical": ("Categorical", {"probs": 3 * SIMPLEX}, COUNT),
    "Categorical by logits": ("Categorical", {"logits": A}, np.array([2, 0])),
    "OneHotCategorical": ("OneHotCategorical", {"probs": SIMPLEX}, np.eye(4)[COUNT]),
    "MultivariateNormal": ("MultivariateNormal", {"loc": A, "covariance_matrix": SPD},
                           RNG.normal(size=(5, 2, 3))),
    "by precision": ("MultivariateNormal", {"loc": C, "precision_matrix": SPD},
                     RNG.normal(size=(2, 3))),
    "by factor": ("MultivariateNormal", {"loc": A, "scale_tril": TRIL[0]},
                  RNG.normal(size=(2, 3))),
}  # fmt: skip
ASKED = ("mean", "mode", "variance", "stddev")
CALLS = ("log_prob", "cdf")


def both(case, wrapped=False):
    """The distribution in both libraries, with its parameters as leaves."""
    name, parameters, value = CASES[case]
    made = []
    for lib in (gg, torch):
        leaves = {k: lib.tensor(v, requires_grad=True) for k, v in parameters.items()}
        found = getattr(lib.distributions, name)(**leaves)
        if wrapped:
            found = lib.distributions.Independent(found, len(found.batch_shape))
        made.append((found, list(leaves.values()), lib.tensor(value)))
    return made


def agree(ours, theirs, our_leaves=(), their_leaves=()):
    """Shape, dtype, values and gradients of a weighted sum."""
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype).split(".")[1] == str(theirs.dtype).split(".")[1]
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-9, 1e-12)
    assert ours.requires_grad == theirs.requires_grad
    if not theirs.requires_grad:
        return
    weights = np.cos(np.arange(theirs.numel())).reshape(tuple(theirs.shape))
    g = gg.autograd.grad((ours * gg.tensor(weights)).sum(), our_leaves, retain_graph=True,
                         allow_unused=True)  # fmt: skip
    h = torch.autograd.grad((theirs * torch.tensor(weights)).sum(), their_leaves,
                            retain_graph=True, allow_unused=True)  # fmt: skip
    for a, b in zip(g, h, strict=True):
        a = np.zeros(1) if a is None else a.numpy()
        b = np.zeros(1) if b is None else b.numpy()
        np.testing.assert_allclose(a * np.ones_like(b), b * np.ones_like(a), 1e-8, 1e-10)


@pytest.mark.parametrize("wrapped", [False, True], ids=["", "Independent"])
@pytest.mark.parametrize("case", CASES)
def test_a_distribution(case, wrapped):
    """Everything that PyTorch tells, we tell, with the same derivatives."""
    (ours, our_leaves, value), (theirs, their_leaves, their_value) = both(case, wrapped)
    assert tuple(ours.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(ours.event_shape) == tuple(theirs.event_shape)
    for name in ASKED:
        agree(getattr(ours, name), getattr(theirs, name), our_leaves, their_leaves)
    agree(ours.entropy(), theirs.entropy(), our_leaves, their_leaves)
    agree(ours.perplexity(), theirs.perplexity(), our_leaves, their_leaves)
    for name in CALLS:
        try:
            expected = getattr(theirs, name)(their_value)
        except NotImplementedError:
            with pytest.raises(NotImplementedError):
                getattr(ours, name)(value)
        else:
            agree(getattr(ours, name)(value), expected, our_leaves, their_leaves)


@pytest.mark.parametrize("case", ["Normal", "Laplace", "Exponential", "Uniform"])
def test_the_inverse_of_the_cumulative_distribution(case):
    (ours, our_leaves, _), (theirs, their_leaves, _) = both(case)
    q = np.linspace(0.05, 0.95, 6).reshape(2, 3)
    agree(ours.icdf(gg.tensor(q)), theirs.icdf(torch.tensor(q)), our_leaves, their_leaves)


@pytest.mark.parametrize("case", CASES)
def test_expansion(case):
    """Of the batch; values of single numbers are those of the original."""
    (ours, our_leaves, value), (theirs, their_leaves, their_value) = both(case)
    shape = (4, *theirs.batch_shape)
    ours, theirs = ours.expand(shape), theirs.expand(torch.Size(shape))
    assert tuple(ours.batch_shape) == shape
    if value.ndim == len(shape) + len(ours.event_shape) and value.shape[0] not in (1, 4):
        value, their_value = value[0], their_value[0]
    agree(ours.log_prob(value), theirs.log_prob(their_value), our_leaves, their_leaves)


@pytest.mark.parametrize("case", [c for c in CASES if "ern" in c or "egorical" in c])
@pytest.mark.parametrize("expand", [True, False])
def test_all_values_of_a_discrete_distribution(case, expand):
    (ours, _, _), (theirs, _, _) = both(case)
    agree(ours.enumerate_support(expand), theirs.enumerate_support(expand))


PAIRS = [("Normal", "Normal of a row"), ("Laplace", "Laplace"), ("Uniform", "Uniform"),
         ("Exponential", "Exponential"), ("Bernoulli", "Bernoulli by logits"),
         ("Categorical", "Categorical"), ("OneHotCategorical", "OneHotCategorical"),
         ("MultivariateNormal", "by precision"), ("by factor", "MultivariateNormal"),
         ("Normal", "Laplace"), ("Laplace", "Normal"), ("Uniform", "Normal"),
         ("Exponential", "Normal"), ("Uniform", "Exponential"), ("Normal", "Uniform"),
         ("Laplace", "Exponential"), ("Exponential", "Uniform")]  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("wrapped", [False, True], ids=["", "Independent"])
def test_divergences(pair, wrapped):
    """Also between unlike families, and infinite where q cannot reach."""
    p, q = both(pair[0], wrapped), both(pair[1], wrapped)
    ours = gg.distributions.kl_divergence(p[0][0], q[0][0])
    theirs = torch.distributions.kl_divergence(p[1][0], q[1][0])
    if not bool(torch.isfinite(theirs).all()):
        assert ours.tolist() == theirs.tolist()
        return
    agree(ours, theirs, [*p[0][1], *q[0][1]], [*p[1][1], *q[1][1]])


def test_divergences_at_the_edges():
    """Certain events, and pairs that only half overlap."""
    for lib in (gg, torch):
        d = lib.distributions
        edge = lib.tensor([0.0, 0.0, 1.0, 1.0, 0.5])
        other = lib.tensor([0.0, 0.5, 1.0, 0.0, 0.5])
        found = d.kl_divergence(d.Bernoulli(edge), d.Bernoulli(other))
        rows = d.kl_divergence(d.Categorical(lib.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])),
                               d.Categorical(lib.tensor([0.5, 0.5, 0.0])))  # fmt: skip
        inside = d.kl_divergence(d.Uniform(lib.tensor([0.0, 1.0]), 2.0), d.Uniform(0.5, 3.0))
        told = [*found.tolist(), *rows.tolist(), *inside.tolist()]
        np.testing.assert_allclose(
            told, [0, math.log(2), 0, math.inf, 0, 0, math.inf, math.inf, math.log(2.5)], atol=1e-5
        )


BAD = {
    "scale": lambda d, t: d.Normal(0.0, t([1.0, -1.0])),
    "nan": lambda d, t: d.Normal(t([0.0, float("nan")]), 1.0),
    "probs": lambda d, t: d.Bernoulli(1.5),
    "simplex": lambda d, t: d.Categorical(t([-1.0, 2.0])),
    "both": lambda d, t: d.Bernoulli(probs=0.5, logits=0.0),
    "neither": lambda d, t: d.Categorical(),
    "order": lambda d, t: d.Uniform(1.0, 0.0),
    "matrix": lambda d, t: d.MultivariateNormal(t([0.0, 0.0]), t([[1.0, 2.0], [2.0, 1.0]])),
    "support": lambda d, t: d.Bernoulli(0.5).log_prob(t(2.0)),
    "category": lambda d, t: d.Categorical(t([0.5, 0.5])).log_prob(t(2)),
    "whole": lambda d, t: d.Categorical(t([0.5, 0.5])).log_prob(t(0.5)),
    "below": lambda d, t: d.Exponential(1.0).log_prob(t(-1.0)),
    "shape": lambda d, t: d.Normal(t([0.0, 0.0]), 1.0).log_prob(t([0.0, 0.0, 0.0])),
    "event": lambda d, t: d.MultivariateNormal(t([0.0]), t([[1.0]])).log_prob(t(0.0)),
    "batch": lambda d, t: d.Independent(d.Normal(0.0, 1.0), 1),
    "no tensor": lambda d, t: d.Normal(0.0, 1.0).log_prob(0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    for lib in (gg, torch):
        with pytest.raises((ValueError, RuntimeError)):
            BAD[name](lib.distributions, lib.tensor)


def test_what_is_not_checked_when_told_so():
    for lib in (gg, torch):
        d = lib.distributions.Normal(0.0, -1.0, validate_args=False)
        assert math.isnan(d.log_prob(lib.tensor(0.0)).item())
        assert d.expand((2,)).log_prob(lib.tensor([0.0, 0.0])).isnan().all()
