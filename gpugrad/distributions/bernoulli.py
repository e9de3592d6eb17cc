"""The Bernoulli distribution."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from gpugrad.distributions import constraints
from gpugrad.distributions.distribution import Distribution
from gpugrad.distributions.utils import (
    broadcast_all,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.tensor import Size, Tensor


class Bernoulli(Distribution):
    """1 with probability ``probs``, else 0; by ``probs`` or by ``logits``, the log of its odds."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None) -> None:  # fmt: skip
        if (probs is None) == (logits is None):
            raise SettingError("Bernoulli: either probs or logits must be given, not both")
        self._given = "logits" if probs is None else "probs"
        (self._param,) = broadcast_all(logits if probs is None else probs)
        self.__dict__[self._given] = self._param
        super().__init__(self._param.shape, (), validate_args)

    def expand(self, batch_shape: Any) -> Self:
        given = {self._given: self._param.expand(tuple(batch_shape))}
        return self._like(type(self)(**given, validate_args=False))

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self) -> Size:
        """Shape of what was given."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return self.probs  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        likely: Tensor = (self.probs >= 0.5).to(self.probs.dtype)
        return likely.masked_fill(self.probs == 0.5, float("nan"))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)  # type: ignore[no-any-return]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with no_grad():
            drawn: Tensor = F.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))
            return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -_cross_entropy(logits, value)

    def entropy(self) -> Tensor:
        return _cross_entropy(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values: Tensor = F.arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape((2, *(1 for _ in self._batch_shape)))
        return values.expand((2, *self._batch_shape)) if expand else values


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    found: Tensor = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return found
