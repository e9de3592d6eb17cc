"""A small convolutional network that reads handwritten digits of 8 x 8 pixels.

image (1, 8, 8)
  -> 3 x 3 convolution to 16 channels, ReLU
  -> 3 x 3 convolution to 32 channels, ReLU
  -> 2 x 2 maximum (32, 4, 4)
  -> 64 units, ReLU -> 10 scores
"""

from __future__ import annotations

import math
from typing import Any

import gpugrad
from gpugrad import Tensor
from gpugrad.nn import functional as F

_SHAPES = {
    "conv1": (16, 1, 3, 3),
    "conv2": (32, 16, 3, 3),
    "hidden": (64, 32 * 4 * 4),
    "scores": (10, 64),
}


class DigitsCNN:
    """The network; weights are drawn from the default generator.

    Args:
        device: where its parameters live; the numbers are the same on every device.
        dropout: share of the activations that are left out at each training step.

    Attributes:
        parameters: ``<layer>.weight`` and ``<layer>.bias`` by name.
    """

    def __init__(self, device: Any = "cpu", dropout: float = 0.4) -> None:
        self.dropout = dropout
        self.parameters: dict[str, Tensor] = {}
        for name, shape in _SHAPES.items():
            # Keeps the size of activations through ReLU layers (He and others, 2015).
            scale = math.sqrt(2 / math.prod(shape[1:]))
            weight = (gpugrad.randn(*shape) * scale).to(device)
            bias = weight.new_zeros(shape[0])
            self.parameters[f"{name}.weight"] = weight.requires_grad_()
            self.parameters[f"{name}.bias"] = bias.requires_grad_()

    def __call__(self, images: Tensor, training: bool = False) -> Tensor:
        """Scores of the ten digits, ``(N, 10)``, for images ``(N, 1, 8, 8)`` with values 0 to 1."""
        p = self.parameters
        x = F.relu(F.conv2d(images, p["conv1.weight"], p["conv1.bias"], padding=1))
        x = F.relu(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], padding=1))
        x = F.dropout(F.max_pool2d(x, 2).flatten(1), self.dropout, training)
        x = F.relu(F.linear(x, p["hidden.weight"], p["hidden.bias"]))
        x = F.dropout(x, self.dropout, training)
        scores: Tensor = F.linear(x, p["scores.weight"], p["scores.bias"])
        return scores
