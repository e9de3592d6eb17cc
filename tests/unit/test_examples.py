"""The scripts in examples/ are written for PyTorch; ``gpugrad run`` runs them and they learn."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpugrad
from gpugrad.compat.survey import survey

EXAMPLES = Path(gpugrad.__file__).parents[1] / "examples"

#: Script, short settings, the figure that must fall, and what it must fall below.
SHORT = {
    "classification": ("--epochs 4 --images 1200", "loss", 0.7),
    "vae": ("--epochs 6 --images 4000", "loss", 37.0),
    "wgan_gp": ("--steps 300 --lr 2e-3", "distance", 0.42),
    "lstm_lm": ("--epochs 2 --limit 20000", "loss", 2.7),
    "transformer": ("--steps 100", "loss", 0.2),
}


def run(name: str, *command: str) -> list[str]:
    """Run a script with its short settings; its lines."""
    env = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, str(EXAMPLES / f"{name}.py"), *SHORT[name][0].split()],
        env=env, text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def figures(name: str, lines: list[str]) -> list[float]:
    """The figure that must fall, line by line."""
    return [float(m[1]) for line in lines if (m := re.search(rf"\b{SHORT[name][1]} (\S+)", line))]


def check_learning(name: str, lines: list[str]) -> None:
    """The figure falls, and below its mark."""
    found = figures(name, lines)
    assert len(found) >= 2
    assert found[-1] < 0.95 * found[0]
    assert found[-1] < SHORT[name][2]


def test_every_example_is_run_here() -> None:
    """No script without its line above."""
    assert {p.stem for p in EXAMPLES.glob("*.py")} == set(SHORT)


def test_check_finds_all_that_they_need() -> None:
    """``gpugrad check examples`` has nothing to complain of, and they name gpugrad nowhere."""
    found = survey([EXAMPLES])
    assert found.files == len(SHORT)
    assert len(found.names) > 50
    assert not found.missing
    assert not found.unreadable
    assert not any("gpugrad" in p.read_text("utf-8") for p in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", SHORT)
def test_it_learns_on_gpugrad(name: str) -> None:
    """The printed figure falls below its mark, and nothing is printed to stderr."""
    check_learning(name, run(name, "-m", "gpugrad", "run"))


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", SHORT)
def test_it_learns_as_much_on_pytorch(name: str) -> None:
    """The same file under Python reaches the same mark."""
    pytest.importorskip("torch")
    check_learning(name, run(name))
