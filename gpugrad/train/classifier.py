"""What the jobs that read digits share: they count epochs, and measure loss and accuracy."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

import gpugrad
from gpugrad.nn import functional as F
from gpugrad.tensor import Tensor
from gpugrad.train import pictures
from gpugrad.train.table import MEMORY, Column, Row, speed
from gpugrad.train.trainer import Trainer, Writers, evaluating


def columns(part: str) -> tuple[Column, ...]:
    """What progress shows; ``part`` names the data that is measured on."""
    words = part.replace("_", "-")
    return (
        Column("epoch", "epoch", "d"),
        Column("loss", "loss", ".4f", 6),
        Column("accuracy", "accuracy", ".2%"),
        Column(f"{part}_loss", f"{words} loss", ".4f"),
        Column(f"{part}_accuracy", f"{words} accuracy", ".2%"),
        speed("samples"),
        MEMORY,
    )


class Classifier(Trainer):
    """A job that learns which of ten digits an image shows; ``every`` is an epoch."""

    #: Names the data that is measured on, in rows and files.
    part: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    _probabilities: Any = None

    # ---- what a job says -----------------------------------------------------------------------

    @abstractmethod
    def scores(self, images: Tensor) -> Tensor:
        """Of the ten digits for images ``(N, 1, height, width)``: ``(N, 10)``."""

    @abstractmethod
    def images(self) -> Tensor:
        """The images that are measured on, ``(N, 1, height, width)`` with values 0 to 1."""

    @abstractmethod
    def labels(self) -> Tensor:
        """What they show, int64 ``(N,)``."""

    # ---- the loop's questions ------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The number of the epoch that the last step belongs to."""
        return -(-self.step // self.every)

    @property
    def moment(self) -> str:
        """The epoch of the step that is being made."""
        return f"in epoch {self.step // self.every + 1}"

    @property
    def status(self) -> str:
        """The epoch, and how many there are."""
        return f"epoch {self.epoch}/{-(-self.steps // self.every)}"

    def counter(self) -> Row:
        """The epoch."""
        return {"epoch": self.epoch}

    def measure(self) -> dict[str, float]:
        """Loss and accuracy on the images that are not trained on."""
        images, labels = self.images(), self.labels()
        scores = gpugrad.cat([self.scores(part) for part in images.split(1000)])
        self._probabilities = F.softmax(scores, 1).numpy(force=True)
        right = (scores.argmax(1) == labels).sum().item()
        return {
            f"{self.part}_loss": F.cross_entropy(scores, labels).item(),
            f"{self.part}_accuracy": right / len(labels),
        }

    # ---- what came of it -----------------------------------------------------------------------

    @property
    def accuracy(self) -> float:
        """Share of the images not trained on that were read correctly in the end."""
        return self.rows[-1][f"{self.part}_accuracy"] if self.rows else math.nan

    @property
    def probabilities(self) -> Any:
        """Of the ten digits for each image that is measured on, ``(N, 10)``, when last measured."""
        if self._probabilities is None:  # a finished run was taken up again
            with evaluating(self.model):
                self.measure()
        return self._probabilities

    def misread(self) -> int:
        """Number of those images that were read wrongly."""
        return int(np.sum(self.probabilities.argmax(1) != self.labels().numpy(force=True)))

    def facts(self) -> dict[str, Any]:
        """How large the data are, and the outcome."""
        return {
            f"{self.part}_images": len(self.labels()),
            f"{self.part}_accuracy": self.accuracy,
            "misread": self.misread(),
        }

    def writers(self) -> Writers:
        """Two pictures: the curves, and the misread digits."""
        words = self.part.replace("_", " ")
        panels = [
            pictures.Panel(
                "loss (cross-entropy)", log=True,
                lines=[("loss", "training, dropout on"), (f"{self.part}_loss", words)],
            ),
            pictures.Panel(
                f"accuracy ({words}: {self.accuracy:.2%} at the end)", percent=True,
                lines=[("accuracy", "training, dropout on"), (f"{self.part}_accuracy", words)],
            ),
        ]  # fmt: skip
        images = self.images().numpy(force=True)[:, 0]
        labels = self.labels().numpy(force=True)
        return {
            "curves.png": lambda p: pictures.curves(self.rows, p, panels, "epoch"),
            "misread.png": lambda p: pictures.misread(
                images, labels, self.probabilities, p, words.replace(" ", "-")
            ),
        }
