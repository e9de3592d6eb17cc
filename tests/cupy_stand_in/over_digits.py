"""Run by tests/unit/test_cuda_path.py over the stand-in: the tape and a training job by kernels."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.cli import main
from gpugrad.train.digits import Settings, train
from gpugrad.train.progress import Silent


def test_writes_through_views():
    """In-place ops, views and history, as on the CPU."""

    def run(device):
        x = gg.arange(12.0, device=device).requires_grad_()
        y = (x * 2).reshape(3, 4)
        y[1] *= 3
        y.diagonal().add_(1)
        y[:, gg.tensor([0, 2])] = 0
        (y * y).sum().backward()
        return y.tolist(), x.grad.tolist()

    assert run("cuda") == run("cpu")


def test_the_digits_are_learnt_alike():
    """The training job without dropout, whose masks differ between devices."""
    with gg.backends.cudnn.flags(enabled=True, allow_tf32=False):
        rows = [train(Settings(epochs=2, dropout=0, device=d), Silent()).rows
                for d in ("cpu", "cuda")]  # fmt: skip
    cpu, cuda = ([(r["loss"], r["held_out_loss"]) for r in found] for found in rows)
    assert len(cpu) == 2
    np.testing.assert_allclose(cuda, cpu, rtol=1e-3)


def test_the_job_runs_twice_alike(tmp_path):
    """By its command, with dropout: the seed decides every bit of the weights."""
    for name in ("a", "b"):
        words = ["--quiet", "--epochs", "1", "--device", "cuda", "--out", str(tmp_path / name)]
        with pytest.raises(SystemExit) as exit_:
            main(["train", "digits", *words])
        assert not exit_.value.code
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("a", "b"))
    assert a == b
