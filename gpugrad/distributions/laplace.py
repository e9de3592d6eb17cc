"""The Laplace distribution."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.distributions.distribution import LocationScale
from gpugrad.distributions.utils import uniform_like
from gpugrad.tensor import Tensor


class Laplace(LocationScale):
    """Two exponential tails of decay ``scale`` around ``loc``."""

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale**2

    @property
    def stddev(self) -> Tensor:
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        uniform = uniform_like(shape, self.loc)
        # open at -1, where the logarithm would be infinite
        u = (2 * uniform - 1).clamp(min=dtypes.finfo(self.loc.dtype).eps - 1)
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = value - self.loc
        return 0.5 - 0.5 * x.sign() * (-x.abs() / self.scale).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        term = value - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()
