"""A multi-layer perceptron (Rumelhart, Hinton, Williams: "Learning Representations", 1986)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import Tensor, nn


class MLP(nn.Module):
    """Linear layers with an activation after each but the last.

    Args:
        in_features: size of the input, all but its first dimension taken together.
        hidden_features: widths of the layers between; none makes it a linear model.
        num_classes: size of the output.
        activation: makes the module that follows a hidden layer.
        dropout: share dropped after each activation; 0 leaves the dropout layers out.
    """

    def __init__(self, in_features: int = 784, hidden_features: Sequence[int] = (256, 128),
                 num_classes: int = 10, activation: Any = nn.ReLU,
                 dropout: float = 0.0) -> None:  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden_features:
            layers += [nn.Linear(in_features, width), activation()]
            if dropout:
                layers.append(nn.Dropout(dropout))
            in_features = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_features, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, ...)`` with ``in_features`` values each to ``(N, num_classes)``."""
        return self.layers(x)
