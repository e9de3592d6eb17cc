"""The training jobs with the stand-in in place of CuPy, run by tests/unit/test_cuda_path.py."""

import csv

import numpy as np
import pytest

from gpugrad.cli import main
from gpugrad.train import Trainer


def run(*words):
    """The exit status of a job."""
    with pytest.raises(SystemExit) as exit_:
        main(["train", *(str(w) for w in words), "--quiet"])
    return exit_.value.code


def losses(folder):
    """What was measured."""
    with open(folder / "metrics.csv", newline="") as file:
        return [[float(v) for k, v in r.items() if "loss" in k] for r in csv.DictReader(file)]


@pytest.fixture
def chargpt(tmp_path):
    """A small run of characters."""
    (tmp_path / "text").write_text("It was the best of times, it was the worst of times.\n" * 40)
    return [
        "chargpt", f"--text={tmp_path / 'text'}", "--layers=1", "--width=16", "--heads=2",
        "--context=16", "--batch-size=4", "--steps=12", "--evaluate-every=5", "--sample=8",
    ]  # fmt: skip


def test_characters_are_learnt_alike(chargpt, tmp_path):
    """And a run may be finished on the CPU."""
    for device in ("cpu", "cuda"):
        assert run(*chargpt, "--device", device, "--out", tmp_path / device) == 0
    np.testing.assert_allclose(losses(tmp_path / "cuda"), losses(tmp_path / "cpu"), rtol=1e-4)
    assert run("chargpt", "--resume", "--device", "cpu", "--out", tmp_path / "cuda") == 0


def test_a_stopped_run_goes_on_to_the_same_bits(chargpt, tmp_path, monkeypatch):
    """With the random states of the device."""
    words = [*chargpt, "--dropout", 0.1, "--device", "cuda"]
    assert run(*words, "--out", tmp_path / "whole") == 0
    real = Trainer.run
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda self, stop: real(self, lambda: self.step == 7))
        assert run(*words, "--out", tmp_path / "r") >= 128
    assert run("chargpt", "--resume", "--out", tmp_path / "r") == 0
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "r"))
    assert a == b


def test_mnist_is_learnt_alike(tmp_path):
    """As far as dropout allows, whose masks differ between devices."""
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"x_{part}"] = random.integers(0, 255, (40, 28, 28)).astype(np.uint8)
        arrays[f"y_{part}"] = random.integers(0, 10, 40).astype(np.uint8)
    np.savez(tmp_path / "m.npz", **arrays)
    words = ["mnist", "--data", tmp_path / "m.npz", "--epochs", 1, "--batch-size", 20]
    for device in ("cpu", "cuda"):
        assert run(*words, "--device", device, "--out", tmp_path / device) == 0
    np.testing.assert_allclose(losses(tmp_path / "cuda"), losses(tmp_path / "cpu"), rtol=0.1)
