"""Weight normalisation (Salimans and Kingma, 2016): a weight as length times direction.

Formula: ``w = g * v / |v|``, with the norm over everything but one dimension.  This is the older
form, which writes ``module.weight`` before every ``forward``; ``parametrizations.weight_norm`` is
the newer one.
"""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn.module import Module
from gpugrad.nn.parameter import Parameter
from gpugrad.tensor import Tensor


def norm_except(v: Tensor, dim: int | None) -> Tensor:
    """The 2-norm over all dimensions but ``dim``, kept as ones; over all for None or -1 (0-d)."""
    if dim is None or dim == -1:
        return F.vector_norm(v)  # type: ignore[no-any-return]
    if not 0 <= dim < v.ndim:
        raise SettingError(f"weight_norm: dim is from 0 to {v.ndim - 1} or None, got {dim}")
    others = [d for d in range(v.ndim) if d != dim]
    return F.vector_norm(v, 2, others, True) if others else v.abs()


def normalised(g: Tensor, v: Tensor, dim: int | None) -> Tensor:
    """``g * v / |v|``."""
    return v * (g / norm_except(v, dim))


class WeightNorm:
    """The forward pre-hook that computes the weight."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight from ``<name>_g`` and ``<name>_v``."""
        length, direction = (getattr(module, self.name + end) for end in ("_g", "_v"))
        return normalised(length, direction, self.dim)

    def __call__(self, module: Module, args: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length ``<name>_g`` and direction ``<name>_v`` of a weight instead of itself.

    Args:
        module: whose weight it is.
        name: the weight.
        dim: the dimension that has a length per entry; None for one length of all.
    """
    warnings.warn(
        "nn.utils.weight_norm is deprecated in favor of nn.utils.parametrizations.weight_norm",
        FutureWarning, stacklevel=2,
    )  # fmt: skip
    if find_hook(module, WeightNorm, name) is not None:
        raise SettingError(f"weight_norm: {name!r} of {type(module).__name__} has one already")
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    with no_grad():
        length = norm_except(weight, dim)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(length))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an ordinary parameter again, with the value it has now."""
    key = find_hook(module, WeightNorm, name)
    if key is None:
        raise SettingError(f"remove_weight_norm: {name!r} of {type(module).__name__} has none")
    hook = module._forward_pre_hooks.pop(key).fn
    with no_grad():
        weight = hook.compute_weight(module)
    for attribute in (name, f"{name}_g", f"{name}_v"):
        delattr(module, attribute)
    module.register_parameter(name, Parameter(weight))
    return module


def find_hook(module: Module, kind: type, name: str) -> int | None:
    """The key of the forward pre-hook of this kind for this weight."""
    for key, hook in module._forward_pre_hooks.items():
        fn: Any = hook.fn
        if isinstance(fn, kind) and getattr(fn, "name", None) == name:
            return key
    return None
