"""The demand for the same bits in every run, which every op meets anyway."""

from __future__ import annotations

from gpugrad.config import config
from gpugrad.errors import ArgumentError
from gpugrad.op import function


@function(method=False, samples=(), differentiable=False)
def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Demand the same bits from every run; every op keeps that promise anyway.

    Args:
        mode: what ``are_deterministic_algorithms_enabled`` says from now on.
        warn_only: for PyTorch's sake: there is no op to warn of.

    Raises:
        ArgumentError: if ``mode`` or ``warn_only`` is no bool.
    """
    for name, value in (("mode", mode), ("warn_only", warn_only)):
        if not isinstance(value, bool):
            raise ArgumentError(
                f"use_deterministic_algorithms: {name} must be a bool, got {value!r}"
            )
    config.deterministic = mode


@function(method=False, samples=(), differentiable=False)
def are_deterministic_algorithms_enabled() -> bool:
    """What ``use_deterministic_algorithms`` was told; False at first."""
    return config.deterministic
