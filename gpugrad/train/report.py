"""What a run leaves behind: weights, metrics, two pictures and the settings that made them."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

import gpugrad
from gpugrad import io
from gpugrad.train import pictures
from gpugrad.train.digits import HELD_OUT, Row, Run


def write(run: Run, stage: Path, folder: Path) -> list[str]:
    """Write all files of a run into ``stage``, on their way to ``folder``; return their names.

    Raises:
        OSError: naming the file in ``folder`` that could not be written.
    """
    images = run.split.held_out_images.numpy(force=True)[:, 0]
    labels = run.split.held_out_labels.numpy(force=True)
    writers: dict[str, Callable[[Path], None]] = {
        "weights.safetensors": lambda p: io.save_file(run.model.parameters, p),
        "metrics.csv": lambda p: _metrics(run, p),
        "config.json": lambda p: _config(run, p),
        "curves.png": lambda p: pictures.curves(run.rows, p),
        "misread.png": lambda p: pictures.misread(images, labels, run.probabilities, p),
    }
    for name, writer in writers.items():
        with io.named(folder / name):
            writer(stage / name)
    return list(writers)


def misread(run: Run) -> int:
    """Number of held-out images that were read wrongly."""
    labels = run.split.held_out_labels.numpy(force=True)
    return int(np.sum(run.probabilities.argmax(1) != labels))


def _metrics(run: Run, path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([f.name for f in fields(Row)])
        for row in run.rows:
            table.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in _values(row)])


def _values(row: Row) -> list[Any]:
    return [getattr(row, f.name) for f in fields(Row)]


def _config(run: Run, path: Path) -> None:
    last = run.rows[-1]
    facts = {
        "job": "digits",
        "settings": asdict(run.settings),
        "parameters": sum(p.numel() for p in run.model.parameters.values()),
        "training_images": len(run.split.train_labels),
        "held_out_images": HELD_OUT,
        "interrupted": run.interrupted,
        "held_out_accuracy": last.held_out_accuracy,
        "misread": misread(run),
        "seconds": round(last.seconds, 3),
        "gpugrad": gpugrad.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    path.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
