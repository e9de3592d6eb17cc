"""Spectral normalisation (Miyato et al., 2018): a weight divided by its largest singular value.

The singular vectors ``u`` and ``v`` come from power iteration, a step per ``forward`` in training
mode.  This is the older form, which writes ``module.weight`` before every ``forward``;
``parametrizations.spectral_norm`` is the newer one.
"""

from __future__ import annotations

from typing import Any

from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn.module import Module
from gpugrad.nn.parameter import Parameter
from gpugrad.nn.utils.weight_norm import find_hook
from gpugrad.tensor import Tensor


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """The weight as (size of ``dim``, all others)."""
    return weight.movedim(dim, 0).flatten(1)


def default_dim(module: Module) -> int:
    """Where a module's weight has its outputs: in front, but for transposed convolutions."""
    from gpugrad.nn import modules

    transposed = tuple(
        layer for name, layer in modules.LAYERS.items() if name.startswith("ConvTranspose")
    )
    return 1 if isinstance(module, transposed) else 0


def unit(vector: Tensor, eps: float) -> Tensor:
    """The vector at length one."""
    return F.normalize(vector, dim=0, eps=eps)  # type: ignore[no-any-return]


def check_iterations(n: int) -> None:
    """Raise unless it is a positive number of power iterations."""
    if n <= 0:
        raise SettingError(f"spectral_norm: n_power_iterations must be positive, got {n}")


class SpectralNorm:
    """The forward pre-hook that computes the weight."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        check_iterations(n_power_iterations)
        self.name, self.n_power_iterations = name, n_power_iterations
        self.dim, self.eps = dim, eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight from ``<name>_orig`` and the singular vectors, which a step may improve."""
        weight, u, v = (getattr(module, self.name + end) for end in ("_orig", "_u", "_v"))
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(unit(F.mv(matrix.T, u), self.eps))
                    u.copy_(unit(F.mv(matrix, v), self.eps))
                # The next step writes into them; this gradient needs them as they are.
                u, v = u.clone(), v.clone()
        return weight / F.dot(u, F.mv(matrix, v))  # type: ignore[no-any-return]

    def __call__(self, module: Module, args: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Module:  # fmt: skip
    """Divide a weight by an estimate of its largest singular value before every ``forward``.

    Args:
        module: whose weight it is; the trained one becomes ``<name>_orig``.
        name: the weight.
        n_power_iterations: steps of power iteration per ``forward`` in training mode.
        eps: least length that a vector is divided by.
        dim: the dimension of the outputs; 1 for transposed convolutions, else 0.
    """
    if find_hook(module, SpectralNorm, name) is not None:
        raise SettingError(f"spectral_norm: {name!r} of {type(module).__name__} has one already")
    hook = SpectralNorm(name, n_power_iterations, default_dim(module) if dim is None else dim, eps)
    weight = module._parameters.get(name)
    if weight is None:
        raise SettingError(f"spectral_norm: {type(module).__name__} has no parameter {name!r}")
    with no_grad():
        rows, cols = as_matrix(weight, hook.dim).shape
        u, v = (unit(weight.new_empty(n).normal_(), eps) for n in (rows, cols))
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an ordinary parameter again, with the value it has now."""
    key = find_hook(module, SpectralNorm, name)
    if key is None:
        raise SettingError(f"remove_spectral_norm: {name!r} of {type(module).__name__} has none")
    hook = module._forward_pre_hooks.pop(key).fn
    with no_grad():
        weight = hook.compute_weight(module, False)
    for attribute in (name, f"{name}_orig", f"{name}_u", f"{name}_v"):
        delattr(module, attribute)
    module.register_parameter(name, Parameter(weight))
    return module
