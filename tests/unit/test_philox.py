"""Random numbers: the published words, the distributions, and that only the index matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gpugrad.backends import philox

SEED, OFFSET = 0x123456789ABCDEF1, 0xFEDCBA9876543210
N = 200_000

FILLS: dict[str, Callable[[int, int, int], Any]] = {
    "bits": lambda s, o, n: philox.bits(np, s, o, n),
    "bits64": lambda s, o, n: philox.bits64(np, s, o, n),
    "uniform32": lambda s, o, n: philox.uniform(np, s, o, n, np.float32),
    "uniform64": lambda s, o, n: philox.uniform(np, s, o, n, np.float64),
    "uniform16": lambda s, o, n: philox.uniform(np, s, o, n, np.float16),
    "normal32": lambda s, o, n: philox.normal(np, s, o, n, np.float32),
    "normal64": lambda s, o, n: philox.normal(np, s, o, n, np.float64),
    "exponential32": lambda s, o, n: philox.exponential(np, s, o, n, np.float32),
    "exponential64": lambda s, o, n: philox.exponential(np, s, o, n, np.float64),
    "integers32": lambda s, o, n: philox.integers(np, s, o, n, -5, 10),
    "integers64": lambda s, o, n: philox.integers(np, s, o, n, -5, 10**15),
}
every_fill = pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)


# The known-answer vectors of Random123 (kat_vectors, "philox4x32 10").
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    """The words are the published ones, for numbers and for arrays of counters."""
    scalars = philox.philox4x32(np, tuple(np.uint32(c) for c in counter), key)
    assert tuple(int(w) for w in scalars) == words
    arrays = philox.philox4x32(np, tuple(np.full((2, 3), c, np.uint32) for c in counter), key)
    for got, want in zip(arrays, words):
        assert got.dtype == np.uint32
        np.testing.assert_array_equal(got, np.full((2, 3), want, np.uint32))


@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF, SEED, (1 << 64) - 1, -1])
@pytest.mark.parametrize("offset", [0, 1, OFFSET, (1 << 64) - 1])
def test_bits_are_the_blocks_of_the_counter(seed: int, offset: int) -> None:
    """Word i is lane i % 4 of block i // 4, also past the end of a piece of work."""
    blocks = 3 * philox._HOST_BLOCKS + 5
    low = np.arange(blocks, dtype=np.uint32)
    zero = np.zeros_like(low)
    counter = (low, zero, zero + np.uint32(offset & 0xFFFFFFFF), zero + np.uint32(offset >> 32))
    lanes = philox.philox4x32(np, counter, (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))
    words = np.stack(lanes, axis=1).reshape(-1)
    np.testing.assert_array_equal(philox.bits(np, seed, offset, words.size), words)
    np.testing.assert_array_equal(
        philox.bits64(np, seed, offset, words.size // 2),
        words[0::2].astype(np.uint64) | words[1::2].astype(np.uint64) << np.uint64(32),
    )


def test_block_index_carries_into_its_high_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks from 2**32 on have the high word of the block index set."""

    first = (1 << 32) - 16
    keys = philox._round_keys(5, 6)
    monkeypatch.setattr(philox, "_round_keys", lambda lo, hi: keys)
    monkeypatch.setattr(philox, "_HOST_BLOCKS", 16)

    def late(*args: int) -> range:
        """The loop over pieces begins at `first`: the blocks before are not computed."""
        return range(first, *args[1:]) if len(args) == 3 else range(*args)

    monkeypatch.setattr(philox, "range", late, raising=False)
    pieces = philox._stream(np, 0, 7, 4 * (first + 32))
    words = np.concatenate([piece.copy() for _, _, piece in pieces])
    index = np.arange(first, first + 32, dtype=np.uint64)
    lo, hi = (index & np.uint64(0xFFFFFFFF)).astype(np.uint32), index >> np.uint64(32)
    lanes = philox.philox4x32(np, (lo, hi, np.full_like(lo, 7), np.zeros_like(lo)), (5, 6))
    np.testing.assert_array_equal(words, np.stack(lanes, axis=1).reshape(-1))


@every_fill
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 7, 63, 64, 65, 1001])
def test_prefix(fill: Callable[[int, int, int], Any], n: int) -> None:
    """The first n numbers are the same bits whatever is drawn after them."""
    longer = fill(SEED, OFFSET, 4 * philox._HOST_BLOCKS + 11)
    short = fill(SEED, OFFSET, n)
    assert short.shape == (n,)
    np.testing.assert_array_equal(short, longer[:n])


@every_fill
def test_seed_and_offset_matter(fill: Callable[[int, int, int], Any]) -> None:
    """Both halves of the seed and of the offset change the numbers; equal ones repeat them."""
    seen = {
        fill(s, o, 64).tobytes()
        for s, o in [(0, 0), (1, 0), (1 << 32, 0), (0, 1), (0, 1 << 32), (1, 1)]
    }
    assert len(seen) == 6
    np.testing.assert_array_equal(fill(3, 4, 64), fill(3 + (1 << 64), 4, 64))


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(np.float64, 53), (np.float32, 24), (np.float16, 11), (ml_dtypes.bfloat16, 8)],
)
def test_uniform_is_the_top_bits(dtype: Any, precision: int) -> None:
    """Exactly the top bits over 2**precision, so 1 is never reached and every step is hit alike."""
    got = philox.uniform(np, SEED, OFFSET, 10_001, dtype)
    size = 64 if precision == 53 else 32
    words = (philox.bits64 if size == 64 else philox.bits)(np, SEED, OFFSET, 10_001)
    top = (words >> words.dtype.type(size - precision)).astype(np.float64)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got.astype(np.float64), top * 2.0**-precision)
    assert got.astype(np.float64).max() < 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_extreme_words_stay_in_range(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all bits clear or all set, uniform stays below 1, and the logarithms stay finite."""
    for word in (0, 0xFFFFFFFF):

        def stream(xp: Any, seed: int, offset: int, n: int, per: int = 1, word: int = word) -> Any:
            yield 0, n, np.full(4 * per, word, np.uint32)

        monkeypatch.setattr(philox, "_stream", stream)
        u = philox.uniform(np, 0, 0, 4, dtype).astype(np.float64)
        assert (u >= 0).all()
        assert (u < 1).all()
        assert np.isfinite(philox.normal(np, 0, 0, 4, dtype).astype(np.float64)).all()
        e = philox.exponential(np, 0, 0, 4, dtype).astype(np.float64)
        assert np.isfinite(e).all()
        assert (e > 0).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_distributions(dtype: Any) -> None:
    """Mean, variance and Kolmogorov-Smirnov distance are those of the named distribution."""
    stats = pytest.importorskip("scipy.stats")
    for name, values in {
        "uniform": philox.uniform(np, 7, 0, N, dtype),
        "norm": philox.normal(np, 7, 1, N, dtype),
        "expon": philox.exponential(np, 7, 2, N, dtype),
    }.items():
        law = getattr(stats, name)
        values = values.astype(np.float64)
        assert abs(values.mean() - law.mean()) < 4 * law.std() / N**0.5
        assert abs(values.var() / law.var() - 1) < 0.02
        assert stats.kstest(values, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_normal_pairs_are_uncorrelated(dtype: Any) -> None:
    """Neighbours share words, yet neither they nor their squares or magnitudes go together."""
    x = philox.normal(np, 11, 3, N, dtype).astype(np.float64).reshape(-1, 2)
    for f in (lambda v: v, np.square, np.abs):
        assert abs(np.corrcoef(f(x[:, 0]), f(x[:, 1]))[0, 1]) < 4 / (N / 2) ** 0.5
    assert abs((x**4).mean() - 3) < 0.1


def test_streams_are_uncorrelated() -> None:
    """Calls one offset or one seed apart have nothing in common."""
    base = philox.normal(np, 1, 1, N, np.float32)
    for seed, offset in ((1, 2), (2, 1), (1, 1 << 32)):
        other = philox.normal(np, seed, offset, N, np.float32)
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / N**0.5


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 1),
        (-3, 4),
        (0, 1 << 32),
        (0, (1 << 32) - 1),
        (5, 5 + (1 << 33) + 1),
        (-(1 << 63), 1 << 63),
        (-(1 << 63), (1 << 63) - 1),
        ((1 << 63) - 2, 1 << 63),
        (-(1 << 62), (1 << 62) + 12345),
    ],
)
def test_integers_are_the_multiply_high(low: int, high: int) -> None:
    """Against Python's integers, which are exact, over ranges up to all of int64."""
    got = philox.integers(np, SEED, OFFSET, 2000, low, high)
    r = high - low
    width = 32 if r < 1 << 32 else 64
    words = (philox.bits if width == 32 else philox.bits64)(np, SEED, OFFSET, 2000)
    assert got.dtype == np.int64
    assert got.tolist() == [low + (w * r >> width) for w in words.tolist()]
    assert low <= got.min()
    assert got.max() < high


def test_integers_are_uniform() -> None:
    """Counts pass a chi-squared test, for a range that does not divide 2**32."""
    stats = pytest.importorskip("scipy.stats")
    counts = np.bincount(philox.integers(np, 3, 0, N, 0, 37), minlength=37)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 2), (0, (1 << 63) + 1), (-(1 << 63) - 1, 0)])
def test_integers_refuse_an_empty_or_too_wide_range(low: int, high: int) -> None:
    """The error shows the range."""
    with pytest.raises(ValueError, match=f"low={low}, high={high}"):
        philox.integers(np, 0, 0, 3, low, high)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_permutation(n: int) -> None:
    """Each number once, in the stable order of the 64-bit keys."""
    got = philox.permutation(np, SEED, OFFSET, n)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(np.sort(got), np.arange(n))
    keys = philox.bits64(np, SEED, OFFSET, n)
    np.testing.assert_array_equal(got, np.argsort(keys, kind="stable"))


def test_permutation_with_equal_keys_is_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are equal, should it ever happen, leave their indices in order."""
    keys = np.arange(500, dtype=np.uint64) % np.uint64(3)
    monkeypatch.setattr(philox, "bits64", lambda *_: keys.copy())
    want = np.argsort(keys, kind="stable")
    np.testing.assert_array_equal(philox.permutation(np, 0, 0, 500), want)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_bernoulli(dtype: Any) -> None:
    """True as often as asked; certain at 1, impossible at 0 and NaN; the shape is that of p."""
    p = np.broadcast_to(np.array([0, 0.25, 1, np.nan], dtype), (5000, 4))
    got = philox.bernoulli(np, 5, 6, p)
    assert got.dtype == np.bool_
    assert got.shape == p.shape
    share = got.mean(axis=0)
    assert (share[0], share[2], share[3]) == (0, 1, 0)
    assert abs(share[1] - 0.25) < 4 * (0.25 * 0.75 / 5000) ** 0.5
    assert philox.bernoulli(np, 5, 6, np.ones((), dtype)).shape == ()


def test_a_dtype_that_is_no_float_is_refused() -> None:
    """The error names it."""
    for fill in (philox.uniform, philox.normal, philox.exponential):
        with pytest.raises(TypeError, match="int32"):
            fill(np, 0, 0, 3, np.int32)
