"""What a run leaves behind: weights, metrics, pictures and the settings that made them."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np

import gpugrad
from gpugrad import io
from gpugrad.train import table
from gpugrad.train.trainer import Trainer, Writers


def write(run: Trainer, stage: Path, folder: Path) -> list[str]:
    """Write all files of a run into ``stage``, on their way to ``folder``; return their names.

    Raises:
        OSError: naming the file in ``folder`` that could not be written.
    """
    writers: Writers = {
        "weights.safetensors": lambda p: io.save_file(run.weights(), p),
        "metrics.csv": lambda p: table.write(run.rows, p),
        "config.json": lambda p: _config(run, p),
        **run.writers(),
    }
    for name, writer in writers.items():
        with io.named(folder / name):
            writer(stage / name)
    return list(writers)


def _config(run: Trainer, path: Path) -> None:
    facts = {
        "job": run.name,
        "settings": asdict(run.settings),
        "parameters": sum(w.numel() for w in run.weights().values()),
        **run.facts(),
        "interrupted": run.interrupted,
        "seconds": round(run.rows[-1]["seconds"], 3),
        "gpugrad": gpugrad.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    finite = {k: None if v != v else v for k, v in facts.items()}  # JSON has no NaN
    path.write_text(json.dumps(finite, indent=1) + "\n", "utf-8")
