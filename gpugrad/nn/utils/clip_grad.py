"""Keeping gradients from becoming too large."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from gpugrad.codegen.target import TARGETS
from gpugrad.codegen.update import sums_of_squares
from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.op import registry
from gpugrad.optim.optimizer import move
from gpugrad.tensor import Tensor


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors taken as one vector: the norm of their norms.

    Args:
        tensors: one or several.
        norm_type: order of the norm; may be infinite.
        error_if_nonfinite: raise if the result is NaN or infinite.
        foreach: asks for a way of computing; there is one.

    Raises:
        SettingError: for a norm that is not finite, where asked for.
    """
    given = _listed(tensors)
    if not given:
        return F.tensor(0.0)  # type: ignore[no-any-return]
    home = given[0].device
    total = _length(given) if norm_type == 2 else None
    if total is None:
        norms = [F.vector_norm(t, float(norm_type)).to(home) for t in given]
        total = F.vector_norm(F.stack(norms), float(norm_type))
    if error_if_nonfinite and not bool(total.isfinite()):
        raise SettingError(
            f"get_total_norm: the norm of order {norm_type} of {len(given)} gradients is "
            f"{total.item()}; set error_if_nonfinite=False to scale by it all the same"
        )
    return total


def _length(tensors: list[Tensor]) -> Tensor | None:
    """The norm of order 2 in one pass over all, where a device has a kernel for that."""
    target = TARGETS[type(tensors[0]._array)]
    if target is None or len({t.device for t in tensors}) > 1:
        return None
    parts = sums_of_squares(target, [t._array for t in tensors])
    if parts is None:
        return None
    total: Tensor = F.astype(F.sqrt(F.sum(F.wrap(parts))), tensors[0].dtype)
    return total


@no_grad()
def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float,
                          total_norm: Tensor, foreach: bool | None = None) -> None:  # fmt: skip
    """Scale gradients in place by ``max_norm / (total_norm + 1e-6)``, where that is below one."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    groups: dict[Any, list[Tensor]] = {}
    for grad in grads:
        groups.setdefault((grad.device, grad.dtype), []).append(grad)
    for (device, dtype), group in groups.items():
        if dtype.is_floating_point:
            own = factor.to(device).to(dtype)
            move(registry["optim.scale_step"], [(g, own) for g in group], {})
        else:
            for g in group:
                g.mul_(factor.to(device))


@no_grad()
def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False,
                    foreach: bool | None = None) -> Tensor:  # fmt: skip
    """Scale gradients in place so that their norm, taken as one vector, is at most ``max_norm``.

    Args:
        parameters: tensors whose ``.grad`` is scaled; those without one are left out.
        max_norm: the largest norm.
        norm_type: order of the norm; may be infinite.
        error_if_nonfinite: raise if the norm is NaN or infinite.
        foreach: asks for a way of computing; there is one.

    Returns:
        The norm before.
    """
    given = _listed(parameters)
    if not given:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.",
                      stacklevel=3)  # fmt: skip
    grads = [p.grad for p in given if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(given, max_norm, total)
    return total  # type: ignore[no-any-return]


def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
    """Older name of ``clip_grad_norm_``."""
    warnings.warn(
        "nn.utils.clip_grad_norm is deprecated in favor of nn.utils.clip_grad_norm_",
        FutureWarning, stacklevel=2,
    )  # fmt: skip
    return clip_grad_norm_(*args, **kwargs)  # type: ignore[no-any-return]


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float,
                     foreach: bool | None = None) -> None:  # fmt: skip
    """Clamp every element of the gradients to ``[-clip_value, clip_value]``, in place."""
    for p in _listed(parameters):
        if p.grad is not None:
            p.grad.clamp_(min=-float(clip_value), max=float(clip_value))
