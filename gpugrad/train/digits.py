"""Training ``DigitsCNN`` on scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gpugrad
from gpugrad.models import DigitsCNN
from gpugrad.nn import functional as F
from gpugrad.optim.lr_scheduler import LambdaLR
from gpugrad.tensor import Tensor
from gpugrad.train.callbacks import Callback, FailOnNan
from gpugrad.train.classifier import Classifier, columns
from gpugrad.train.settings import Digits as Settings
from gpugrad.train.surroundings import reproducible

HELD_OUT = 360  # a fifth of the images


@dataclass(slots=True)
class Split:
    """The images and labels of both parts, on the device."""

    train_images: Tensor
    train_labels: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor


def load(settings: Settings) -> Split:
    """Load the images and split them by the seed.

    Raises:
        ModuleNotFoundError: without scikit-learn.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = gpugrad.from_numpy(bunch.images).to(gpugrad.float32).reshape(-1, 1, 8, 8) / 16
    labels = gpugrad.from_numpy(bunch.target).to(gpugrad.int64)
    order = gpugrad.randperm(len(images))
    held_out, train = order[:HELD_OUT], order[HELD_OUT:]
    parts = (images[train], labels[train], images[held_out], labels[held_out])
    return Split(*(t.to(settings.device) for t in parts))


@dataclass(slots=True)
class Shuffled:
    """The numbers of the training images, in a new order each time, in batches."""

    total: int
    settings: Settings

    def __len__(self) -> int:
        return -(-self.total // self.settings.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = gpugrad.randperm(self.total).to(self.settings.device)
        yield from order.split(self.settings.batch_size)


class Digits(Classifier):
    """The job."""

    settings: Settings
    name = "digits"
    part = "held_out"
    columns = columns("held_out")

    def __init__(self, settings: Settings, callbacks: list[Callback]) -> None:
        self.settings = settings
        self.split = load(settings)
        model = DigitsCNN(settings.device, settings.dropout)
        optimizer = gpugrad.optim.AdamW(
            model.parameters.values(), settings.lr, weight_decay=settings.weight_decay
        )
        batches = Shuffled(len(self.split.train_labels), settings)
        super().__init__(
            model, optimizer, batches, steps=settings.epochs * len(batches), every=len(batches),
            scheduler=LambdaLR(optimizer, self._rate), device=settings.device,
            callbacks=callbacks,
        )  # fmt: skip

    def _rate(self, step: int) -> float:
        """Share of the step size after so many steps: from 1 to 0 along a cosine."""
        per_epoch = -(-len(self.split.train_labels) // self.settings.batch_size)
        epochs, batches = divmod(step, per_epoch)
        done = epochs + batches * self.settings.batch_size / len(self.split.train_labels)
        return (1 + math.cos(math.pi * done / self.settings.epochs)) / 2

    def scores(self, images: Tensor) -> Tensor:
        """Of the ten digits."""
        scores: Tensor = self.model(images)
        return scores

    def images(self) -> Tensor:
        """The held-out images."""
        return self.split.held_out_images

    def labels(self) -> Tensor:
        """What they show."""
        return self.split.held_out_labels

    def weights(self) -> dict[str, Tensor]:
        """What was learnt, by name."""
        parameters: dict[str, Tensor] = self.model.parameters
        return parameters

    def facts(self) -> dict[str, Any]:
        """How large the data are, and the outcome."""
        return {"training_images": len(self.split.train_labels), **super().facts()}

    def forward(self, batch: Tensor) -> tuple[Tensor, int, dict[str, float]]:
        """Loss and right answers of a batch of image numbers."""
        labels = self.split.train_labels[batch]
        scores = self.model(self.split.train_images[batch], training=True)
        right = (scores.detach().argmax(1) == labels).sum().item()
        return F.cross_entropy(scores, labels), len(batch), {"accuracy": right}


def train(
    settings: Settings, watcher: Callback, stop: Callable[[], bool] = lambda: False
) -> Digits:
    """Train from nothing; the same settings give the same weights, on any number of cores.

    Args:
        settings: what to do.
        watcher: is told about every step and epoch.
        stop: asked between steps; when it says yes, the run ends with what was learnt.

    Raises:
        SettingError: if the loss is no number any more.
        DeviceError: if the device is not there.
    """
    # One thread: these products are so small that more gain nothing, but lose much where the cores
    # are busy; and so the bits do not depend on the machine.
    with reproducible(settings.seed, threads=1):
        run = Digits(settings, [FailOnNan(), watcher])
        run.run(stop)
        if run.interrupted and run.tally.count:
            run.evaluate()
    return run
