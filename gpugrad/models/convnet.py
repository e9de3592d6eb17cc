"""Two small convolutional networks for images of handwritten digits, 28 x 28 pixels."""

from __future__ import annotations

from gpugrad import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5 (LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning", 1998).

    As it is taught today: images are padded to the paper's 32 x 32, averages have no weights of
    their own, each map of the second convolution sees all maps of the first, and the output is
    linear.

    image (N, in_channels, 28, 28) -> 5 x 5 convolution (6, 28, 28) -> average (6, 14, 14)
      -> 5 x 5 convolution (16, 10, 10) -> average (16, 5, 5) -> 120 -> 84 -> num_classes

    Args:
        num_classes: number of scores.
        in_channels: channels of the images.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(N, num_classes)``."""
        return self.classifier(self.features(images))


class ConvNet(nn.Module):
    """A LeNet of today: maxima, ReLU, batch normalization, dropout.

    Three epochs of AdamW under a one-cycle schedule read over 99 % of MNIST's test digits rightly.

    image (N, in_channels, 28, 28) -> 5 x 5 convolution (width, 24, 24) -> maximum (width, 12, 12)
      -> 5 x 5 convolution (2 width, 8, 8) -> maximum (2 width, 4, 4) -> hidden -> num_classes

    A maximum comes before its ReLU: the order does not matter to the result, and there is a
    quarter as much to rectify.

    Args:
        num_classes: number of scores.
        in_channels: channels of the images.
        width: channels of the first convolution.
        hidden: units before the scores.
        dropout: share dropped before each linear layer.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, width: int = 16,
                 hidden: int = 128, dropout: float = 0.3) -> None:  # fmt: skip
        super().__init__()
        self.features = nn.Sequential(
            *_stage(in_channels, width),
            *_stage(width, 2 * width),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * width * 4 * 4, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(N, num_classes)``."""
        return self.classifier(self.features(images))


def _stage(ins: int, outs: int) -> list[nn.Module]:
    """A convolution and what follows it; the normalization has the bias."""
    return [
        nn.Conv2d(ins, outs, 5, bias=False), nn.BatchNorm2d(outs), nn.MaxPool2d(2), nn.ReLU()
    ]  # fmt: skip
