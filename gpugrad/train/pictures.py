"""The pictures of a run.  matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.train.table import Row

_FIRST, _SECOND, _GREY = "#3b6ea5", "#d1603d", "#777777"
_COLUMNS, _AT_MOST = 6, 24


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes of ``curves``.

    Attributes:
        title: above it.
        lines: name in the rows and label of each line.
        log: whether the axis of values is logarithmic.
        percent: whether values are shares.
    """

    title: str
    lines: Sequence[tuple[str, str]]
    log: bool = False
    percent: bool = False


def curves(rows: Sequence[Row], path: Path, panels: Sequence[Panel], over: str) -> None:
    """Measurements side by side over the course of a run.

    Args:
        rows: what was measured.
        path: a ``.png`` to write.
        panels: what is shown.
        over: the name in the rows that runs along the axes, as ``epoch``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    places = [r[over] for r in rows]
    style = {"marker": "o", "markersize": 3.5, "linewidth": 1.8}
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        for (name, label), color in zip(panel.lines, (_FIRST, _SECOND), strict=False):
            axes.plot(places, [r[name] for r in rows], color=color, label=label, **style)
        axes.set(title=panel.title, xlabel=over)
        if panel.log:
            axes.set_yscale("log")
        if panel.percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def misread(
    images: Any, labels: Any, probabilities: Any, path: Path, which: str = "held-out"
) -> None:  # fmt: skip
    """The misread digits, the surest mistakes first; without any, the least sure right answers.

    Args:
        images: ``(N, height, width)``, values 0 to 1.
        labels: ``(N,)``, what they are.
        probabilities: ``(N, 10)``, what the network says.
        path: a ``.png`` to write.
        which: what these images are, in words.
    """
    from matplotlib.figure import Figure

    guesses, sure = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(guesses != labels)
    if len(wrong):
        shown = wrong[np.argsort(-sure[wrong], kind="stable")]
        title = f"{len(wrong)} of {len(labels)} {which} digits misread"
    else:
        shown = np.argsort(sure, kind="stable")[:12]
        title = f"none of {len(labels)} {which} digits misread; the least certain"
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
                       color=_GREY if guesses[i] == labels[i] else _SECOND)  # fmt: skip
        axes.text(0.5, -0.04, f"{sure[i]:.0%} sure", transform=axes.transAxes, ha="center",
                  va="top", fontsize=8, color=_GREY)  # fmt: skip
    figure.savefig(path, dpi=130)
