"""Special functions against SciPy and, where SciPy is the worse of the two, against mpmath."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gpugrad.backends import special, special_core

oracle = pytest.importorskip("scipy.special")

rng = np.random.default_rng(20)
inf, nan = math.inf, math.nan
EPS = {np.float64: 2.0**-52, np.float32: 2.0**-23}
TINY, TINY32 = 5e-324, 1e-45
UNARY = [f for f in special.__all__ if f not in ("polygamma", "zeta")]
SCIPY_NAME = {"lgamma": "gammaln"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Functions are called as the backends call them: with floating-point warnings off."""
    with np.errstate(all="ignore"):
        yield


def line(low: float, high: float, n: int = 20_000) -> Any:
    """Numbers all over an interval."""
    return rng.uniform(low, high, n)


def powers(low: float, high: float, n: int = 20_000) -> Any:
    """Positive numbers of all magnitudes from 10**low to 10**high."""
    return 10.0 ** rng.uniform(low, high, n)


def signed(x: Any) -> Any:
    return np.concatenate([x, -x])


# Where each function is compared with SciPy, and the relative error allowed in float64. Points
# where SciPy itself is off (see test_against_mpmath) are left out or have room.
DOMAINS: dict[str, tuple[Any, float]] = {
    "erf": (signed(np.concatenate([powers(-300, 1), line(0, 7)])), 1e-15),
    "erfc": (np.concatenate([signed(powers(-300, 0)), line(-6, 5)]), 1e-14),
    "erfcx": (np.concatenate([line(-5, 50), powers(-5, 308)]), 1e-14),
    "erfinv": (np.concatenate([line(-1, 1), signed(1 - powers(-15.9, -1))]), 2e-15),
    "ndtr": (line(-6, 10), 1e-14),
    "ndtri": (np.concatenate([line(0, 0.499), powers(-307, -1), 1 - powers(-15, -1)]), 2e-14),
    "log_ndtr": (np.concatenate([line(-50, 6), -powers(0, 150)]), 1e-14),
    "lgamma": (np.concatenate([powers(-300, -0.1), line(2.5, 40), powers(1, 300)]), 3e-15),
    "digamma": (np.concatenate([powers(-300, 0), line(1.6, 40), powers(1, 300)]), 1e-14),
    "i0": (signed(np.concatenate([line(0, 700), powers(-300, 1)])), 5e-15),
    "i0e": (signed(np.concatenate([line(0, 700), powers(-300, 300)])), 5e-15),
    "i1": (signed(np.concatenate([line(0, 700), powers(-300, 1)])), 5e-15),
    "i1e": (signed(np.concatenate([line(0, 700), powers(-300, 300)])), 5e-15),
}


def error(got: Any, want: Any) -> float:
    """Largest relative error, where equal values and pairs of NaN count as right."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    wrong = ~((got == want) | (np.isnan(got) & np.isnan(want)))
    return float(np.max(np.abs(got - want)[wrong] / np.abs(want)[wrong], initial=0))


@pytest.mark.parametrize("name", UNARY)
def test_float64_against_scipy(name: str) -> None:
    """The relative error is within the stated bound over the whole range."""
    x, bound = DOMAINS[name]
    want = getattr(oracle, SCIPY_NAME.get(name, name))(x)
    got = getattr(special, name)(np, x)
    assert got.dtype == np.float64
    assert error(got, want) <= bound


@pytest.mark.parametrize("name", UNARY)
def test_float32_against_scipy(name: str) -> None:
    """Rounded from float64 where that is how it is computed; four units at most elsewhere."""
    x = DOMAINS[name][0].astype(np.float32)
    x = x[np.isfinite(x)]
    want = getattr(oracle, SCIPY_NAME.get(name, name))(x.astype(np.float64))
    got = getattr(special, name)(np, x)
    assert got.dtype == np.float32
    normal = ~(np.abs(want) < 1.2e-38)
    got, want = got[normal], want[normal]
    if name not in ("erf", "erfinv", "ndtri"):
        assert error(got, want.astype(np.float32)) <= 1.01 * EPS[np.float32]
    else:
        assert error(got, want) <= 4 * EPS[np.float32]


def test_erf_float32_is_monotonic_and_exact_from_four_on() -> None:
    """GELU multiplies 1 + erf by numbers of any size: 1 must be met, and nothing beyond it."""
    x = np.linspace(-5, 5, 400_001, dtype=np.float32)
    y = special.erf(np, x)
    assert (np.abs(y) <= 1).all()
    assert (y[np.abs(x) >= 4] == np.sign(x[np.abs(x) >= 4])).all()
    assert np.max(np.abs(y - oracle.erf(x.astype(np.float64)))) < 1.5e-7
    # A step back by one unit may come of rounding, never more.
    assert np.diff(y).min() >= -1.2e-7


def test_against_mpmath() -> None:
    """To 1e-15 or so where SciPy has lost digits: far tails, and near zeros and poles."""
    mp = pytest.importorskip("mpmath")
    cases: list[tuple[str, Any, Callable[[Any], Any]]] = [
        ("erfc", line(5, 26.5, 200), mp.erfc),
        ("erfcx", line(-26, -5, 100), lambda x: mp.exp(x * x) * mp.erfc(x)),
        ("ndtr", line(-37, -5, 200), mp.ncdf),
        ("log_ndtr", line(5, 36, 100), lambda x: mp.log1p(-mp.erfc(x / mp.sqrt(2)) / 2)),
        ("lgamma", 1 + signed(powers(-12, -1, 100)), mp.loggamma),
        ("lgamma", 2 + signed(powers(-12, -1, 100)), mp.loggamma),
        ("digamma", np.concatenate([line(1, 2, 200), powers(-12, -1, 50) - 5]), mp.digamma),
        ("i0", line(700, 713.5, 50), lambda x: mp.besseli(0, x)),
        ("i1", line(700, 713.5, 50), lambda x: mp.besseli(1, x)),
    ]
    for name, x, exact in cases:
        got = getattr(special, name)(np, x)
        with mp.workdps(400 if name in ("erfcx", "log_ndtr") else 40):
            off = [abs(mp.mpf(float(g)) / exact(mp.mpf(float(v))) - 1) for v, g in zip(x, got)]
        assert max(off) < 3e-15, name


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_reflection(name: str) -> None:
    """Negative numbers, away from the poles, to a few units of the larger of value and 1."""
    x = line(-30, 0)
    x = x[np.abs(x - np.rint(x)) > 1e-2]
    got = getattr(special, name)(np, x)
    want = getattr(oracle, SCIPY_NAME.get(name, name))(x)
    assert np.max(np.abs(got - want) / np.maximum(np.abs(want), 1)) < 1e-13


# Pairs, as a dict would take 0.0 and -0.0 for one key.
SPECIAL_VALUES: dict[str, list[tuple[float, float]]] = {
    "erf": [(0.0, 0.0), (-0.0, -0.0), (inf, 1), (-inf, -1), (1e300, 1), (-1e300, -1)],
    "erfc": [(0.0, 1), (-0.0, 1), (inf, 0), (-inf, 2), (1e300, 0), (-1e300, 2), (TINY, 1)],
    "erfcx": [(0.0, 1), (-0.0, 1), (inf, 0), (-inf, inf), (-30.0, inf)],
    "erfinv": [
        (0.0, 0.0), (-0.0, -0.0), (1.0, inf), (-1.0, -inf), (1.5, nan), (-1.5, nan), (inf, nan),
        (-inf, nan), (TINY, TINY), (-TINY, -TINY),
    ],
    "ndtr": [(0.0, 0.5), (-0.0, 0.5), (inf, 1), (-inf, 0), (TINY, 0.5)],
    "ndtri": [
        (0.0, -inf), (-0.0, -inf), (1.0, inf), (0.5, 0.0), (-0.1, nan), (1.1, nan), (inf, nan),
        (-inf, nan),
    ],
    "log_ndtr": [(inf, -0.0), (-inf, -inf), (-1e200, -inf), (0.0, math.log(0.5))],
    "lgamma": [
        (0.0, inf), (-0.0, inf), (1.0, 0.0), (2.0, 0.0), (-1.0, inf), (-2.0, inf), (-1e17, inf),
        (-1e308, inf), (inf, inf), (-inf, inf), (1e308, inf), (TINY, -math.log(TINY)),
        (-TINY, -math.log(TINY)),
    ],
    "digamma": [
        (0.0, -inf), (-0.0, inf), (-1.0, nan), (-2.0, nan), (-1e17, nan), (inf, inf), (-inf, nan),
        (TINY, -inf), (-TINY, inf), (1e308, math.log(1e308)),
    ],
    "i0": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, inf), (1e4, inf), (TINY, 1)],
    "i0e": [(0.0, 1), (-0.0, 1), (inf, 0), (-inf, 0), (TINY, 1)],
    "i1": [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf), (1e4, inf), (-1e4, -inf)],
    "i1e": [(0.0, 0.0), (-0.0, -0.0), (inf, 0), (-inf, -0.0)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", UNARY)
def test_special_values(name: str, dtype: Any) -> None:
    """Zeros with their sign, infinities, poles, the smallest and the largest numbers; NaN stays."""
    table = [(x, y) for x, y in SPECIAL_VALUES[name] if float(dtype(x)) == x]
    x, want = np.array([*table, (nan, nan)], dtype).T
    got = getattr(special, name)(np, x)
    np.testing.assert_allclose(got, want, rtol=4 * EPS[dtype])
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))
    # One by one too: the skipping of regions must not change a value.
    for one, together in zip(x, got):
        np.testing.assert_array_equal(getattr(special, name)(np, np.array(one)), together)


def test_smallest_float32() -> None:
    """Subnormal numbers go through the odd functions to within one step."""
    x = np.array([TINY32, -TINY32, 1e-40], np.float32)
    for name, slope in (("erf", 2 / math.sqrt(math.pi)), ("erfinv", math.sqrt(math.pi) / 2)):
        got = getattr(special, name)(np, x)
        assert np.max(np.abs(got - slope * x.astype(np.float64))) <= 1.5 * TINY32


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 10])
def test_polygamma(n: int) -> None:
    """Against SciPy: a few units of the value, for negative numbers of the largest term."""
    x = powers(-3, 5)
    if n == 0:
        x = x[np.abs(x - 1.46) > 0.1]
    assert error(special.polygamma(np, n, x), oracle.polygamma(n, x)) < 1e-14
    x = line(-10, 0)
    x = x[np.abs(x - np.rint(x)) > 1e-2]
    scale = math.factorial(n) * np.abs(x - np.rint(x)) ** -(n + 1.0)
    off = special.polygamma(np, n, x) - oracle.polygamma(n, x)
    assert np.max(np.abs(off) / scale) < 1e-12
    assert (
        error(special.polygamma(np, n, np.array([0.5], np.float32)), oracle.polygamma(n, [0.5]))
        < 1e-6
    )


def test_polygamma_refuses_a_negative_order() -> None:
    """The error shows it."""
    with pytest.raises(ValueError, match="n=-1"):
        special.polygamma(np, -1, np.ones(2))


def test_polygamma_far_out() -> None:
    """1 / x for the largest numbers, 0 at infinity, infinite at the poles."""
    x = np.array([1e300, inf, 0.0, -0.0, -3.0])
    np.testing.assert_allclose(special.polygamma(np, 1, x), [1e-300, 0, inf, inf, inf], rtol=1e-15)


def test_zeta() -> None:
    """Against SciPy over orders and offsets of all sizes."""
    s, q = line(1.0001, 60), powers(-3, 6)
    want = oracle.zeta(s, q)
    keep = want > 1e-300
    assert error(special.zeta(np, s, q)[keep], want[keep]) < 1e-14
    s, q = rng.integers(2, 30, 5000).astype(float), line(-20, 0, 5000)
    away = np.abs(q - np.rint(q)) > 1e-2
    want = oracle.zeta(s[away], q[away])
    off = np.abs(special.zeta(np, s[away], q[away]) - want)
    assert np.max(off * np.abs(q[away] - np.rint(q[away])) ** s[away]) < 1e-12


@pytest.mark.parametrize(
    ("s", "q", "want"),
    [
        (2.0, 1.0, math.pi**2 / 6),
        (4.0, 1.0, math.pi**4 / 90),
        (2.0, 0.5, math.pi**2 / 2),
        (1.0, 2.0, inf),
        (0.5, 2.0, nan),
        (2.0, 0.0, inf),
        (2.0, -0.0, inf),
        (2.0, -3.0, inf),
        (2.5, -0.5, nan),
        (2.0, inf, 0.0),
        (2.0, 1e300, 1e-300),
        (inf, 1.0, 1.0),
        (inf, 2.0, 0.0),
        (1e10, 1.0, 1.0),
        (100.0, 1e8, 0.0),
        (nan, 1.0, nan),
        (2.0, nan, nan),
    ],
)
def test_zeta_special_values(s: float, q: float, want: float) -> None:
    """Known sums, poles, and no overflow far from them."""
    got = special.zeta(np, np.array(s), np.array(q))
    assert got.shape == ()
    np.testing.assert_allclose(got, want, rtol=1e-15)


def test_zeta_broadcasts() -> None:
    """Shapes meet as in NumPy."""
    s, q = np.array([[2.0], [3.0]]), np.array([1.0, 2.0, 0.5])
    got = special.zeta(np, s, q)
    np.testing.assert_allclose(got, oracle.zeta(s, q), rtol=1e-15)


@pytest.mark.parametrize("name", UNARY)
def test_shapes_strides_and_inputs_left_alone(name: str) -> None:
    """Any shape and stride, sizes of several pieces, 0-d and empty; the input is never written."""
    f = getattr(special, name)
    x = rng.uniform(0.01, 0.99, (3, special_core._PIECE + 3))
    kept = x.copy()
    want = f(np, x)
    assert not np.shares_memory(want, x)
    np.testing.assert_array_equal(f(np, x[::-1, ::3]), want[::-1, ::3])
    np.testing.assert_array_equal(f(np, x.T), want.T)
    np.testing.assert_array_equal(f(np, np.broadcast_to(x[0, :5], (2, 5))), want[[0, 0], :5])
    np.testing.assert_array_equal(x, kept)
    assert isinstance(f(np, x[0, 0]), np.ndarray)
    assert f(np, np.array(0.3)).shape == ()
    assert f(np, np.zeros((2, 0))).shape == (2, 0)
    frozen = x[0, :4].copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(f(np, frozen), want[0, :4])


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_rounded_from_float(name: str, dtype: Any) -> None:
    """Narrow types give what float32 gives, rounded."""
    x = np.linspace(0.05, 0.95, 100).astype(dtype)
    got = getattr(special, name)(np, x)
    assert got.dtype == np.dtype(dtype)
    wide = getattr(oracle, SCIPY_NAME.get(name, name))(x.astype(np.float64))
    np.testing.assert_allclose(got.astype(np.float64), wide, rtol=2.0**-8, atol=1e-7)


def test_integers_are_refused() -> None:
    """Promotion is the business of a higher floor."""
    with pytest.raises(TypeError, match="int64"):
        special.erf(np, np.arange(3))


@pytest.mark.parametrize("name", UNARY)
def test_no_region_is_skipped_on_a_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device computes every region for every element: the selection alone must be right."""
    x = np.concatenate(
        [[v for v, _ in SPECIAL_VALUES[name]], [nan], signed(powers(-10, 2, 500)), line(-9, 9, 500)]
    )
    want = getattr(special, name)(np, x)
    monkeypatch.setattr(special_core, "is_numpy", lambda xp: False)
    np.testing.assert_array_equal(getattr(special, name)(np, x), want)
    ones = np.array([getattr(special, name)(np, x[i : i + 1])[0] for i in range(x.size)])
    np.testing.assert_array_equal(ones, want)
