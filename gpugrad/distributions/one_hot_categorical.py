"""The categorical distribution over one-hot vectors."""

from __future__ import annotations

from typing import Any

from gpugrad.distributions import constraints
from gpugrad.distributions.categorical import Categorical
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor


class OneHotCategorical(Categorical):
    """One of K events as a vector with a 1 at its place; by ``probs`` or ``logits``."""

    support = constraints.one_hot

    def _event(self) -> tuple[int, ...]:
        return (self._num_events,)

    def _hot(self, index: Tensor) -> Tensor:
        return F.one_hot(index, self._num_events).to(self._param.dtype)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.probs  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        return self._hot(self.probs.argmax(-1))

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)  # type: ignore[no-any-return]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._hot(self._draw(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        hot, logits = F.broadcast_tensors(value, self.logits)
        return logits.gather(-1, hot.argmax(-1, keepdim=True)).squeeze(-1)  # type: ignore[no-any-return]

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = self._num_events
        values = F.eye(n, dtype=self._param.dtype, device=self._param.device)
        values = values.reshape((n, *(1 for _ in self._batch_shape), n))
        return values.expand((n, *self._batch_shape, n)) if expand else values  # type: ignore[no-any-return]
