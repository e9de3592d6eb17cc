"""Residual networks (He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", 2015).

Parameters are named as in torchvision, so its checkpoints load.  A bottleneck strides in its 3 x 3
convolution, as torchvision's do.

image (N, 3, 224, 224) -> 7 x 7 convolution (64, 112, 112) -> maximum (64, 56, 56)
  -> four stages of blocks, each after the first halving the image and doubling the channels
  -> mean over the image -> num_classes
"""

from __future__ import annotations

from typing import Any, ClassVar

import gpugrad
from gpugrad import Tensor, nn


def _conv(ins: int, outs: int, size: int, stride: int = 1) -> Any:
    return nn.Conv2d(ins, outs, size, stride=stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions, and the input added to what they give."""

    expansion: ClassVar[int] = 1

    def __init__(self, ins: int, width: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = _conv(ins, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(N, ins, H, W)`` to ``(N, width, H / stride, W / stride)``."""
        kept = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += kept
        return self.relu(out)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 ones that narrow and widen, and the input added."""

    expansion: ClassVar[int] = 4

    def __init__(self, ins: int, width: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = _conv(ins, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(N, ins, H, W)`` to ``(N, 4 width, H / stride, W / stride)``."""
        kept = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += kept
        return self.relu(out)


class ResNet(nn.Module):
    """Four stages of residual blocks.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        layers: number of blocks in each stage.
        num_classes: number of scores.
        zero_init_residual: start with blocks that add nothing to their input.
        width: channels of the first stage, 64 in the paper.
        in_channels: channels of the images.
    """

    def __init__(self, block: Any, layers: tuple[int, int, int, int], num_classes: int = 1000,
                 zero_init_residual: bool = False, width: int = 64,
                 in_channels: int = 3) -> None:  # fmt: skip
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, layers[0], width, width, 1)
        self.layer2 = _stage(block, layers[1], width * block.expansion, 2 * width, 2)
        self.layer3 = _stage(block, layers[2], 2 * width * block.expansion, 4 * width, 2)
        self.layer4 = _stage(block, layers[3], 4 * width * block.expansion, 8 * width, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(N, num_classes)`` for images of any size."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _stage(block: Any, count: int, ins: int, width: int, stride: int) -> Any:
    """``count`` blocks; the first strides, and brings the kept input to the new shape."""
    outs = width * block.expansion
    downsample = None
    if stride != 1 or ins != outs:
        downsample = nn.Sequential(_conv(ins, outs, 1, stride), nn.BatchNorm2d(outs))
    rest = [block(outs, width, 1, None) for _ in range(1, count)]
    return nn.Sequential(block(ins, width, stride, downsample), *rest)


def _resnet(block: Any, layers: tuple[int, int, int, int], weights: Any, **kwargs: Any) -> ResNet:
    model = ResNet(block, layers, **kwargs)
    if weights is not None:
        model.load_state_dict(gpugrad.load(weights))
    return model


def resnet18(weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-18: 11,689,512 parameters for 1000 classes.

    Args:
        weights: a file to load; nothing is downloaded.
        kwargs: settings of ``ResNet``.
    """
    return _resnet(BasicBlock, (2, 2, 2, 2), weights, **kwargs)


def resnet34(weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-34: 21,797,672 parameters; arguments as for ``resnet18``."""
    return _resnet(BasicBlock, (3, 4, 6, 3), weights, **kwargs)


def resnet50(weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-50: 25,557,032 parameters; arguments as for ``resnet18``."""
    return _resnet(Bottleneck, (3, 4, 6, 3), weights, **kwargs)


def resnet101(weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-101: 44,549,160 parameters; arguments as for ``resnet18``."""
    return _resnet(Bottleneck, (3, 4, 23, 3), weights, **kwargs)


def resnet152(weights: Any = None, **kwargs: Any) -> ResNet:
    """ResNet-152: 60,192,808 parameters; arguments as for ``resnet18``."""
    return _resnet(Bottleneck, (3, 8, 36, 3), weights, **kwargs)
