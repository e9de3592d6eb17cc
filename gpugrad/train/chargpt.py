"""Training a small GPT to continue a text, character by character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import gpugrad
from gpugrad.datasets import Text
from gpugrad.models import GPT2, GPT2Config
from gpugrad.nn import functional as F
from gpugrad.optim.lr_scheduler import LambdaLR
from gpugrad.tensor import Tensor
from gpugrad.train import pictures, text
from gpugrad.train.callbacks import Callback
from gpugrad.train.checkpoints import Checkpoints
from gpugrad.train.settings import CharGPT as Settings
from gpugrad.train.table import MEMORY, Column, speed
from gpugrad.train.trainer import Trainer, Writers
from gpugrad.utils.data import DataLoader, RandomSampler

_LEAST = 0.1  # the step size falls to this share of its largest
_AT_ONCE = 1024  # characters that are measured on together: few enough for the CPU's caches


class CharGPT(Trainer):
    """The job."""

    settings: Settings
    name = "chargpt"
    unit = "tokens"
    best_by = "validation_loss"
    columns = (
        Column("step", "step", "d", 6),
        Column("loss", "loss", ".4f", 6),
        Column("validation_loss", "validation loss", ".4f"),
        Column("lr", "lr", ".2e", 8),
        speed("tokens"),
        MEMORY,
        Column("seconds", "seconds", ".1f", 8),
    )
    #: Settings that another process may change without changing what is learnt.
    free = ("text", "sample", "device")

    def __init__(self, settings: Settings, callbacks: Sequence[Callback] = (),
                 checkpoints: Checkpoints | None = None) -> None:  # fmt: skip
        self.settings = settings
        self.text = text.load(settings.text, settings.context)
        training, self._held_out = text.split(self.text)
        model = GPT2(_config(settings, self.text.vocab_size)).to(settings.device)
        optimizer = gpugrad.optim.AdamW(
            _groups(model, settings.weight_decay), settings.lr, betas=(0.9, 0.99)
        )
        if checkpoints is not None:
            checkpoints.settings = {**asdict(settings), "contents": text.contents(self.text)}
        super().__init__(
            model, optimizer, _loader(training, settings), steps=settings.steps,
            every=settings.evaluate_every, scheduler=LambdaLR(optimizer, self._rate), clip=1.0,
            callbacks=callbacks, checkpoints=checkpoints, device=settings.device,
        )  # fmt: skip

    @property
    def share(self) -> float:
        """How much of the steps, or of the time, is used up."""
        if self.settings.minutes is None:
            return super().share
        spent: float = self.seconds / (60 * self.settings.minutes)
        return min(1.0, spent)

    @property
    def status(self) -> str:
        """The step, and how many there are if that is known."""
        return f"step {self.step}" + ("" if self.settings.minutes else f"/{self.steps}")

    def _rate(self, step: int) -> float:
        """Share of the step size: up along a line, then along a cosine down to a tenth."""
        if step < self.settings.warmup:
            return (step + 1) / self.settings.warmup
        return _LEAST + (1 - _LEAST) * (1 + math.cos(math.pi * self.share)) / 2

    def forward(self, batch: Sequence[Tensor]) -> tuple[Tensor, int, dict[str, float]]:
        """How well each character is told from those before it, in nats."""
        return self._loss(*batch), batch[1].numel(), {}

    def _loss(self, tokens: Tensor, following: Tensor) -> Tensor:
        scores = self.model(tokens.to(self.settings.device))
        following = following.to(self.settings.device)
        loss: Tensor = F.cross_entropy(scores.flatten(0, 1), following.flatten())
        return loss

    def measure(self) -> dict[str, float]:
        """The loss over the end of the text, cut into windows one after the other."""
        context = self.settings.context
        places = range(0, len(self._held_out), context)
        windows = DataLoader(
            self._held_out, max(1, _AT_ONCE // context), sampler=places,
            generator=gpugrad.Generator(),  # its own: looking changes no draw of the training
        )  # fmt: skip
        total = sum(self._loss(*batch).item() * len(batch[0]) for batch in windows)
        return {
            "validation_loss": total / len(places), "lr": self.optimizer.param_groups[0]["lr"],
        }  # fmt: skip

    # ---- what came of it -----------------------------------------------------------------------

    @property
    def loss(self) -> float:
        """The loss over the held-out end of the text, in the end."""
        return self.rows[-1]["validation_loss"] if self.rows else math.nan

    @cached_property
    def sample(self) -> str:
        """A text that the model makes up after a line's end; the same for the same weights.

        Empty if the weights are no numbers any more.
        """
        if not math.isfinite(self.loss):
            return ""
        begin = max(self.text.vocabulary.find("\n"), 0)
        device = self.settings.device
        codes = self.model.generate(
            gpugrad.tensor([[begin]], device=device), self.settings.sample, temperature=0.8,
            generator=gpugrad.Generator(device).manual_seed(self.settings.seed),
        )  # fmt: skip
        return self.text.decode(codes[0, 1:].tolist())

    def facts(self) -> dict[str, Any]:
        """The text, the outcome, and what numbers mean which characters."""
        return {
            "source": str(self.text.root),
            "contents": text.contents(self.text),
            "validation_characters": len(self._held_out.data),
            "validation_loss": self.loss,
            "best_validation_loss": min(r["validation_loss"] for r in self.rows),
            "vocabulary": self.text.vocabulary,
        }

    def writers(self) -> Writers:
        """The curves, and a sample."""
        panel = pictures.Panel(
            f"loss in nats a character (validation: {self.loss:.3f} at the end)",
            [("loss", "training"), ("validation_loss", "validation")],
        )
        lr = pictures.Panel("step size", [("lr", "lr")])
        return {
            "curves.png": lambda p: pictures.curves(self.rows, p, [panel, lr], "step"),
            "sample.txt": lambda p: _write(p, self.sample),
        }


def _config(settings: Settings, characters: int) -> GPT2Config:
    return GPT2Config(
        vocab_size=characters, n_positions=settings.context, n_embd=settings.width,
        n_layer=settings.layers, n_head=settings.heads, dropout=settings.dropout,
    )  # fmt: skip


def _groups(model: GPT2, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices, which are kept small, and vectors (biases and norms), which are not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _loader(training: Text, settings: Settings) -> DataLoader[tuple[Tensor, Tensor]]:
    """Windows drawn at random; between two evaluations they make an epoch."""
    count = settings.batch_size * settings.evaluate_every
    sampler = RandomSampler(training, replacement=True, num_samples=count)
    return DataLoader(training, settings.batch_size, sampler=sampler)


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", "utf-8")
