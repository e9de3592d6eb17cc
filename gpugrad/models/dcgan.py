"""Generative adversarial networks of convolutions (Radford, Metz, Chintala: "DCGAN", 2015).

Modules are named as in PyTorch's example.

generator: noise (N, latent, 1, 1) -> (8 width, 4, 4) -> ... halving channels, doubling the image
  -> (N, channels, image_size, image_size), values -1 to 1
discriminator: the way back, to one score for each image
"""

from __future__ import annotations

from gpugrad import Tensor, nn


def _steps(name: str, image_size: int) -> int:
    """How often 4 doubles to the image's size."""
    steps = image_size.bit_length() - 3
    if steps < 1 or 4 << steps != image_size:
        raise ValueError(f"{name}: image_size={image_size} must be 8, 16, 32, ...")
    return steps


def _draw(model: nn.Module) -> None:
    """The paper's first weights: normal with a standard deviation of 0.02, the scales around 1."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)


class DCGANGenerator(nn.Module):
    """Makes images from noise.

    Args:
        latent: size of the noise.
        width: channels before the last layer.
        channels: channels of the images.
        image_size: height and width: 8, 16, 32, ...

    Raises:
        ValueError: for another ``image_size``.
    """

    def __init__(self, latent: int = 100, width: int = 64, channels: int = 3,
                 image_size: int = 64) -> None:  # fmt: skip
        super().__init__()
        steps = _steps("DCGANGenerator", image_size)
        layers: list[nn.Module] = []
        ins, outs = latent, width << (steps - 1)
        for i in range(steps):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            layers += [
                nn.ConvTranspose2d(ins, outs, 4, stride, padding, bias=False),
                nn.BatchNorm2d(outs),
                nn.ReLU(inplace=True),
            ]
            ins, outs = outs, outs // 2
        layers += [nn.ConvTranspose2d(ins, channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)
        _draw(self)

    def forward(self, noise: Tensor) -> Tensor:
        """``(N, latent, 1, 1)`` to images ``(N, channels, image_size, image_size)``."""
        return self.main(noise)


class DCGANDiscriminator(nn.Module):
    """Tells images of the data from made ones.

    Args:
        width: channels after the first layer.
        channels: channels of the images.
        image_size: height and width: 8, 16, 32, ...

    Raises:
        ValueError: for another ``image_size``.
    """

    def __init__(self, width: int = 64, channels: int = 3, image_size: int = 64) -> None:
        super().__init__()
        steps = _steps("DCGANDiscriminator", image_size)
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for i in range(1, steps):
            layers += [
                nn.Conv2d(width << (i - 1), width << i, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width << i),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers.append(nn.Conv2d(width << (steps - 1), 1, 4, 1, 0, bias=False))
        self.main = nn.Sequential(*layers)
        _draw(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N,)`` of being real, for ``binary_cross_entropy_with_logits``."""
        return self.main(images).flatten()
