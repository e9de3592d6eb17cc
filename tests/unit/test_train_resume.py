"""Runs that are killed at any moment go on to the same bits: whole processes of the program."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gpugrad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL to send"),
]

TIMES = {"seconds", "tokens_per_second", "memory_bytes"}
SAME = ("weights.safetensors", "best.safetensors", "sample.txt")

#: Runs the command line; dies by SIGKILL in the given moment of the given step.
DOOMED = """
import os, signal, sys
from gpugrad.cli import main
from gpugrad.train.trainer import Trainer

moment, step, *args = sys.argv[1:]
now = [-1]

def die_in(module, name):
    real = getattr(module, name)
    def call(*args):
        if now[0] == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    setattr(module, name, call)

tell = Trainer._tell
def told(self, what, *facts):
    tell(self, what, *facts)
    now[0] = self.step if what == "on_checkpoint" else -1
    if (what, self.step) == (moment, int(step)):
        os.kill(os.getpid(), signal.SIGKILL)

Trainer._tell = told
if hasattr(os, moment):
    die_in(os, moment)
main(args)
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something to read."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("It was the best of times, it was the worst of times.\n" * 60)
    return path


def arguments(text: Path, out: Path) -> list[str]:
    """A run of 60 steps with a row every 20 and a checkpoint every 7."""
    given = {
        "text": text, "out": out, "layers": 1, "width": 16, "heads": 2, "context": 16,
        "batch-size": 4, "steps": 60, "warmup": 5, "dropout": 0.1, "evaluate-every": 20,
        "checkpoint-every": 7, "sample": 20,
    }  # fmt: skip
    return ["train", "chargpt", *(f"--{k}={v}" for k, v in given.items())]


def process(*words: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(gpugrad.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, *map(str, words)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    child = process("-m", "gpugrad", *arguments(text, out))
    _, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    return out


def rows(out: Path) -> list[dict[str, str]]:
    """The measurements but for times."""
    with open(out / "metrics.csv", newline="") as file:
        return [{k: v for k, v in r.items() if k not in TIMES} for r in csv.DictReader(file)]


def check_same(out: Path, whole: Path) -> None:
    for name in SAME:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert rows(out) == rows(whole)
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))


MOMENTS = [
    ("on_loss", 3), ("fsync", 7), ("replace", 7), ("on_step", 20), ("on_evaluation", 40),
    ("replace", 49), ("fsync", 60),
]  # fmt: skip


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(
    text: Path, tmp_path: Path, whole: Path
) -> None:
    """Before an update, after it, while a checkpoint is written, before it takes its place."""
    out = tmp_path / "r"
    words = arguments(text, out)
    for moment, step in MOMENTS:
        child = process("-c", DOOMED, moment, step, *words)
        _, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (-signal.SIGKILL, ""), moment
        before = step - 1 if moment in ("fsync", "replace") else step
        kept = gpugrad.load(out / "checkpoint.safetensors")["run"]["step"]
        assert kept == before // 7 * 7
        words = ["train", "chargpt", "--resume", "--out", str(out), "--checkpoint-every", "7"]
    child = process("-m", "gpugrad", *words)
    _, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    check_same(out, whole)


LONGER = ["--steps=400", "--evaluate-every=20", "--checkpoint-every=1000"]


@pytest.fixture(scope="module")
def longer(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a longer run leaves that was never stopped."""
    out = tmp_path_factory.mktemp("longer")
    child = process("-m", "gpugrad", *arguments(text, out), *LONGER)
    _, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    return out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_saves_and_goes_on(
    text: Path, tmp_path: Path, longer: Path, number: int, status: int
) -> None:
    """One line says how; settings need not be repeated."""
    out = tmp_path / "r"
    child = process("-m", "gpugrad", *arguments(text, out), *LONGER)
    assert child.stdout is not None
    assert [child.stdout.readline().split()[0] for _ in range(2)] == ["step", "20"]
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    step = gpugrad.load(out / "checkpoint.safetensors")["run"]["step"]
    assert 20 <= step < 400
    assert child.returncode == status
    assert err == (
        f"gpugrad: stopped at step {step}; --resume goes on from {out}/checkpoint.safetensors\n"
    )
    child = process("-m", "gpugrad", "train", "chargpt", "--resume", "--out", out)
    shown, err = child.communicate(timeout=120)
    assert (child.returncode, err) == (0, "")
    assert len([line for line in shown.splitlines() if line.split()[:1] == ["20"]]) == 1
    check_same(out, longer)
