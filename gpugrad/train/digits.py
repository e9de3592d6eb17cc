"""Training ``DigitsCNN`` on scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import gpugrad
from gpugrad.errors import SettingError
from gpugrad.models import DigitsCNN
from gpugrad.nn import functional as F
from gpugrad.tensor import Tensor
from gpugrad.train.memory import memory_in_use

HELD_OUT = 360  # a fifth of the images


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the outcome, to the bit."""

    epochs: int = 20
    batch_size: int = 64
    lr: float = 5e-3
    seed: int = 0
    device: str = "cpu"
    weight_decay: float = 1e-2
    dropout: float = 0.4


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the metrics: how things stood after an epoch (or where it was interrupted)."""

    epoch: int
    samples: int
    loss: float
    accuracy: float
    held_out_loss: float
    held_out_accuracy: float
    samples_per_second: float
    memory_bytes: int
    seconds: float


class Watcher(Protocol):
    """Who is told how training goes."""

    def batch(self, epoch: int, share: float, loss: float, accuracy: float, speed: float) -> None:
        """After each step; ``share`` is how much of this epoch is done, the rest its averages."""

    def epoch(self, row: Row) -> None:
        """After each epoch."""


@dataclass(slots=True)
class Split:
    """The images and labels of both parts, on the device."""

    train_images: Tensor
    train_labels: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor


@dataclass(slots=True)
class Run:
    """What came of it.

    Attributes:
        rows: one per epoch, the last perhaps of an unfinished one.
        probabilities: of the ten digits for each held-out image, ``(HELD_OUT, 10)``.
        interrupted: whether it was asked to stop early.
    """

    settings: Settings
    model: DigitsCNN
    split: Split
    rows: list[Row] = field(default_factory=list)
    probabilities: Any = None
    interrupted: bool = False

    @property
    def accuracy(self) -> float:
        """Share of the held-out images that are read correctly."""
        return self.rows[-1].held_out_accuracy if self.rows else math.nan


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


def train(settings: Settings, watcher: Watcher, stop: Callable[[], bool] = lambda: False) -> Run:
    """Train from nothing; the same settings give the same weights, on any number of cores.

    Args:
        settings: what to do.
        watcher: is told about every step and epoch.
        stop: asked between steps; when it says yes, the run ends with what was learnt.

    Raises:
        SettingError: if the loss is no number any more.
        DeviceError: if the device is not there.
    """
    from threadpoolctl import threadpool_limits  # scikit-learn brings it

    # How many threads share a matrix product decides how its sums are rounded; and these products
    # are so small that threads gain nothing, but lose much where the cores are busy.
    with threadpool_limits(1, user_api="blas"), gpugrad.random.fork_rng():
        gpugrad.manual_seed(settings.seed)
        split = load(settings)
        run = Run(settings, DigitsCNN(settings.device, settings.dropout), split)
        parameters = run.model.parameters.values()
        optimizer = gpugrad.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)
        began = time.perf_counter()
        for epoch in range(1, settings.epochs + 1):
            tally = _epoch(run, epoch, optimizer, watcher, stop)
            if tally.samples:
                run.rows.append(_row(run, epoch, tally, time.perf_counter() - began))
                watcher.epoch(run.rows[-1])
            if run.interrupted:
                break
    return run


@dataclass(slots=True)
class _Tally:
    """Sums over the steps of an epoch."""

    samples: int = 0
    loss: float = 0.0
    right: int = 0
    seconds: float = 1e-9

    def averages(self) -> tuple[float, float, float]:
        """Loss, accuracy and samples per second."""
        return self.loss / self.samples, self.right / self.samples, self.samples / self.seconds


def _epoch(run: Run, epoch: int, optimizer: Any, watcher: Watcher,
           stop: Callable[[], bool]) -> _Tally:  # fmt: skip
    """Go through the training images once, in a new order."""
    tally = _Tally()
    began = time.perf_counter()
    total = len(run.split.train_labels)
    for batch in _batches(total, run.settings):
        if stop():
            run.interrupted = True
            break
        done = (epoch - 1) + tally.samples / total
        for group in optimizer.param_groups:  # from lr down to 0 along a cosine
            group["lr"] = run.settings.lr * (1 + math.cos(math.pi * done / run.settings.epochs)) / 2
        loss, right = _step(run, batch, optimizer)
        if not math.isfinite(loss):
            raise SettingError(
                f"train digits: the loss is {loss} in epoch {epoch}; "
                f"lr {run.settings.lr:g} is too large, try {run.settings.lr / 10:g}"
            )
        tally.samples += len(batch)
        tally.loss += loss * len(batch)
        tally.right += right
        tally.seconds = time.perf_counter() - began
        watcher.batch(epoch, tally.samples / total, *tally.averages())
    return tally


def _batches(total: int, settings: Settings) -> Iterator[Tensor]:
    order = gpugrad.randperm(total).to(settings.device)
    yield from order.split(settings.batch_size)


def _step(run: Run, batch: Tensor, optimizer: Any) -> tuple[float, int]:
    """One update; the loss before it, and how many of the batch were read correctly."""
    labels = run.split.train_labels[batch]
    scores = run.model(run.split.train_images[batch], training=True)
    loss = F.cross_entropy(scores, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), int((scores.detach().argmax(1) == labels).sum().item())


def _row(run: Run, epoch: int, tally: _Tally, seconds: float) -> Row:
    """Measure on the held-out images and sum the epoch up."""
    labels = run.split.held_out_labels
    with gpugrad.no_grad():
        scores = run.model(run.split.held_out_images)
        loss = F.cross_entropy(scores, labels).item()
        accuracy = (scores.argmax(1) == labels).sum().item() / len(labels)
        run.probabilities = F.softmax(scores, 1).numpy(force=True)
    seen = (epoch - 1) * len(run.split.train_labels) + tally.samples
    train_loss, train_accuracy, speed = tally.averages()
    return Row(epoch, seen, train_loss, train_accuracy, loss, accuracy, speed,
               memory_in_use(run.settings.device), seconds)  # fmt: skip
