"""The normal distribution of vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

from gpugrad.distributions import constraints
from gpugrad.distributions.distribution import Distribution
from gpugrad.distributions.utils import lazy_property, normal_like
from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor

_MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


class MultivariateNormal(Distribution):
    """Normal distribution of vectors of mean ``loc``.

    Args:
        loc: (..., n).
        covariance_matrix: (..., n, n), or one of the next two instead.
        precision_matrix: its inverse.
        scale_tril: its lower Cholesky factor, with which everything is computed.
        validate_args: whether parameters and values are checked.

    Raises:
        SettingError: if not exactly one matrix is given, or ``loc`` has no dims.
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, covariance_matrix: Tensor | None = None,
                 precision_matrix: Tensor | None = None, scale_tril: Tensor | None = None,
                 validate_args: bool | None = None) -> None:  # fmt: skip
        given = dict(zip(_MATRICES, (covariance_matrix, precision_matrix, scale_tril)))
        chosen = [n for n, m in given.items() if m is not None]
        if len(chosen) != 1:
            raise SettingError(
                f"MultivariateNormal: exactly one of {', '.join(_MATRICES)} must be given, got "
                f"{', '.join(chosen) or 'none'}"
            )
        (self._given,) = chosen
        matrix: Any = given[self._given]
        if loc.ndim < 1 or matrix.ndim < 2:
            raise SettingError(
                f"MultivariateNormal: loc is a vector and {self._given} a matrix, got shapes "
                f"{tuple(loc.shape)} and {tuple(matrix.shape)}"
            )
        batch = F.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        n = loc.shape[-1]
        self.loc = loc.expand((*batch, n))
        self.__dict__[self._given] = matrix.expand((*batch, n, n))
        if validate_args is None:
            validate_args = self._validate_args
        super().__init__(batch, (n,), validate_args)
        self._unbroadcasted_scale_tril = self._factor(matrix)

    def _factor(self, matrix: Any) -> Tensor:
        if self._given == "scale_tril":
            return matrix  # type: ignore[no-any-return]
        if self._given == "covariance_matrix":
            return F.cholesky(matrix)  # type: ignore[no-any-return]
        # With the rows and columns turned round, the factor of the inverse is the inverse of the
        # precision's factor.
        turned = F.cholesky(matrix.flip((-2, -1))).flip((-2, -1)).mT
        eye = F.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        return F.solve_triangular(turned, eye, upper=False)  # type: ignore[no-any-return]

    def expand(self, batch_shape: Any) -> Self:
        shape = (*batch_shape, *self._event_shape)
        matrix = getattr(self, self._given).expand((*shape, *self._event_shape))
        made = type(self)(self.loc.expand(shape), **{self._given: matrix}, validate_args=False)
        return self._like(made)

    @lazy_property
    def scale_tril(self) -> Tensor:
        n = self._event_shape[0]
        return self._unbroadcasted_scale_tril.expand((*self._batch_shape, n, n))

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        return self.scale_tril @ self.scale_tril.mT  # type: ignore[no-any-return]

    @lazy_property
    def precision_matrix(self) -> Tensor:
        return F.inv(self.covariance_matrix)  # type: ignore[no-any-return]

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (self.scale_tril**2).sum(-1)  # type: ignore[no-any-return]

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        eps = normal_like(shape, self.loc)
        return self.loc + (self.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        apart = (value - self.loc).unsqueeze(-1)
        factor = self.scale_tril.expand((*apart.shape[:-1], apart.shape[-2]))
        white = F.solve_triangular(factor, apart, upper=False)
        squared = (white**2).sum((-2, -1))
        n = self._event_shape[0]
        return -0.5 * (n * math.log(2 * math.pi) + squared) - half_log_det(self)  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        n = self._event_shape[0]
        return 0.5 * n * (1 + math.log(2 * math.pi)) + half_log_det(self)


def half_log_det(p: MultivariateNormal) -> Tensor:
    """Half the logarithm of the covariance's determinant."""
    return p.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # type: ignore[no-any-return]
