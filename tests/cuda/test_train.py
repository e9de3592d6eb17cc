"""The main job on a GPU."""

from pathlib import Path

import pytest

from gpugrad.cli import main


def train(*args: str) -> int:
    """Run ``gpugrad train digits --device cuda``; the exit status."""
    with pytest.raises(SystemExit) as exit_:
        main(["train", "digits", "--device", "cuda", "--quiet", *args])
    return int(exit_.value.code or 0)


def test_the_digits_are_learnt_on_a_gpu(tmp_path: Path) -> None:
    """As well as on the CPU."""
    assert train("--out", str(tmp_path / "r"), "--target", "97") == 0


def test_the_seed_decides_every_bit_on_a_gpu(tmp_path: Path) -> None:
    """Two runs leave the same weights."""
    for name in ("a", "b"):
        assert train("--epochs", "2", "--out", str(tmp_path / name)) == 0
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("a", "b"))
    assert a == b
