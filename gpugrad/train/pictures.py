"""The two pictures of a run.  matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.train.digits import Row

_TRAIN, _HELD_OUT, _GREY = "#3b6ea5", "#d1603d", "#777777"
_COLUMNS, _AT_MOST = 6, 24


def curves(rows: Sequence[Row], path: Path) -> None:
    """Loss and accuracy over the epochs, for the training and the held-out images."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [r.epoch for r in rows]
    style = {"marker": "o", "markersize": 3.5, "linewidth": 1.8}
    for axes, what in ((left, "loss"), (right, "accuracy")):
        for color, label, prefix in (
            (_TRAIN, "training, dropout on", ""),
            (_HELD_OUT, "held out", "held_out_"),
        ):
            values = [getattr(r, prefix + what) for r in rows]
            axes.plot(epochs, values, color=color, label=label, **style)
    left.set(title="loss (cross-entropy)", yscale="log")
    right.set(title=f"accuracy (held out: {rows[-1].held_out_accuracy:.2%} at the end)")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def misread(images: Any, labels: Any, probabilities: Any, path: Path) -> None:
    """The misread digits, the surest mistakes first; without any, the least sure right answers.

    Args:
        images: ``(N, 8, 8)``, values 0 to 1.
        labels: ``(N,)``, what they are.
        probabilities: ``(N, 10)``, what the network says.
        path: a ``.png`` to write.
    """
    from matplotlib.figure import Figure

    guesses, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(guesses != labels)
    if len(wrong):
        shown = wrong[np.argsort(-sure[wrong], kind="stable")]
        title = f"{len(wrong)} of {len(labels)} held-out digits misread"
    else:
        shown = np.argsort(sure, kind="stable")[:12]
        title = f"none of {len(labels)} held-out digits misread; the least certain"
    if len(shown) > _AT_MOST:
        shown, title = shown[:_AT_MOST], f"{title}; the surest {_AT_MOST} mistakes"
    columns = min(max(len(shown), 4), _COLUMNS)
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(1.7 * columns, 2.2 * lines + 0.6), layout="constrained")
    figure.suptitle(title)
    figure.subplots(lines, columns)
    for axes in figure.axes[len(shown) :]:
        axes.set_axis_off()
    for axes, i in zip(figure.axes, shown, strict=False):
        axes.imshow(images[i], cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")
        axes.set_title(f"is {labels[i]}, read as {guesses[i]}", fontsize=10,
                       color=_GREY if guesses[i] == labels[i] else _HELD_OUT)  # fmt: skip
        axes.text(0.5, -0.04, f"{sure[i]:.0%} sure", transform=axes.transAxes, ha="center",
                  va="top", fontsize=8, color=_GREY)  # fmt: skip
    figure.savefig(path, dpi=130)
