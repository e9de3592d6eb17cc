"""Initial values: their statistics, their structure, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.errors import SettingError, ShapeError

RANDOM = ("uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
          "kaiming_uniform_", "kaiming_normal_", "orthogonal_", "sparse_")  # fmt: skip
PLAIN = ("ones_", "zeros_", "eye_", "dirac_", "constant_")


def call(name: str, tensor: Any, **settings: Any) -> Any:
    """Fill, with the one argument that ``sparse_`` and ``constant_`` need."""
    needed = {"sparse_": (0.3,), "constant_": (2.5,)}.get(name, ())
    return getattr(nn.init, name)(tensor, *needed, **settings)


def sample(fill: Any, *shape: int) -> Any:
    """The numbers that a fill gives."""
    gg.manual_seed(3)
    return fill(gg.empty(*shape, dtype=gg.float64)).numpy()


@pytest.mark.parametrize("name", [*RANDOM, *PLAIN])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_parameter_is_filled_unrecorded(name: str, device: str) -> None:
    """In place; on ``meta`` nothing happens, and nothing fails."""
    p = nn.Parameter(gg.full((6, 4, 3) if name == "dirac_" else (6, 4), math.nan, device=device))
    assert call(name, p) is p
    assert p.is_leaf
    assert p.requires_grad
    if device == "cpu":
        assert not p.isnan().any()


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_repeats_itself(name: str) -> None:
    """The same seed gives the same numbers, another generator others."""

    def draw(seed: int) -> Any:
        generator = gg.Generator()
        generator.manual_seed(seed)
        return call(name, gg.empty(5, 4), generator=generator).tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda t: nn.init.uniform_(t, -1, 3), 1.0, 4 / math.sqrt(12)),
        (lambda t: nn.init.normal_(t, 2, 0.5), 2.0, 0.5),
        (nn.init.trunc_normal_, 0.0, 0.8796),  # of a standard normal cut at 2
        (lambda t: nn.init.trunc_normal_(t, 1, 2, -1, 3), 1.0, 2 * 0.5396),  # cut at one std
        (lambda t: nn.init.xavier_uniform_(t, 2.0), 0.0, 2 * math.sqrt(2 / 500)),
        (nn.init.xavier_normal_, 0.0, math.sqrt(2 / 500)),
        (nn.init.kaiming_uniform_, 0.0, math.sqrt(2 / 200)),
        (lambda t: nn.init.kaiming_uniform_(t, math.sqrt(5)), 0.0, math.sqrt(1 / 3 / 200)),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out"), 0.0, math.sqrt(2 / 300)),
        (lambda t: nn.init.kaiming_normal_(t, nonlinearity="tanh"), 0.0, 5 / 3 / math.sqrt(200)),
        (lambda t: nn.init.orthogonal_(t, 3.0), 0.0, 3 / math.sqrt(300)),
    ],
)
def test_mean_and_standard_deviation(fill: Any, mean: float, std: float) -> None:
    """Of 60,000 draws for a weight of 300 outputs and 200 inputs, within five standard errors."""
    draws = sample(fill, 300, 200)
    assert abs(draws.mean() - mean) < 5 * std / math.sqrt(draws.size)
    assert abs(draws.std() / std - 1) < 0.015


def test_bounds() -> None:
    """Uniform and truncated draws stay inside theirs."""
    assert abs(sample(lambda t: nn.init.trunc_normal_(t, 0, 5), 100, 100)).max() <= 2
    bound = math.sqrt(6 / 100)
    draws = sample(lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), 50, 100)
    assert 0.99 * bound < abs(draws).max() <= bound


def test_fans_count_the_window() -> None:
    """A convolution's fan is channels times the size of its window."""
    assert nn.init._calculate_fan_in_and_fan_out(gg.empty(8, 3, 5, 7)) == (105, 280)
    assert nn.init._calculate_fan_in_and_fan_out(gg.empty(4, 9)) == (9, 4)
    with pytest.raises(ShapeError, match=r"at least 2 dimensions, got shape \(3,\)"):
        nn.init.xavier_uniform_(gg.empty(3))


@pytest.mark.torch
def test_gains_are_pytorchs() -> None:
    """For every name it knows, and the same names are unknown."""
    torch = pytest.importorskip("torch")
    for name in ("linear", "conv1d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu",
                 "leaky_relu"):  # fmt: skip
        assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    gain = nn.init.calculate_gain("leaky_relu", 0.2)
    assert gain == torch.nn.init.calculate_gain("leaky_relu", 0.2)
    with pytest.raises(SettingError, match="unsupported nonlinearity 'gelu'; accepted: linear"):
        nn.init.calculate_gain("gelu")
    with pytest.raises(SettingError, match="'x' is not a number"):
        nn.init.calculate_gain("leaky_relu", "x")


@pytest.mark.torch
def test_structures_are_pytorchs() -> None:
    """Identity and Dirac weights, in groups, of even and odd windows."""
    torch = pytest.importorskip("torch")
    for shape, groups in [((4, 2, 3), 2), ((3, 5, 2, 3), 1), ((6, 1, 3, 3, 4), 3)]:
        ours = nn.init.dirac_(gg.empty(*shape), groups)
        assert ours.tolist() == torch.nn.init.dirac_(torch.empty(shape), groups).tolist()
    for shape in [(3, 3), (2, 5), (5, 2)]:
        assert nn.init.eye_(gg.empty(*shape)).tolist() == torch.eye(*shape).tolist()


@pytest.mark.parametrize("shape", [(4, 4), (3, 8), (8, 3), (4, 2, 3), (7, 2, 2)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    """Whichever there are fewer of are orthonormal."""
    w = sample(nn.init.orthogonal_, *shape).reshape(shape[0], -1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    assert np.allclose(gram, np.eye(len(gram)))


def test_sparse_columns() -> None:
    """Every column has its share of zeros, at places of its own."""
    w = sample(lambda t: nn.init.sparse_(t, 0.25), 10, 6)
    assert ((w == 0).sum(0) == 3).all()
    assert len({tuple(c) for c in (w == 0).T.tolist()}) > 1


def test_what_cannot_be_filled_is_refused() -> None:
    """Wrong numbers of dimensions, groups that do not divide, an unknown mode."""
    for name in ("eye_", "sparse_", "orthogonal_", "dirac_"):
        with pytest.raises(ShapeError, match=name):
            call(name, gg.empty(3))
    with pytest.raises(SettingError, match="4 output channels do not divide by 3 groups"):
        nn.init.dirac_(gg.empty(4, 2, 3), 3)
    with pytest.raises(SettingError, match="'fan' is not supported"):
        nn.init.kaiming_normal_(gg.empty(3, 3), mode="fan")


def test_warnings() -> None:
    """Empty weights, a mean far outside the bounds, and names without underscore."""
    with pytest.warns(UserWarning, match="no-op"):
        assert nn.init.kaiming_uniform_(gg.empty(0, 3)).shape == (0, 3)
    with pytest.warns(UserWarning, match="more than 2 std"):
        nn.init.trunc_normal_(gg.empty(3), mean=9.0)
    for name in ("uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform",
                 "kaiming_normal", "orthogonal", "sparse", "eye", "constant", "dirac"):  # fmt: skip
        shape = (2, 2, 3) if name == "dirac" else (2, 2)
        settings = {"sparse": (0.5,), "constant": (1.0,)}.get(name, ())
        with pytest.warns(FutureWarning, match=f"nn.init.{name} is deprecated"):
            getattr(nn.init, name)(gg.empty(*shape), *settings)
