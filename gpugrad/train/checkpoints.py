"""A run in one file, from which it goes on as if it had never stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpugrad
from gpugrad import io
from gpugrad.errors import GpugradError, SettingError
from gpugrad.train import table

if TYPE_CHECKING:
    from gpugrad.train.trainer import Trainer

FILE, BEST, METRICS = "checkpoint.safetensors", "best.safetensors", "metrics.csv"
_FORMAT = "gpugrad training run 1"
_PARTS = {"job": str, "settings": dict, "finished": bool, "run": dict}


class Checkpoints:
    """Where and how often a run is saved.

    A checkpoint takes the place of the one before as a whole: whenever the process dies, there is
    one that can be read.  The rows so far are written beside it.

    Args:
        folder: made when first written to.
        settings: plain data that decides the run; kept, and compared when it goes on.
        every: steps between two checkpoints; None for only by the clock.
        minutes: the longest time between two; None for only by steps.
        free: names of settings that may change when the run goes on.
    """

    def __init__(
        self, folder: str | os.PathLike[str], settings: Mapping[str, Any] | None = None, *,
        every: int | None = None, minutes: float | None = None, free: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.folder = Path(folder)
        self.settings = dict(settings or {})
        self.every, self.minutes, self.free = every, minutes, tuple(free)
        self._written: float | None = None
        self._step = -1  # of the last one that this process wrote or read

    @property
    def path(self) -> Path:
        """The file of the last checkpoint."""
        return self.folder / FILE

    def due(self, step: int) -> bool:
        """Whether it is time for another one."""
        if self.every is not None and step % self.every == 0:
            return True
        if self.minutes is None or self._written is None:
            return False
        return time.monotonic() - self._written >= 60 * self.minutes

    def holds(self, step: int) -> bool:
        """Whether the last checkpoint is of that step."""
        return self._step == step

    def write(self, trainer: Trainer) -> None:
        """Save a run in the place of the last checkpoint.

        Raises:
            OSError: if the file cannot be written; the one before is then still there.
        """
        with io.named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "format": _FORMAT, "job": trainer.name, "settings": self.settings,
            "finished": trainer.done, "run": trainer.state_dict(),
        }  # fmt: skip
        gpugrad.save(content, self.path)
        with io.replacing(self.folder / METRICS) as path, io.named(self.folder / METRICS):
            table.write(trainer.rows, path)
        self._written, self._step = time.monotonic(), trainer.step

    def keep_best(self, model: Any) -> None:
        """Save the weights that measured best so far."""
        gpugrad.save(model.state_dict(), self.folder / BEST)

    def read(self, job: str) -> dict[str, Any]:
        """Read the last checkpoint of a job: ``settings``, ``finished`` and ``run``.

        Raises:
            OSError: if there is none.
            GpugradError: if the file is damaged; SettingError: if it holds something else.
        """
        content: Any = gpugrad.load(self.path, map_location="cpu")
        known = isinstance(content, dict) and content.get("format") == _FORMAT
        if not known or not all(isinstance(content.get(k), t) for k, t in _PARTS.items()):
            raise SettingError(f"{self.path} is not a checkpoint of a training run")
        if content["job"] != job:
            raise SettingError(f"{self.path} holds a run of {content['job']!r}, not of {job!r}")
        return dict(content)

    def resume(self, trainer: Trainer, content: dict[str, Any] | None = None) -> None:
        """Let a fresh trainer go on where the last checkpoint left off.

        Args:
            trainer: made with the same settings and data.
            content: what ``read`` gave, where that was called before.

        Raises:
            SettingError: if the settings, the data or the model are others than the checkpoint's.
        """
        content = self.read(trainer.name) if content is None else content
        if differences := different(content["settings"], self.settings, self.free):
            raise SettingError(f"{self.path} belongs to a run with {'; '.join(differences)}")
        try:
            trainer.load_state_dict(content["run"])
        except GpugradError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise SettingError(f"{self.path} does not fit this version: {error!r}") from error
        self._written, self._step = time.monotonic(), trainer.step

    def kept(self) -> str:
        """The end of a message about a run that failed: where it can go on from."""
        return f"; {self.path} is of step {self._step}" if self._step >= 0 else ""


def different(kept: Mapping[str, Any], given: Mapping[str, Any], free: Sequence[str]) -> list[str]:
    """What differs between a checkpoint's settings and those given, a line each, both sides."""
    names = [*kept, *(n for n in given if n not in kept)]
    return [
        f"{name} {kept.get(name)!r}, not {given.get(name)!r}"
        for name in names
        if name not in free and kept.get(name) != given.get(name)
    ]
