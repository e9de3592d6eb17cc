"""Which values a parameter or a sample may have: ``constraint.check(value)`` says it per element.

A constraint over ``event_dim`` dimensions gives one answer for all of them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor


class Constraint:
    """A set of values."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        """Whether values are inside: a bool tensor of the shape without ``event_dim`` dims."""
        raise NotImplementedError(f"{type(self).__name__} has no check()")

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}()"


class _Rule(Constraint):
    """A constraint by a function; ``shown`` is what its name and bounds look like."""

    def __init__(self, shown: str, rule: Callable[[Any], Any], *, discrete: bool = False,
                 event_dim: int = 0) -> None:  # fmt: skip
        self._shown, self._rule = shown, rule
        self.is_discrete, self.event_dim = discrete, event_dim

    def check(self, value: Tensor) -> Tensor:
        result: Tensor = self._rule(value)
        return result

    def __repr__(self) -> str:
        return self._shown


class _Dependent(Constraint):
    """Depends on other parameters, so it can be told of an instance only."""

    def __init__(self, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: bool = False, event_dim: int = 0) -> _Dependent:
        """The same with other facts, as PyTorch has it."""
        return _Dependent(is_discrete=is_discrete, event_dim=event_dim)


def _bounds(name: str, **bounds: Any) -> str:
    inside = ", ".join(
        f"{k}={v if not isinstance(v, Tensor) or v.ndim else v.item()}" for k, v in bounds.items()
    )
    return f"{name}({inside})"


def greater_than(lower_bound: Any) -> Constraint:
    """Above a number or tensor."""
    return _Rule(_bounds("GreaterThan", lower_bound=lower_bound), lambda x: x > lower_bound)


def greater_than_eq(lower_bound: Any) -> Constraint:
    """At or above a number or tensor."""
    return _Rule(_bounds("GreaterThanEq", lower_bound=lower_bound), lambda x: x >= lower_bound)


def less_than(upper_bound: Any) -> Constraint:
    """Below a number or tensor."""
    return _Rule(_bounds("LessThan", upper_bound=upper_bound), lambda x: x < upper_bound)


def interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Between two bounds, which belong to it."""
    return _Rule(
        _bounds("Interval", lower_bound=lower_bound, upper_bound=upper_bound),
        lambda x: (x >= lower_bound) & (x <= upper_bound),
    )


def half_open_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """Between two bounds; the upper one does not belong to it."""
    return _Rule(
        _bounds("HalfOpenInterval", lower_bound=lower_bound, upper_bound=upper_bound),
        lambda x: (x >= lower_bound) & (x < upper_bound),
    )


def integer_interval(lower_bound: Any, upper_bound: Any) -> Constraint:
    """A whole number between two bounds, which belong to it."""
    return _Rule(
        _bounds("IntegerInterval", lower_bound=lower_bound, upper_bound=upper_bound),
        lambda x: (x % 1 == 0) & (x >= lower_bound) & (x <= upper_bound), discrete=True,
    )  # fmt: skip


def independent(base_constraint: Constraint, reinterpreted_batch_ndims: int) -> Constraint:
    """A constraint that holds for a whole block of trailing dims."""

    def check(value: Any) -> Any:
        found = base_constraint.check(value)
        kept = found.ndim - reinterpreted_batch_ndims
        return found.reshape((*found.shape[:kept], -1)).all(-1)

    return _Rule(f"IndependentConstraint({base_constraint!r}, {reinterpreted_batch_ndims})", check,
                 discrete=base_constraint.is_discrete,
                 event_dim=base_constraint.event_dim + reinterpreted_batch_ndims)  # fmt: skip


def is_dependent(constraint: Constraint) -> bool:
    """Whether only an instance of a distribution can tell it."""
    return isinstance(constraint, _Dependent)


def _finite(x: Any) -> Any:
    return x == x  # infinities are numbers; NaN is not


def _rows(x: Any) -> Any:
    return x.reshape((*x.shape[:-2], -1)).all(-1)


def _lower(x: Any) -> Any:
    return _rows(F.equal(F.tril(x), x) if x.ndim < 2 else F.tril(x) == x)


def _symmetric(x: Any) -> Any:
    return _rows((x - x.mT).abs() <= 1e-6)


def _positive_definite(x: Any) -> Any:
    if not bool(_symmetric(x).all()):
        return _symmetric(x)
    return F.eigvalsh(x)[..., 0] > 0


dependent = _Dependent()
real = _Rule("Real()", _finite)
real_vector = independent(real, 1)
boolean = _Rule("Boolean()", lambda x: (x == 0) | (x == 1), discrete=True)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
nonnegative_integer = _Rule(
    "IntegerGreaterThan(lower_bound=0)", lambda x: (x % 1 == 0) & (x >= 0), discrete=True
)
positive_integer = _Rule(
    "IntegerGreaterThan(lower_bound=1)", lambda x: (x % 1 == 0) & (x >= 1), discrete=True
)
simplex = _Rule(
    "Simplex()", lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6), event_dim=1
)
one_hot = _Rule(
    "OneHot()", lambda x: ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1), discrete=True,
    event_dim=1,
)  # fmt: skip
lower_triangular = _Rule("LowerTriangular()", _lower, event_dim=2)
lower_cholesky = _Rule(
    "LowerCholesky()",
    lambda x: _lower(x) & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1), event_dim=2,
)  # fmt: skip
symmetric = _Rule("Symmetric()", _symmetric, event_dim=2)
positive_definite = _Rule("PositiveDefinite()", _positive_definite, event_dim=2)
