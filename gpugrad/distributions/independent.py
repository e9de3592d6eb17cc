"""Batch dimensions taken together as one event."""

from __future__ import annotations

from typing import Any, Self

from gpugrad.distributions import constraints
from gpugrad.distributions.distribution import Distribution
from gpugrad.distributions.utils import sum_rightmost
from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.tensor import Tensor


class Independent(Distribution):
    """The last ``reinterpreted_batch_ndims`` batch dims of a distribution become event dims.

    Raises:
        SettingError: if the distribution has fewer batch dims.
    """

    def __init__(self, base_distribution: Distribution, reinterpreted_batch_ndims: int,
                 validate_args: bool | None = None) -> None:  # fmt: skip
        batch, n = base_distribution.batch_shape, reinterpreted_batch_ndims
        if n > len(batch):
            raise SettingError(
                f"Independent: reinterpreted_batch_ndims is {n}; the distribution has "
                f"{len(batch)} batch dims"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        kept = len(batch) - n
        event = (*batch[kept:], *base_distribution.event_shape)
        super().__init__(batch[:kept], event, validate_args)

    def expand(self, batch_shape: Any) -> Self:
        kept = len(self.event_shape) - len(self.base_dist.event_shape)
        base = self.base_dist.expand((*batch_shape, *self.event_shape[:kept]))
        return self._like(type(self)(base, self.reinterpreted_batch_ndims, validate_args=False))

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the base has ``rsample``."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> Any:
        found = self.base_dist.support
        if constraints.is_dependent(found) or not self.reinterpreted_batch_ndims:
            return found
        return constraints.independent(found, self.reinterpreted_batch_ndims)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if self.reinterpreted_batch_ndims:
            raise NotSupportedError(
                "Independent: the values of several dims together are too many to enumerate; "
                "use base_dist.enumerate_support()"
            )
        return self.base_dist.enumerate_support(expand)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"
