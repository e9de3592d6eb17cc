"""Linear maps of features, and the layer that changes nothing."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import SettingError
from gpugrad.nn import functional
from gpugrad.nn.layer import fill_uniform, parameter
from gpugrad.nn.module import Module


class Identity(Module):
    """Returns its input; takes and ignores any arguments, as a stand-in for another layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input."""
        return input


class Linear(Module):
    """``x @ weight.T + bias``: ``(..., in_features)`` to ``(..., out_features)``.

    Both are filled with uniform numbers up to ``1 / sqrt(in_features)`` in size.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        factory = {"device": device, "dtype": dtype}
        self.weight = parameter(out_features, in_features, **factory)
        self.register_parameter("bias", parameter(out_features, **factory) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        fill_uniform(self.in_features, self.weight, self.bias)

    def forward(self, input: Any) -> Any:
        """``input @ weight.T + bias``."""
        return functional.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a bias."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """``x1 @ weight[k] @ x2 + bias[k]`` for every output ``k``.

    ``(..., in1_features), (..., in2_features)`` to ``(..., out_features)``; weight and bias are
    filled with uniform numbers up to ``1 / sqrt(in1_features)`` in size.
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__()
        if in1_features <= 0:
            raise SettingError(f"Bilinear: in1_features must be positive, got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        factory = {"device": device, "dtype": dtype}
        self.weight = parameter(out_features, in1_features, in2_features, **factory)
        self.register_parameter("bias", parameter(out_features, **factory) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        fill_uniform(self.in1_features, self.weight, self.bias)

    def forward(self, input1: Any, input2: Any) -> Any:
        """The bilinear forms of the inputs."""
        return functional.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes, and whether there is a bias."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
