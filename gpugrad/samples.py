"""Descriptions of test inputs, kept with the ops they exercise.

A record says what its arguments look like; tests, gradient checks, the torch comparison and
benchmarks turn the description into arrays.  Nothing here makes an array of a tensor library.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpugrad import dtypes


@dataclass(frozen=True, slots=True)
class A:
    """One array argument: shape, range of values, and what is special about them.

    Attributes:
        shape: its shape.
        low, high: values are uniform in ``[low, high)``.
        kind: ``"float"``, ``"int"``, ``"bool"``, or the name of one dtype.
        values: ``"any"``; ``"distinct"`` (no ties, so that an order is unique); ``"spd"``
            (symmetric positive definite matrices); ``"well"`` (well-conditioned matrices).
    """

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    kind: str = "float"
    values: str = "any"

    def make(self, rng: np.random.Generator, dtype: dtypes.DType) -> np.ndarray[Any, Any]:
        """Draw the array; ``dtype`` is used where ``kind`` is ``"float"``."""
        if self.kind == "bool" or (self.kind == "float" and dtype is dtypes.bool_):
            return np.asarray(rng.random(self.shape) < 0.5)
        named = self.kind not in ("float", "int")
        target = dtypes.as_dtype(self.kind) if named else dtype
        if self.kind == "int" and not named:
            target = dtypes.int64
        if target.category == dtypes.INTEGER:
            low, high = int(np.floor(self.low)), int(np.ceil(self.high))
            if not target.is_signed:
                low, high = max(low, 0), max(high, 1)
            if self.values == "distinct" and (size := int(np.prod(self.shape))) <= high - low:
                chosen = low + rng.permutation(high - low)[:size]
                return chosen.reshape(self.shape).astype(target.np)
            return np.asarray(rng.integers(low, max(high, low + 1), self.shape)).astype(target.np)
        size = int(np.prod(self.shape, dtype=np.int64))
        if self.values == "distinct":
            flat = np.linspace(self.low, self.high, size + 2)[1:-1]
            return rng.permutation(flat).reshape(self.shape).astype(target.np)
        x = rng.uniform(self.low, self.high, self.shape)
        if self.values == "spd":
            x = x @ x.swapaxes(-1, -2) + self.shape[-1] * np.eye(self.shape[-1])
        elif self.values == "well":
            x = x + self.shape[-1] * np.eye(self.shape[-2], self.shape[-1])
        return np.asarray(x).astype(target.np)


class Sample:
    """One call of an op: arguments in public order (``A`` for arrays) and keyword arguments."""

    __slots__ = ("args", "kwargs")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        parts = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"Sample({', '.join(parts)})"

    def arrays(self) -> list[A]:
        """All array descriptions, also those inside lists."""
        found: list[A] = []

        def look(value: Any) -> None:
            if isinstance(value, A):
                found.append(value)
            elif isinstance(value, list | tuple):
                for v in value:
                    look(v)

        for value in (*self.args, *self.kwargs.values()):
            look(value)
        return found


class Convention(Sample):
    """A call whose gradient is PyTorch's by convention and not the derivative.

    An example is an embedding whose gradient is divided by how often a row occurs.  Such a gradient
    is compared with PyTorch's and not with finite differences.
    """

    __slots__ = ()


class Laid(Sample):
    """A call whose result depends on how its input lies in memory, as ``as_strided`` does."""

    __slots__ = ()


class Writing(Sample):
    """A call that writes into its first argument: it is made on a copy, which is the result."""

    __slots__ = ()


class Undefined(Sample):
    """A call whose result has a shape and a dtype but no defined values (fresh memory)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A sample with its arrays drawn: NumPy arrays where the description had ``A``."""

    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)


def make(sample: Sample, dtype: dtypes.DType, seed: int = 0) -> Made:
    """Draw the arrays of a sample, the same for the same seed."""
    rng = np.random.default_rng(seed)

    def build(value: Any) -> Any:
        if isinstance(value, A):
            return value.make(rng, dtype)
        if isinstance(value, list | tuple):
            return type(value)(build(v) for v in value)
        return value

    args = [build(a) for a in sample.args]
    return Made(args, {k: build(v) for k, v in sample.kwargs.items()})


def for_elementwise(arrays: int, domain: Any) -> list[Sample]:
    """Samples that every elementwise op gets: plain, 0-d, empty and broadcast shapes."""
    pairs = domain if domain and isinstance(domain[0], tuple) else (domain or (-3.0, 3.0),) * arrays
    shapes: list[tuple[tuple[int, ...], ...]] = [((3, 4),) * arrays, ((),) * arrays,
                                                 ((0, 3),) * arrays, ((7,),) * arrays]  # fmt: skip
    if arrays == 2:
        shapes += [((3, 1), (4,)), ((2, 3, 4), (3, 1)), ((), (5,)), ((2, 1, 3), (2, 4, 1))]
    if arrays == 3:
        shapes += [((3, 4), (4,), (3, 1)), ((), (2, 3), (3,))]
    return [Sample(*(A(s, *pairs[i]) for i, s in enumerate(row))) for row in shapes]
