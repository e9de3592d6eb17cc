"""The base of distributions: shapes, checks of parameters and samples, drawing."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Self

from gpugrad.distributions import constraints
from gpugrad.distributions.utils import broadcast_all
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError, ShapeError
from gpugrad.modes import no_grad
from gpugrad.tensor import Size, Tensor


class Distribution:
    """A family of distributions, one per element of ``batch_shape``, over ``event_shape`` values.

    Args:
        batch_shape: shape of the parameters.
        event_shape: shape of one draw of one distribution.
        validate_args: whether parameters and the values given to ``log_prob`` are checked.

    Raises:
        SettingError: naming the first parameter with a value outside of ``arg_constraints``.
    """

    has_rsample: ClassVar[bool] = False
    has_enumerate_support: ClassVar[bool] = False
    arg_constraints: ClassVar[Any] = {}
    support: Any = constraints.dependent
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Choose whether distributions without ``validate_args`` check."""
        if not isinstance(value, bool):
            raise SettingError(
                f"set_default_validate_args: value must be True or False, got {value!r}"
            )
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (),
                 validate_args: bool | None = None) -> None:  # fmt: skip
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        for name, constraint in self.arg_constraints.items():
            lazy = isinstance(getattr(type(self), name, None), cached_property)
            if constraints.is_dependent(constraint) or (name not in self.__dict__ and lazy):
                continue
            value = getattr(self, name)
            if not bool(constraint.check(value).all()):
                raise SettingError(
                    f"{type(self).__name__}: {name} of shape {tuple(value.shape)} must satisfy "
                    f"{constraint!r}, and has values that do not: {_outside(constraint, value)}"
                )

    # ---- shapes --------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Size:
        """Shape of the parameters: one distribution per element."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """Shape of one draw."""
        return self._event_shape

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        """Shape of draws: of the sample, the batch and the event."""
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def expand(self, batch_shape: Any) -> Self:
        """The same distributions, broadcast to a larger batch; memory is shared."""
        raise NotImplementedError(f"{type(self).__name__} has no expand()")

    def _like(self, made: Self) -> Self:
        """Hand on whether it is checked."""
        made._validate_args = self._validate_args
        return made

    # ---- drawing -------------------------------------------------------------------------------

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of shape ``sample_shape + batch_shape + event_shape``, without history."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws that are a differentiable function of the parameters."""
        raise NotImplementedError(
            f"{type(self).__name__}: its draws are no differentiable function of the parameters; "
            "use sample() with log_prob()"
        )

    def sample_n(self, n: int) -> Tensor:
        """``sample((n,))``."""
        return self.sample((n,))

    # ---- what subclasses tell ------------------------------------------------------------------

    @property
    def mean(self) -> Tensor:
        """Mean of each distribution."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def mode(self) -> Tensor:
        """The likeliest value of each distribution."""
        raise NotImplementedError(f"{type(self).__name__} has no mode")

    @property
    def variance(self) -> Tensor:
        """Variance of each distribution."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each distribution."""
        return self.variance.sqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density (or probability) at ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob()")

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a draw up to ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf()")

    def icdf(self, value: Tensor) -> Tensor:
        """Where the cumulative probability reaches ``value``."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf()")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values that a discrete distribution can take, along a new first dim."""
        raise NotImplementedError(f"{type(self).__name__} has no enumerate_support()")

    def entropy(self) -> Tensor:
        """Entropy in nats."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy()")

    def perplexity(self) -> Tensor:
        """``exp(entropy)``."""
        return self.entropy().exp()

    # ---- checks --------------------------------------------------------------------------------

    def _validate_sample(self, value: Any) -> None:
        """Check a value given to ``log_prob`` and its like.

        Raises:
            ArgumentError: if it is no tensor; ShapeError, SettingError: if it is no such draw.
        """
        name = type(self).__name__
        if not isinstance(value, Tensor):
            raise ArgumentError(f"{name}: value must be a Tensor, got {type(value).__name__}")
        end = value.ndim - len(self._event_shape)
        if end < 0 or tuple(value.shape[end:]) != tuple(self._event_shape):
            raise ShapeError(
                f"{name}: value has shape {tuple(value.shape)}; its last dims must be the event "
                f"shape {tuple(self._event_shape)}"
            )
        wanted = (*self._batch_shape, *self._event_shape)
        for i, j in zip(reversed(value.shape), reversed(wanted)):
            if 1 not in (i, j) and i != j:
                raise ShapeError(
                    f"{name}: value has shape {tuple(value.shape)}, which does not broadcast with "
                    f"batch and event {wanted}"
                )
        support = self.support
        if not constraints.is_dependent(support) and not bool(support.check(value).all()):
            raise SettingError(
                f"{name}: value of shape {tuple(value.shape)} must be within the support "
                f"{support!r}, and has values that are not: {_outside(support, value)}"
            )

    def __repr__(self) -> str:
        names = [n for n in self.arg_constraints if n in self.__dict__]
        shown = ", ".join(
            f"{n}: {v.item() if v.numel() == 1 else v.shape}"
            for n in names if isinstance(v := self.__dict__[n], Tensor)
        )  # fmt: skip
        return f"{type(self).__name__}({shown})"


class Elementwise(Distribution):
    """A distribution of single numbers whose parameters are tensors of the batch's shape."""

    #: Names of the parameters, in the constructor's order.
    _parameters: ClassVar[tuple[str, ...]] = ()

    def _start(self, *values: Any, validate_args: bool | None) -> None:
        found = broadcast_all(*values)
        for name, value in zip(self._parameters, found, strict=True):
            setattr(self, name, value)
        super().__init__(found[0].shape, (), validate_args)

    def expand(self, batch_shape: Any) -> Self:
        values = [getattr(self, name).expand(tuple(batch_shape)) for name in self._parameters]
        kind: Any = type(self)
        return self._like(kind(*values, validate_args=False))


class LocationScale(Elementwise):
    """One shape for all, moved to ``loc`` and stretched by ``scale``; symmetric, and highest there.

    Args:
        loc, scale: numbers or tensors that broadcast together.
        validate_args: whether parameters and values are checked.
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = ("loc", "scale")
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self._start(loc, scale, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc


def _outside(constraint: constraints.Constraint, value: Tensor) -> str:
    """A few of the values (or of the events) that break a constraint."""
    with no_grad():
        bad = value.detach()[~constraint.check(value)]
    some = bad[:3].tolist()
    return ", ".join(map(str, some)) + (", ..." if len(bad) > 3 else "")


def no_closed_form(kind: str, p: Any, q: Any) -> NotSupportedError:
    """What ``kl_divergence`` raises for a pair that nobody registered."""
    return NotSupportedError(
        f"{kind}: no formula for {type(p).__name__} and {type(q).__name__} is known; "
        "register one with register_kl"
    )
