"""``gpugrad train mnist``: what it reads, what it leaves behind, and what it refuses."""

import csv
import gzip
import json
import math
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad.cli import main
from gpugrad.datasets import MNIST
from gpugrad.io import load_file
from gpugrad.nn import functional as F

FILES = {
    "best.safetensors", "checkpoint.safetensors", "config.json", "curves.png", "metrics.csv",
    "misread.png", "weights.safetensors",
}  # fmt: skip
Arrays = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    """Ten figures of squares under noise, 400 to learn and 100 to test on."""
    random = np.random.default_rng(0)
    figures = random.integers(0, 2, (10, 7, 7)).repeat(4, 1).repeat(4, 2) * 150
    made = {}
    for part, count in (("train", 400), ("test", 100)):
        labels = random.integers(0, 10, count).astype(np.uint8)
        noise = random.integers(0, 100, (count, 28, 28))
        made[f"x_{part}"], made[f"y_{part}"] = (figures[labels] + noise).astype(np.uint8), labels
    return made


@pytest.fixture(scope="module")
def npz(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As one file."""
    path = tmp_path_factory.mktemp("npz") / "mnist.npz"
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture(scope="module")
def idx(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the four files of the original, packed."""
    folder = tmp_path_factory.mktemp("idx")
    for part, file in (("train", "train"), ("test", "t10k")):
        for letter, kind in (("x", "images"), ("y", "labels")):
            array = arrays[f"{letter}_{part}"]
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            with gzip.open(folder / f"{file}-{kind}-idx{array.ndim}-ubyte.gz", "wb") as stream:
                stream.write(head + array.tobytes())
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a short job in this process, into ``r``; exit status, stdout, stderr."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def call(data: Path | None, *args: Any, out: str = "r") -> tuple[int, str, str]:
        given = ["--data", data, "--epochs=2", "--batch-size=50"] if data else []
        words = ["train", "mnist", "--out", tmp_path / out, *given, *args]
        with pytest.raises(SystemExit) as exit_:
            main([str(w) for w in words])
        shown, err = capfd.readouterr()
        return int(exit_.value.code or 0), shown, err

    return call


def test_a_run_leaves_everything_behind(run: Run, npz: Path, tmp_path: Path) -> None:
    """Weights that read the test digits as the metrics say."""
    status, shown, err = run(npz, "--target", 90)
    assert (status, err) == (0, "")
    out = tmp_path / "r"
    assert set(os.listdir(out)) == FILES
    lines = shown.splitlines()
    assert lines[0].split()[:3] == ["epoch", "loss", "accuracy"]
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    config = json.loads((out / "config.json").read_text())
    assert (config["training_images"], config["test_images"]) == (400, 100)
    assert f"{config['test_accuracy']:.2%} of 100 test digits read correctly" in shown
    model = gpugrad.models.ConvNet()
    model.load_state_dict(load_file(out / "weights.safetensors"))
    test = MNIST(npz, train=False)
    images = (test.data.float().unsqueeze(1) / 255 - 0.1307) / 0.3081
    scores = model.eval()(images)
    wrong = (scores.argmax(1) != test.targets).sum().item()
    assert wrong == config["misread"] == round(100 * (1 - config["test_accuracy"]))
    with open(out / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    loss = F.cross_entropy(scores, test.targets).item()
    assert math.isclose(loss, float(last["test_loss"]), rel_tol=1e-4)


def test_the_layouts_of_the_files_are_all_the_same(
    run: Run, npz: Path, idx: Path, tmp_path: Path
) -> None:
    """To the bit; and a run may go on with the other."""
    assert run(npz, "--quiet", out="a") == (0, "", "")
    assert run(idx, "--quiet", out="b") == (0, "", "")
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in "ab")
    assert a == b
    assert run(None, "--resume", "--data", idx, "--quiet", out="a") == (0, "", "")


def test_a_stopped_run_goes_on_to_the_same_bits(
    run: Run, npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch, batch normalization's averages included."""
    from gpugrad.train.trainer import Trainer

    assert run(npz, "--quiet", out="whole")[0] == 0
    real = Trainer.run
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda self, stop: real(self, lambda: self.step == 11))
        status, _, err = run(npz)
    assert status >= 128
    assert err == (
        "gpugrad: stopped in epoch 2; --resume goes on from "
        f"{tmp_path}/r/checkpoint.safetensors\n"
    )  # fmt: skip
    assert run(None, "--resume", "--quiet") == (0, "", "")
    for name in ("weights.safetensors", "best.safetensors", "misread.png"):
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_without_data_it_says_what_is_wanted(run: Run, tmp_path: Path) -> None:
    """Where to get it, and the layouts that it reads."""
    status, _, err = run(None)
    assert (status, err.count("\n")) == (1, 1)
    for words in ("--data is missing", "mnist.npz (https://", "t10k-labels-idx1-ubyte", ".gz"):
        assert words in err
    assert not os.listdir(tmp_path)


def test_data_that_are_not_there_or_others_are_one_line(run: Run, tmp_path: Path) -> None:
    """Nothing is written."""
    wrong = tmp_path / "wrong.npz"
    (tmp_path / "empty").mkdir()
    np.savez(wrong, x=np.zeros(3))
    for data, words in (
        (tmp_path / "none.npz", "none.npz"),
        (tmp_path / "empty", "nothing found of train-images-idx3-ubyte"),
        (wrong, "no array x_train or train_images"),
    ):
        status, _, err = run(data)
        assert (status, err.count("\n")) == (1, 1)
        assert words in err
    assert sorted(os.listdir(tmp_path)) == ["empty", "wrong.npz"]


def test_a_missed_target_fails_but_keeps_the_run(run: Run, npz: Path, tmp_path: Path) -> None:
    """One line, all files."""
    status, _, err = run(npz, "--lr", 1e-7, "--target", 99, "--quiet")
    assert (status, err.count("\n")) == (1, 1)
    assert "of the test digits read correctly, fewer than the target of 99 %" in err
    assert set(os.listdir(tmp_path / "r")) == FILES
