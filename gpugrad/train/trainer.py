"""The loop of every training job: steps, evaluations and checkpoints.

A job subclasses ``Trainer`` and says how a batch becomes a loss (``forward``) and what is measured
now and then (``measure``).  All that decides how training goes on is in ``state_dict()``: a run
that is continued from one takes the same steps, to the bit, as one that never stopped.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import gpugrad
from gpugrad.devices import Device
from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.nn import Module
from gpugrad.nn.utils import clip_grad_norm_
from gpugrad.tensor import Tensor
from gpugrad.train.callbacks import Callback
from gpugrad.train.checkpoints import Checkpoints
from gpugrad.train.memory import memory_in_use
from gpugrad.train.table import Column, Row
from gpugrad.train.tally import Tally

#: Files by name, and what writes each to the path that it is given.
Writers = dict[str, Callable[[Path], None]]


class Trainer(ABC):
    """A model in training.

    Args:
        model: has ``state_dict``/``load_state_dict``; a ``Module`` is put into evaluation mode
            while it is measured.
        optimizer: moves its parameters.
        batches: gone through again and again, an epoch each time; a ``DataLoader``, or anything
            that can be iterated. For checkpoints it needs ``state_dict``/``load_state_dict``.
        steps: updates in all.
        every: updates between two evaluations; there is always one at the end.
        scheduler: stepped after every update.
        clip: the largest norm of all gradients together; None leaves them alone.
        callbacks: told how things go, in this order.
        checkpoints: where and how often the run is saved.
        device: whose memory the rows show.

    Attributes:
        step: updates made.
        seen: samples trained on.
        rows: a row per evaluation.
        tally: sums since the last of them.
        seconds: spent so far, by all processes that worked on this run.
        interrupted: whether the last ``run`` was asked to stop.
    """

    #: What it is called, in messages and files.
    name: ClassVar[str] = "model"
    #: What is counted as samples.
    unit: ClassVar[str] = "samples"
    #: What progress shows of a row.
    columns: ClassVar[tuple[Column, ...]] = ()
    #: The measurement by which the best weights are known; less is better.
    best_by: ClassVar[str] = ""

    #: A dataclass that says how it is trained.
    settings: Any = None

    def __init__(
        self, model: Any, optimizer: Any, batches: Any, *, steps: int, every: int,
        scheduler: Any = None, clip: float | None = None, callbacks: Sequence[Callback] = (),
        checkpoints: Checkpoints | None = None, device: Any = "cpu",
    ) -> None:  # fmt: skip
        if checkpoints is not None and not hasattr(batches, "load_state_dict"):
            raise NotSupportedError(
                f"train {self.name}: checkpoints need batches with state_dict and load_state_dict, "
                f"as a DataLoader has; got {type(batches).__name__}"
            )
        self.model, self.optimizer, self.batches = model, optimizer, batches
        self.steps, self.every, self.scheduler, self.clip = steps, every, scheduler, clip
        self.callbacks, self.checkpoints, self.device = list(callbacks), checkpoints, str(device)
        self.step, self.seen, self.seconds = 0, 0, 0.0
        self.rows: list[Row] = []
        self.tally = Tally()
        self.interrupted = False
        self._enough = False
        self._stream = self._endless()

    @abstractmethod
    def forward(self, batch: Any) -> tuple[Tensor, int, dict[str, float]]:
        """The mean loss of a batch, how many samples it has, and sums over them to report."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Measure on data that is not trained on; runs without gradients."""

    # ---- what it leaves behind (see ``report``) ------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """What was learnt, by name."""
        return self.model.state_dict()  # type: ignore[no-any-return]

    def facts(self) -> dict[str, Any]:
        """What shall be noted beside the settings."""
        return {}

    def writers(self) -> Writers:
        """Further files by name, and what writes each."""
        return {}

    # ---- where it stands -----------------------------------------------------------------------

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        return self.step / self.steps

    @property
    def done(self) -> bool:
        """Whether all that it should do is done."""
        return self._enough or self.share >= 1

    @property
    def moment(self) -> str:
        """Where it stands, for a message."""
        return f"at step {self.step}"

    @property
    def status(self) -> str:
        """Where it stands, for a progress bar."""
        return f"step {self.step}/{self.steps}"

    def counter(self) -> Row:
        """The beginning of a row: when it was."""
        return {"step": self.step}

    # ---- training ------------------------------------------------------------------------------

    def run(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Train to the end, from wherever it stands.

        Args:
            stop: asked between steps; when it says yes, the run is saved and ends.
        """
        began = time.perf_counter() - self.seconds
        self.interrupted = False
        if self.checkpoints is not None:
            self.save()  # at once: a folder that cannot be written should not cost a run
        self._tell("on_start")
        while not self.done:
            if stop():
                self.interrupted = True
                break
            self._update()
            self.seconds = time.perf_counter() - began
            self._tell("on_step")
            if self.step % self.every == 0 or self.done:
                self.evaluate()
                self.seconds = time.perf_counter() - began
            if self.checkpoints is not None and self.checkpoints.due(self.step):
                self.save()
        if self.checkpoints is not None:
            self.save()
        self._tell("on_end")

    def finish(self) -> None:
        """Let the step that is being made be the last; for callbacks that have seen enough."""
        self._enough = True

    def _update(self) -> None:
        """One step."""
        started = time.perf_counter()
        loss, count, sums = self.forward(next(self._stream))
        value = loss.item()
        self._tell("on_loss", value)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip is not None:
            clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.step += 1
        self.seen += count
        if self.scheduler is not None:
            self.scheduler.step()
        self.tally.add(count, {"loss": value * count, **sums}, time.perf_counter() - started)

    def _endless(self) -> Iterator[Any]:
        """Batch after batch, epoch after epoch.

        Raises:
            SettingError: if a whole epoch has none.
        """
        fruitless = 0
        while fruitless < 2:  # a run continued at the end of an epoch finds it empty once
            fruitless += 1
            for batch in self.batches:
                fruitless = 0
                yield batch
        raise SettingError(f"train {self.name}: there is not one batch to train on")

    def evaluate(self) -> Row:
        """Measure, and sum up the steps since the last time in a new row."""
        with evaluating(self.model):
            measured = self.measure()
        row = {
            **self.counter(), self.unit: self.seen, **self.tally.averages(), **measured,
            f"{self.unit}_per_second": self.tally.speed,
            "memory_bytes": memory_in_use(self.device), "seconds": self.seconds,
        }  # fmt: skip
        if self.checkpoints is not None and self._is_best(row):
            self.checkpoints.keep_best(self.model)
        self.rows.append(row)
        self.tally = Tally()
        self._tell("on_evaluation", row)
        return row

    def _is_best(self, row: Row) -> bool:
        """Whether no row so far is as good; one that is no number never is."""
        if not self.best_by:
            return False
        value = row[self.best_by]
        return value == value and not any(r[self.best_by] <= value for r in self.rows)

    def _tell(self, moment: str, *facts: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(self, *facts)

    # ---- stopping and going on -----------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, unless the last one is of this step."""
        if self.checkpoints is None:
            raise NotSupportedError(f"train {self.name}: made without checkpoints=, nothing to do")
        if self.checkpoints.holds(self.step):
            return
        self._tell("on_checkpoint")
        self.checkpoints.write(self)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how training goes on, and what was measured so far."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "batches": self.batches.state_dict(),
            "random": {str(d): list(s) for d, s in gpugrad.random.get_rng_states().items()},
            "step": self.step,
            "seen": self.seen,
            "seconds": self.seconds,
            "tally": asdict(self.tally),
            "rows": self.rows,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.batches.load_state_dict(state["batches"])
        self._stream = self._endless()
        gpugrad.random.set_rng_states({Device(d): tuple(s) for d, s in state["random"].items()})
        self.step, self.seen, self.seconds = state["step"], state["seen"], state["seconds"]
        self.tally = Tally(**state["tally"])
        self.rows = list(state["rows"])


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Inside, there are no gradients and a module is in evaluation mode."""
    module = model if isinstance(model, Module) else None
    training = module is not None and module.training
    try:
        with gpugrad.no_grad():
            if module is not None:
                module.eval()
            yield
    finally:
        if module is not None:
            module.train(training)
