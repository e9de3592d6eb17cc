"""Training a small convolutional network on MNIST's 70,000 handwritten digits."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import gpugrad
from gpugrad.datasets import MNIST
from gpugrad.datasets.images import scaled
from gpugrad.models import ConvNet
from gpugrad.nn import functional as F
from gpugrad.optim.lr_scheduler import OneCycleLR
from gpugrad.tensor import Tensor
from gpugrad.train.callbacks import Callback
from gpugrad.train.checkpoints import Checkpoints
from gpugrad.train.classifier import Classifier, columns
from gpugrad.train.settings import Mnist as Settings
from gpugrad.utils.data import DataLoader

_MEAN, _SPREAD = 0.1307, 0.3081  # of the training images' values, 0 to 1


class Mnist(Classifier):
    """The job."""

    settings: Settings
    name = "mnist"
    part = "test"
    columns = columns("test")
    best_by = "test_loss"
    #: Settings that another process may change.
    free = ("data", "device")

    def __init__(self, settings: Settings, callbacks: Sequence[Callback] = (),
                 checkpoints: Checkpoints | None = None) -> None:  # fmt: skip
        self.settings = settings
        training, self._test = (MNIST(settings.data, train=part) for part in (True, False))
        model = ConvNet(dropout=settings.dropout).to(settings.device)
        optimizer = gpugrad.optim.AdamW(
            model.parameters(), settings.lr, weight_decay=settings.weight_decay
        )
        batches = DataLoader(training, settings.batch_size, shuffle=True)
        steps = settings.epochs * len(batches)
        if checkpoints is not None:
            contents = f"{_contents(training)}, {_contents(self._test)}"
            checkpoints.settings = {**asdict(settings), "contents": contents}
        super().__init__(
            model, optimizer, batches, steps=steps, every=len(batches),
            scheduler=OneCycleLR(optimizer, settings.lr, steps, pct_start=0.2),
            callbacks=callbacks, checkpoints=checkpoints, device=settings.device,
        )  # fmt: skip

    def scores(self, images: Tensor) -> Tensor:
        """Of the ten digits."""
        scores: Tensor = self.model((images.to(self.settings.device) - _MEAN) / _SPREAD)
        return scores

    def images(self) -> Tensor:
        """The test images."""
        return scaled(self._test.data).unsqueeze(1)

    def labels(self) -> Tensor:
        """What they show."""
        return self._test.targets.to(self.settings.device)

    def facts(self) -> dict[str, Any]:
        """How large the data are, and the outcome."""
        return {"training_images": len(self.batches.dataset), **super().facts()}

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, int, dict[str, float]]:
        """Loss and right answers of a batch of images with labels."""
        labels = batch[1].to(self.settings.device)
        scores = self.scores(batch[0])
        right = (scores.detach().argmax(1) == labels).sum().item()
        return F.cross_entropy(scores, labels), len(labels), {"accuracy": right}


def _contents(part: MNIST) -> str:
    """What tells these images from others."""
    checksum = zlib.crc32(part.targets.numpy(), zlib.crc32(part.data.numpy()))
    return f"{len(part):,} images, CRC-32 {checksum:08x}"
