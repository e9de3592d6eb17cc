"""Ready parametrizations (see ``parametrize``)."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import DimError, SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn.module import Module
from gpugrad.nn.utils.orthogonal import orthogonal as orthogonal
from gpugrad.nn.utils.parametrize import register_parametrization
from gpugrad.nn.utils.spectral_norm import as_matrix, check_iterations, default_dim, unit
from gpugrad.nn.utils.weight_norm import norm_except, normalised
from gpugrad.tensor import Tensor


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return normalised(weight_g, weight_v, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Length and direction of a weight."""
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length (``original0``) and direction (``original1``) of a weight instead of itself.

    Formula: ``w = g * v / |v|`` (Salimans and Kingma, 2016).

    Args:
        module: whose weight it is.
        name: the weight.
        dim: the dimension that has a length per entry; None for one length of all.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def older(state_dict: Any, prefix: str, *rest: Any) -> None:
        """Take the names of ``nn.utils.weight_norm``."""
        keys = [f"{prefix}{name}_{end}" for end in "gv"]
        if all(key in state_dict for key in keys):
            for i, key in enumerate(keys):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(older)
    return module


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise DimError(
                f"spectral_norm: dim {dim} is out of range for a weight of {weight.ndim} dimensions"
            )
        check_iterations(n_power_iterations)
        self.dim = dim % weight.ndim
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = as_matrix(weight, self.dim)
                for name, n in zip(("_u", "_v"), matrix.shape):
                    self.register_buffer(name, unit(matrix.new_empty(n).normal_(), eps))
            self._power_method(matrix, 15)

    def _power_method(self, matrix: Tensor, steps: int) -> None:
        with no_grad():
            for _ in range(steps):
                self._u.copy_(unit(F.mv(matrix, self._v), self.eps))
                self._v.copy_(unit(F.mv(matrix.T, self._u), self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return unit(weight, self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # The next step writes into the vectors; this gradient needs them as they are.
        u, v = self._u.clone(), self._v.clone()
        return weight / F.dot(u, F.mv(matrix, v))  # type: ignore[no-any-return]

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: it may have any length."""
        return value


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Module:  # fmt: skip
    """Divide a weight by an estimate of its largest singular value (Miyato et al., 2018).

    Args:
        module: whose weight it is.
        name: the weight.
        n_power_iterations: steps of power iteration each time it is read in training mode.
        eps: least length that a vector is divided by.
        dim: the dimension of the outputs; 1 for transposed convolutions, else 0.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise SettingError(f"spectral_norm: {type(module).__name__} has no tensor {name!r}")
    place = default_dim(module) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, place, eps)
    return register_parametrization(module, name, made)
