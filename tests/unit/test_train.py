"""The loop of training jobs: what it does, whom it tells, what it saves and goes on from."""

import csv
import errno
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import gpugrad
from gpugrad import nn
from gpugrad.errors import GpugradError, NotSupportedError, SettingError
from gpugrad.train.callbacks import Callback, FailOnNan
from gpugrad.train.checkpoints import Checkpoints
from gpugrad.train.surroundings import reproducible
from gpugrad.train.table import Column, heading, line
from gpugrad.train.trainer import Trainer
from gpugrad.utils.data import DataLoader, TensorDataset

TIMES = {"seconds", "samples_per_second", "memory_bytes"}


class Line(Trainer):
    """Fits y = 2 x with dropout, so that random numbers matter, too."""

    name = "line"
    best_by = "error"

    def __init__(self, *, steps: int = 23, lr: float = 0.05, **more: Any) -> None:
        x = gpugrad.arange(20.0).reshape(-1, 1) / 10 - 1
        loader = DataLoader(TensorDataset(x, 2 * x), 3, shuffle=True)  # 7 batches, the last of 2
        model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.2), nn.Linear(4, 1))
        optimizer = gpugrad.optim.Adam(model.parameters(), lr)
        scheduler = gpugrad.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        super().__init__(
            model, optimizer, loader, steps=steps, every=5, scheduler=scheduler, clip=1.0, **more
        )

    def forward(self, batch: Any) -> Any:
        """Squared error."""
        x, y = batch
        return ((self.model(x) - y) ** 2).mean(), len(x), {"magnitude": y.abs().sum().item()}

    def measure(self) -> dict[str, float]:
        """The error at one place, which dropout would disturb."""
        return {"error": abs(self.model(gpugrad.ones(1, 1)).item() - 2)}


def made(**more: Any) -> Line:
    """A trainer whose every bit follows from the seed."""
    gpugrad.manual_seed(5)
    return Line(**more)


def weights(trainer: Trainer) -> list[bytes]:
    return [w.numpy().tobytes() for w in trainer.model.state_dict().values()]


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


class Diary(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_start(self, trainer: Trainer) -> None:
        self.notes.append("start")

    def on_loss(self, trainer: Trainer, loss: float) -> None:
        self.notes.append(f"loss before {trainer.step + 1}")

    def on_step(self, trainer: Trainer) -> None:
        self.notes.append(f"step {trainer.step}")

    def on_evaluation(self, trainer: Trainer, row: dict[str, Any]) -> None:
        assert row is trainer.rows[-1]
        self.notes.append(f"row {row['step']}")

    def on_checkpoint(self, trainer: Trainer) -> None:
        self.notes.append(f"checkpoint {trainer.step}")

    def on_end(self, trainer: Trainer) -> None:
        self.notes.append("end")


# ---- the loop ----------------------------------------------------------------------------------


def test_callbacks_are_told_in_order(tmp_path: Path) -> None:
    """Start, per step the loss and the update, then row and checkpoint where due, and the end."""
    diary = Diary()
    made(steps=6, callbacks=[diary], checkpoints=Checkpoints(tmp_path, every=5)).run()
    assert diary.notes == [
        "checkpoint 0", "start",
        "loss before 1", "step 1", "loss before 2", "step 2", "loss before 3", "step 3",
        "loss before 4", "step 4", "loss before 5", "step 5", "row 5", "checkpoint 5",
        "loss before 6", "step 6", "row 6", "checkpoint 6", "end",
    ]  # fmt: skip


def test_rows_sum_up_what_was_seen() -> None:
    """Averages are per sample since the last row; the last row has what was left."""
    trainer = made(steps=8)
    losses: list[tuple[float, int]] = []
    forward = trainer.forward

    def noted(batch: Any) -> Any:
        loss, count, sums = forward(batch)
        losses.append((loss.item(), count))
        return loss, count, sums

    trainer.forward = noted  # type: ignore[method-assign]
    trainer.run()
    assert [r["step"] for r in trainer.rows] == [5, 8]
    assert [r["samples"] for r in trainer.rows] == [15, 23]  # the seventh batch has two
    for row, part in zip(trainer.rows, (losses[:5], losses[5:]), strict=True):
        count = sum(n for _, n in part)
        assert math.isclose(row["loss"], sum(v * n for v, n in part) / count)
        assert row["samples_per_second"] > 0
    assert list(trainer.rows[0]) == [
        "step", "samples", "loss", "magnitude", "error", "samples_per_second", "memory_bytes",
        "seconds",
    ]  # fmt: skip


def test_it_measures_in_evaluation_mode_without_gradients() -> None:
    """And goes on in training mode."""
    trainer = made(steps=5)
    seen: list[Any] = []
    trainer.measure = lambda: (
        seen.append(  # type: ignore[method-assign,assignment]
            (trainer.model.training, gpugrad.is_grad_enabled())
        )
        or {"error": 0.0}
    )
    trainer.run()
    assert seen == [(False, False)]
    assert trainer.model.training


def test_gradients_are_clipped() -> None:
    """All together to the norm asked for."""
    norms: list[float] = []

    class Look(Callback):
        def on_step(self, trainer: Trainer) -> None:
            grads = [p.grad.norm() ** 2 for p in trainer.model.parameters()]
            norms.append(math.sqrt(sum(g.item() for g in grads)))

    trainer = made(steps=3, callbacks=[Look()])
    trainer.clip = 1e-3
    trainer.run()
    np.testing.assert_allclose(norms, 1e-3, rtol=1e-3)


def test_a_source_without_batches_is_refused() -> None:
    """Rather than asked for ever."""
    trainer = made()
    trainer.batches = DataLoader(trainer.batches.dataset, 50, drop_last=True)
    with pytest.raises(SettingError, match="not one batch"):
        trainer.run()


def test_checkpoints_need_a_cursor(tmp_path: Path) -> None:
    """A source that cannot say where it stands cannot go on from there."""
    trainer = made()

    class Other(Line):
        __init__ = Trainer.__init__  # type: ignore[assignment]

    with pytest.raises(NotSupportedError, match=r"need batches with state_dict.*got list"):
        Other(trainer.model, trainer.optimizer, [], steps=1, every=1,
              checkpoints=Checkpoints(tmp_path))  # fmt: skip
    with pytest.raises(NotSupportedError, match="made without checkpoints="):
        trainer.save()


# ---- stopping and going on ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A run that was never stopped."""
    trainer = made(checkpoints=Checkpoints(tmp_path_factory.mktemp("whole")))
    trainer.run()
    return trainer


@pytest.mark.parametrize("at", [0, 1, 4, 5, 6, 7, 8, 13, 14, 22, 23])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, whole: Line, at: int) -> None:
    """Wherever it was stopped: in an epoch, at its end, at a row, before the first, at the end."""
    stopped = made(checkpoints=Checkpoints(tmp_path))
    stopped.run(stop=lambda: stopped.step == at)
    assert stopped.interrupted is (at < 23)
    assert stopped.step == at
    gpugrad.manual_seed(999)  # nothing but the checkpoint may say how it goes on
    again = Line(checkpoints=Checkpoints(tmp_path))
    assert again.checkpoints is not None
    again.checkpoints.resume(again)
    again.run()
    assert weights(again) == weights(whole)
    assert timeless(again.rows) == timeless(whole.rows)
    assert again.optimizer.state_dict()["state"][0]["step"] == 23
    assert again.seconds >= stopped.seconds
    best = [(t.checkpoints.folder / "best.safetensors").read_bytes() for t in (again, whole)]  # type: ignore[union-attr]
    assert best[0] == best[1]


def test_a_stopped_run_goes_on_in_the_same_process(whole: Line) -> None:
    """Without a checkpoint, when it is run again."""
    trainer = made()
    for at in (3, 7, 12, 99):
        trainer.run(stop=lambda at=at: trainer.step == at)  # type: ignore[misc]
    assert weights(trainer) == weights(whole)
    assert timeless(trainer.rows) == timeless(whole.rows)


def test_a_run_can_be_taken_back_to_its_checkpoint(tmp_path: Path, whole: Line) -> None:
    """By the trainer that has gone on in the meantime."""
    trainer = made(checkpoints=Checkpoints(tmp_path))
    trainer.run(stop=lambda: trainer.step == 5)
    trainer.checkpoints, kept = None, trainer.checkpoints
    trainer.run(stop=lambda: trainer.step == 9)
    assert kept is not None
    kept.resume(trainer)
    assert trainer.step == 5
    trainer.run()
    assert weights(trainer) == weights(whole)


def test_rows_are_written_beside_the_checkpoint(whole: Line) -> None:
    """As CSV, with the names of the columns."""
    assert whole.checkpoints is not None
    with open(whole.checkpoints.folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [5, 10, 15, 20, 23]
    assert math.isclose(float(rows[-1]["error"]), whole.rows[-1]["error"], rel_tol=1e-5)


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    """Of the evaluation with the least error, not the last, and never of one that is no number."""
    trainer = made(steps=20, checkpoints=Checkpoints(tmp_path))
    errors = iter([math.nan, 3.0, 1.0, 2.0])
    kept: dict[float, Any] = {}

    def measure() -> dict[str, float]:
        error = next(errors)
        kept[error] = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        return {"error": error}

    trainer.measure = measure  # type: ignore[method-assign]
    trainer.run()
    best = gpugrad.load(tmp_path / "best.safetensors")
    assert best.keys() == kept[1.0].keys()
    assert all(gpugrad.equal(best[k], kept[1.0][k]) for k in best)
    assert not all(gpugrad.equal(best[k], kept[2.0][k]) for k in best)
    hopeless = made(steps=5, checkpoints=Checkpoints(tmp_path / "hopeless"))
    hopeless.measure = lambda: {"error": math.nan}  # type: ignore[method-assign]
    hopeless.run()
    assert not (tmp_path / "hopeless" / "best.safetensors").exists()


def test_checkpoints_come_by_steps_or_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, every=10, minutes=2)
    checkpoints.write(made())
    assert [s for s in range(1, 31) if checkpoints.due(s)] == [10, 20, 30]
    now[0] = 121.0
    assert checkpoints.due(3)
    checkpoints.write(made())
    assert not checkpoints.due(4)
    assert not any(Checkpoints(tmp_path).due(s) for s in range(1, 5))


def test_other_settings_are_refused_with_both_sides(tmp_path: Path) -> None:
    """But for those that are free to change."""
    kept = {"lr": 0.1, "data": "a", "seed": 1}
    made(checkpoints=Checkpoints(tmp_path, kept)).save()
    for given, words in (
        ({**kept, "lr": 0.2, "seed": 2}, "a run with lr 0.1, not 0.2; seed 1, not 2"),
        ({**kept, "clip": 1.0}, "a run with clip None, not 1.0"),
        ({"lr": 0.1, "data": "a"}, "a run with seed 1, not None"),
    ):
        other = made(checkpoints=Checkpoints(tmp_path, given))
        with pytest.raises(SettingError, match=words):
            other.checkpoints.resume(other)  # type: ignore[union-attr]
    free = made(checkpoints=Checkpoints(tmp_path, {**kept, "data": "b"}, free=["data"]))
    free.checkpoints.resume(free)  # type: ignore[union-attr]


def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path) -> None:
    """Missing, of another kind, of another job, cut off, of another model."""
    trainer = made(checkpoints=Checkpoints(tmp_path))
    checkpoints = trainer.checkpoints
    assert checkpoints is not None
    with pytest.raises(FileNotFoundError):
        checkpoints.resume(trainer)
    gpugrad.save({"w": gpugrad.ones(2)}, checkpoints.path)
    with pytest.raises(SettingError, match="is not a checkpoint of a training run"):
        checkpoints.resume(trainer)
    good = {"format": "gpugrad training run 1", "job": "line", "finished": False}
    for parts in ({}, {"settings": [], "run": {}}, {"settings": {}, "run": 5}):
        gpugrad.save({**good, **parts}, checkpoints.path)
        with pytest.raises(SettingError, match="is not a checkpoint of a training run"):
            checkpoints.resume(trainer)
    gpugrad.save({**good, "settings": {}, "run": {"model": {}}}, checkpoints.path)
    with pytest.raises(GpugradError):
        checkpoints.resume(trainer)
    trainer.save()
    with pytest.raises(SettingError, match="holds a run of 'line', not of 'curve'"):
        checkpoints.read("curve")
    data = checkpoints.path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:-1], b"", b"\xff" * 64):
        checkpoints.path.write_bytes(damaged)
        with pytest.raises(GpugradError):
            checkpoints.resume(trainer)
    checkpoints.path.write_bytes(data)
    trainer.model = nn.Linear(1, 1)
    with pytest.raises(GpugradError):
        checkpoints.resume(trainer)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The error names the file; no half of one stays behind."""
    trainer = made(checkpoints=Checkpoints(tmp_path, every=3))
    real = os.fsync

    def full(handle: int) -> None:
        if trainer.step == 6:
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=os.strerror(number)) as error:
        trainer.run()
    assert error.value.filename == str(tmp_path / "checkpoint.safetensors")
    assert gpugrad.load(tmp_path / "checkpoint.safetensors")["run"]["step"] == 3
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


# ---- losses that are no numbers ----------------------------------------------------------------


def test_a_nan_stops_the_run_before_it_spoils_the_weights(tmp_path: Path) -> None:
    """The message says when; the checkpoint is the last good one."""
    trainer = made(callbacks=[FailOnNan()], checkpoints=Checkpoints(tmp_path, every=3))
    forward = trainer.forward

    def poisoned(batch: Any) -> Any:
        loss, count, sums = forward(batch)
        return loss * (math.nan if trainer.step == 7 else 1), count, sums

    trainer.forward = poisoned  # type: ignore[method-assign]
    with pytest.raises(SettingError) as error:
        trainer.run()
    path = tmp_path / "checkpoint.safetensors"
    assert str(error.value) == (
        f"train line: the loss is nan at step 7; lr 0.05 is too large, try 0.005; {path} is of "
        "step 6"
    )
    kept = gpugrad.load(path)["run"]
    assert kept["step"] == 6
    assert all(w.isfinite().all() for w in kept["model"].values())
    assert all(w.isfinite().all() for w in trainer.model.state_dict().values())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    """Even if the loss has not shown it yet."""
    trainer = made(callbacks=[FailOnNan()], checkpoints=Checkpoints(tmp_path, every=2))

    class Spoil(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 4:
                trainer.model[2].bias.data.fill_(math.inf)

    trainer.callbacks.append(Spoil())
    with pytest.raises(SettingError, match=r"2\.bias has values that are no numbers at step 4"):
        trainer.run()
    assert gpugrad.load(tmp_path / "checkpoint.safetensors")["run"]["step"] == 2


def test_without_the_callback_a_nan_is_a_number_like_any_other(tmp_path: Path) -> None:
    """It runs on to the end, rows and checkpoints included."""
    trainer = made(steps=6, checkpoints=Checkpoints(tmp_path, every=2))
    trainer.forward = lambda batch: (  # type: ignore[method-assign]
        trainer.model(batch[0]).sum() * math.nan, len(batch[0]), {},
    )  # fmt: skip
    trainer.run()
    assert trainer.step == 6
    assert all(math.isnan(r["loss"]) for r in trainer.rows)
    again = made(steps=6, checkpoints=Checkpoints(tmp_path))
    again.checkpoints.resume(again)  # type: ignore[union-attr]
    assert math.isnan(again.rows[0]["loss"])


# ---- how rows are shown ------------------------------------------------------------------------


def test_columns_line_up() -> None:
    """Values stand at the right, under headings that always fit."""
    columns = (Column("epoch", "epoch", "d"), Column("bytes", "size", ".1f", 9, 1024, " KiB"))
    assert heading(columns) == "epoch       size"
    assert line(columns, {"epoch": 3, "bytes": 1536, "more": 1}) == "    3    1.5 KiB"


# ---- what a run depends on besides -------------------------------------------------------------


def test_seed_and_threads_are_put_back() -> None:
    """Inside, generators start anew and as many threads compute as asked for."""

    def blas() -> set[int]:
        return {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}

    gpugrad.manual_seed(3)
    before = gpugrad.get_num_threads(), blas()
    other = before[0] + 1
    with reproducible(7, other):
        assert (gpugrad.get_num_threads(), blas()) == (other, {other})
        inside = gpugrad.rand(3).tolist()
    assert (gpugrad.get_num_threads(), blas()) == before
    outside = gpugrad.rand(3).tolist()
    assert inside == gpugrad.rand(3, generator=gpugrad.Generator().manual_seed(7)).tolist()
    assert outside == gpugrad.rand(3, generator=gpugrad.Generator().manual_seed(3)).tolist()


# ---- the documentation -------------------------------------------------------------------------


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And does what it says: the callback ends it early, the checkpoint is there."""
    page = Path(__file__).parents[2] / "docs" / "training.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with gpugrad.random.fork_rng():
        exec(compile(code, str(page), "exec"), names)
    assert float(capsys.readouterr().out) < 0.1
    assert names["trainer"].step < 1000
    assert gpugrad.load("runs/sine/checkpoint.safetensors")["finished"] is True
