"""VGG networks (Simonyan, Zisserman: "Very Deep Convolutional Networks", 2014).

Parameters are named as in torchvision, so its checkpoints load.

image (N, 3, 224, 224) -> five stages of 3 x 3 convolutions, each ending in a 2 x 2 maximum
  (512, 7, 7) -> hidden -> hidden -> num_classes
"""

from __future__ import annotations

from typing import Any

import gpugrad
from gpugrad import Tensor, nn

#: How many convolutions each stage has, by the number of layers with weights.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGG(nn.Module):
    """Stages of convolutions, then three linear layers.

    Args:
        stages: number of convolutions in each stage.
        batch_norm: whether each convolution is followed by batch normalization.
        num_classes: number of scores.
        dropout: share dropped before the second and third linear layer.
        width: channels of the first stage, 64 in the paper; each stage doubles them, up to 8 times.
        hidden: units between the linear layers.
        in_channels: channels of the images.
    """

    def __init__(self, stages: tuple[int, ...], batch_norm: bool = False, num_classes: int = 1000,
                 dropout: float = 0.5, width: int = 64, hidden: int = 4096,
                 in_channels: int = 3) -> None:  # fmt: skip
        super().__init__()
        self.features, outs = _features(stages, batch_norm, width, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(outs * 7 * 7, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(N, num_classes)`` for images of at least 32 x 32."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def _features(stages: tuple[int, ...], batch_norm: bool, width: int, ins: int) -> tuple[Any, int]:
    """The stages as one sequence, and the channels of its result."""
    layers: list[nn.Module] = []
    for number, count in enumerate(stages):
        outs = width * min(2**number, 8)
        for _ in range(count):
            layers.append(nn.Conv2d(ins, outs, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(outs))
            layers.append(nn.ReLU(inplace=True))
            ins = outs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers), ins


def _vgg(layers: int, batch_norm: bool, weights: Any, **kwargs: Any) -> VGG:
    model = VGG(STAGES[layers], batch_norm, **kwargs)
    if weights is not None:
        model.load_state_dict(gpugrad.load(weights))
    return model


def vgg11(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-11: 132,863,336 parameters for 1000 classes.

    Args:
        weights: a file to load; nothing is downloaded.
        kwargs: settings of ``VGG``.
    """
    return _vgg(11, False, weights, **kwargs)


def vgg11_bn(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-11 with batch normalization; arguments as for ``vgg11``."""
    return _vgg(11, True, weights, **kwargs)


def vgg13(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-13: 133,047,848 parameters; arguments as for ``vgg11``."""
    return _vgg(13, False, weights, **kwargs)


def vgg13_bn(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-13 with batch normalization; arguments as for ``vgg11``."""
    return _vgg(13, True, weights, **kwargs)


def vgg16(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-16: 138,357,544 parameters; arguments as for ``vgg11``."""
    return _vgg(16, False, weights, **kwargs)


def vgg16_bn(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-16 with batch normalization; arguments as for ``vgg11``."""
    return _vgg(16, True, weights, **kwargs)


def vgg19(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-19: 143,667,240 parameters; arguments as for ``vgg11``."""
    return _vgg(19, False, weights, **kwargs)


def vgg19_bn(weights: Any = None, **kwargs: Any) -> VGG:
    """VGG-19 with batch normalization; arguments as for ``vgg11``."""
    return _vgg(19, True, weights, **kwargs)
