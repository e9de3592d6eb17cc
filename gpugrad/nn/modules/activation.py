"""Activations: elementwise functions as layers, softmax, and gated linear units."""

from __future__ import annotations

import warnings
from typing import Any

from gpugrad.errors import SettingError, ShapeError
from gpugrad.modes import no_grad
from gpugrad.nn import functional
from gpugrad.nn.layer import Layer, parameter, shown
from gpugrad.nn.module import Module
from gpugrad.nn.modules.attention import MultiheadAttention as MultiheadAttention


class ReLU(Layer, function="relu", shows="inplace?"):
    """``max(0, x)``."""

    inplace: bool = False


class ReLU6(Layer, function="relu6", shows="inplace?"):
    """``min(max(0, x), 6)``."""

    inplace: bool = False


class SELU(Layer, function="selu", shows="inplace?"):
    """Scaled ELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    inplace: bool = False


class SiLU(Layer, function="silu", shows="inplace?"):
    """``x * sigmoid(x)``."""

    inplace: bool = False


class Mish(Layer, function="mish", shows="inplace?"):
    """``x * tanh(softplus(x))``."""

    inplace: bool = False


class Hardsigmoid(Layer, function="hardsigmoid"):
    """``clamp(x / 6 + 1 / 2, 0, 1)``."""

    inplace: bool = False


class Hardswish(Layer, function="hardswish"):
    """``x * hardsigmoid(x)``."""

    inplace: bool = False


class ELU(Layer, function="elu", shows="alpha= inplace?"):
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""

    alpha: float = 1.0
    inplace: bool = False


class CELU(Layer, function="celu", shows="alpha= inplace?"):
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below."""

    alpha: float = 1.0
    inplace: bool = False


class LeakyReLU(Layer, function="leaky_relu", shows="negative_slope= inplace?"):
    """``x`` above 0, ``negative_slope * x`` below."""

    negative_slope: float = 0.01
    inplace: bool = False


class RReLU(Layer, function="rrelu", shows="lower= upper= inplace?", by_mode=True):
    """Leaky ReLU; in training with a random slope for each element."""

    lower: float = 1 / 8
    upper: float = 1 / 3
    inplace: bool = False


class Threshold(Layer, function="threshold", shows="threshold= value= inplace?"):
    """``x`` above ``threshold``, else ``value``."""

    threshold: float
    value: float
    inplace: bool = False


class Softplus(Layer, function="softplus", shows="beta= threshold="):
    """``log(1 + exp(beta * x)) / beta``; ``x`` itself where ``beta * x`` exceeds ``threshold``."""

    beta: float = 1.0
    threshold: float = 20.0


class Softshrink(Layer, function="softshrink", shows="lambd"):
    """``x`` moved towards 0 by ``lambd``."""

    lambd: float = 0.5


class Hardshrink(Layer, function="hardshrink", shows="lambd"):
    """``x`` where its size exceeds ``lambd``, else 0."""

    lambd: float = 0.5


class GELU(Layer, function="gelu", shows="approximate="):
    """``x`` times the normal distribution function of it."""

    approximate: str = "none"


class GLU(Layer, function="glu", shows="dim="):
    """The first half along ``dim`` times the sigmoid of the second."""

    dim: int = -1


class Softsign(Layer, function="softsign"):
    """``x / (1 + |x|)``."""


class Tanh(Layer, function="tanh"):
    """Hyperbolic tangent."""


class Tanhshrink(Layer, function="tanhshrink"):
    """``x - tanh(x)``."""


class Sigmoid(Layer, function="sigmoid"):
    """``1 / (1 + exp(-x))``."""


class LogSigmoid(Layer, function="logsigmoid"):
    """``log(sigmoid(x))``, without overflow."""


class Softmax(Layer, function="softmax", shows="dim="):
    """``exp(x)`` divided by its sum along ``dim``."""

    dim: int | None = None


class Softmin(Layer, function="softmin", shows="dim="):
    """``softmax(-x)``."""

    dim: int | None = None


class LogSoftmax(Layer, function="log_softmax", shows="dim="):
    """``log(softmax(x))``, without overflow."""

    dim: int | None = None


class Softmax2d(Module):
    """Softmax over the channels of ``(N, C, H, W)`` or ``(C, H, W)``."""

    def forward(self, input: Any) -> Any:
        """Softmax along the third dimension from the end."""
        if input.ndim not in (3, 4):
            raise ShapeError(
                f"Softmax2d: input must be (N, C, H, W) or (C, H, W), got {tuple(input.shape)}"
            )
        return functional.softmax(input, dim=-3)


class Hardtanh(Layer, shows="min_val= max_val= inplace?", function="hardtanh"):
    """``x`` held between ``min_val`` and ``max_val``.

    ``min_value`` and ``max_value`` are older names of them.
    """

    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False
    min_value: float | None = None
    max_value: float | None = None

    def _complete(self) -> None:
        for name in ("min", "max"):
            older = self.__dict__.pop(f"{name}_value")
            if older is not None:
                warnings.warn(
                    f"Hardtanh: {name}_value is deprecated; pass {name}_val",
                    FutureWarning,
                    stacklevel=3,
                )
                setattr(self, f"{name}_val", older)
        if self.max_val <= self.min_val:
            raise SettingError(
                f"Hardtanh: max_val must be above min_val, got {self.min_val} and {self.max_val}"
            )


class PReLU(Module):
    """Leaky ReLU whose slope is learned, one for all channels or one for each."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = parameter(num_parameters, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every slope to ``init``."""
        with no_grad():
            self.weight.fill_(self.init)

    def forward(self, input: Any) -> Any:
        """``x`` above 0, slope times ``x`` below; channels are dimension 1."""
        return functional.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """How many slopes there are."""
        return shown(self, "num_parameters=")
