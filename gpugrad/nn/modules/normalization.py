"""Normalisation layers that treat every example alike, in training and out of it."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import SettingError
from gpugrad.modes import no_grad
from gpugrad.nn import functional
from gpugrad.nn.layer import Layer, parameter, shown, sizes
from gpugrad.nn.module import Module


def add_affine(module: Module, shape: tuple[int, ...], weight: bool, bias: bool, device: Any,
               dtype: Any) -> None:  # fmt: skip
    """Register ``weight`` and ``bias`` of a shape, or None for what is not wanted."""
    for name, wanted in (("weight", weight), ("bias", bias)):
        made = parameter(*shape, device=device, dtype=dtype) if wanted else None
        module.register_parameter(name, made)


def reset_affine(module: Module) -> None:
    """Set ``weight`` to 1 and ``bias`` to 0, where there are any."""
    with no_grad():
        for name, value in (("weight", 1.0), ("bias", 0.0)):
            held = module._parameters.get(name)
            if held is not None:
                held.fill_(value)


class LayerNorm(Module):
    """Standardises the last dimensions, then scales and shifts each element of them.

    Args:
        normalized_shape: their sizes, an int for one.
        elementwise_affine: whether there is a weight, and with ``bias`` a bias.
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = sizes(normalized_shape, 1)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        add_affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias,
                   device, dtype)  # fmt: skip
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        reset_affine(self)

    def forward(self, input: Any) -> Any:
        """The normalised input."""
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Shape and settings."""
        text = shown(self, "normalized_shape eps= elementwise_affine=")
        return f"{text}, bias={self.bias is not None}"


class RMSNorm(Module):
    """Divides by the root of the mean square over the last dimensions, then scales.

    Args:
        normalized_shape: their sizes, an int for one.
        eps: added to the mean square; the smallest step of the input's dtype by default.
    """

    def __init__(self, normalized_shape: Any, eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = sizes(normalized_shape, 1)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        made = parameter(*self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", made if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1."""
        reset_affine(self)

    def forward(self, input: Any) -> Any:
        """The normalised input."""
        return functional.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Shape and settings."""
        return shown(self, "normalized_shape eps= elementwise_affine=")


class GroupNorm(Module):
    """Standardises each group of channels of each example, then scales and shifts per channel."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:  # fmt: skip
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise SettingError(
                f"GroupNorm: num_groups={num_groups} must divide num_channels={num_channels}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        add_affine(self, (num_channels,), affine, affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to 1 and the bias to 0."""
        reset_affine(self)

    def forward(self, input: Any) -> Any:
        """The normalised ``(N, C, ...)``."""
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes and settings."""
        text = shown(self, "num_groups num_channels eps= affine=")
        return f"{text}, bias={self.bias is not None}"


class LocalResponseNorm(Layer, function="local_response_norm", shows="size alpha= beta= k="):
    """Divides by ``(k + alpha * mean) ** beta``, the mean square of ``size`` channels around."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
