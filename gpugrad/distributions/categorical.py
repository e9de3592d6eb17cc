"""The categorical distribution."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

from gpugrad import dtypes
from gpugrad.distributions import constraints
from gpugrad.distributions.distribution import Distribution
from gpugrad.distributions.utils import lazy_property, logits_to_probs, probs_to_logits
from gpugrad.errors import ArgumentError, SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.tensor import Size, Tensor


class Categorical(Distribution):
    """One of K events, by their ``probs`` (of any positive sum) or ``logits`` along the last dim.

    Raises:
        SettingError: if none or both are given, or they have no dims.
    """

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None) -> None:  # fmt: skip
        name = type(self).__name__
        if (probs is None) == (logits is None):
            raise SettingError(f"{name}: either probs or logits must be given, not both")
        self._given = "logits" if probs is None else "probs"
        given = logits if probs is None else probs
        if not isinstance(given, Tensor):
            raise ArgumentError(
                f"{name}: {self._given} must be a Tensor, got {type(given).__name__}"
            )
        if given.ndim < 1:
            raise SettingError(f"{name}: {self._given} must have at least one dim, it has none")
        # Normalised; `param` is then the field of that name.
        self._param = (
            given / given.sum(-1, keepdim=True) if logits is None
            else given - F.logsumexp(given, -1, keepdim=True)
        )  # fmt: skip
        self.__dict__[self._given] = self._param
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], self._event(), validate_args)

    def _event(self) -> tuple[int, ...]:
        return ()

    def expand(self, batch_shape: Any) -> Self:
        given = {self._given: self._param.expand((*batch_shape, self._num_events))}
        return self._like(type(self)(**given, validate_args=False))

    @property
    def support(self) -> constraints.Constraint:
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Tensor:
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Tensor:
        return logits_to_probs(self.logits)

    @property
    def param_shape(self) -> Size:
        """Shape of what was given."""
        return self._param.shape

    def _unknown(self) -> Tensor:
        return self.probs.new_full(self._extended_shape(), math.nan)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self._unknown()

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        return self._unknown()

    def _draw(self, sample_shape: Any) -> Tensor:
        """Numbers of events, of shape ``sample_shape + batch_shape``."""
        with no_grad():
            rows = self.probs.reshape(-1, self._num_events)
            drawn = F.multinomial(rows, math.prod(sample_shape), replacement=True)
            return drawn.mT.reshape((*sample_shape, *self._batch_shape))  # type: ignore[no-any-return]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._draw(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        index, logits = F.broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        lowest = dtypes.finfo(self.logits.dtype).min  # an impossible event adds 0, not NaN
        return -(self.logits.clamp(min=lowest) * self.probs).sum(-1)  # type: ignore[no-any-return]

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = self._num_events
        values = F.arange(n, device=self._param.device)
        values = values.reshape((n, *(1 for _ in self._batch_shape)))
        return values.expand((n, *self._batch_shape)) if expand else values  # type: ignore[no-any-return]
