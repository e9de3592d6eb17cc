"""What was measured, as a table and as a chart."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Cells = list[dict[str, Any]]


def _columns(cells: Cells) -> tuple[list[str], list[str]]:
    """The peers and the roofs, in the order in which they come."""
    others = dict.fromkeys(c["engine"] for c in cells if c["engine"] != "gpugrad")
    roofs = {c["engine"] for c in cells if c.get("roof")}
    return [e for e in others if e not in roofs], [e for e in others if e in roofs]


def lines(cells: Cells) -> tuple[list[list[str]], list[str]]:
    """One line per measured thing, and notes on the cells without a number.

    gpugrad, each peer and roof beside each other; then gpugrad's time over each peer's, and how
    much of each roof it reaches.
    """
    peers, roofs = _columns(cells)
    table = [["what", "gpugrad", *peers, *roofs, *(f"gpugrad / {p}" for p in peers),
              *(f"of {r}" for r in roofs)]]  # fmt: skip
    notes: list[str] = []

    def shown(cell: dict[str, Any] | None) -> str:
        if cell is None:
            return ""
        if cell["value"] is not None:
            return f"{cell['value']:.3g}"
        kind = "failed" if "failed" in cell else "missing"
        note = f"{cell['engine']}: {'FAILED, ' if kind == 'failed' else ''}{cell[kind]}"
        if note not in notes:
            notes.append(note)
        return f"{'FAILED' if kind == 'failed' else '-'} [{notes.index(note) + 1}]"

    for what in dict.fromkeys(c["what"] for c in cells):
        found = {c["engine"]: c for c in cells if c["what"] == what}
        values = {e: c["value"] for e, c in found.items() if c["value"]}
        mine = values.get("gpugrad")
        row = [what, *(shown(found.get(e)) for e in ("gpugrad", *peers, *roofs))]
        row += [f"{mine / values[p]:.2f}" if mine and p in values else "" for p in peers]
        row += [f"{values[r] / mine:.0%}" if mine and r in values else "" for r in roofs]
        table.append(row)
    return table, [f"[{i}] {note}" for i, note in enumerate(notes, 1)]


def show(cells: Cells, console: Console, markdown: bool) -> None:
    """Print a table for a terminal, or one to paste into a page."""
    table, notes = lines(cells)
    if markdown:
        rule = ["---", *["---:"] * (len(table[0]) - 1)]
        for row in (table[0], rule, *table[1:]):
            print("| " + " | ".join(row) + " |")
    else:
        shown = Table(title="gpugrad side by side")
        for i, name in enumerate(table[0]):
            shown.add_column(name, justify="right" if i else "left", no_wrap=True)
        for row in table[1:]:
            shown.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(shown)
    for note in notes:
        console.print(note, markup=False)


def draw(cells: Cells, path: Path) -> None:
    """A bar per measured thing and peer: gpugrad's number over the peer's; shorter is better."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    others = [e for part in _columns(cells) for e in part]
    values = {(c["what"], c["engine"]): c["value"] for c in cells if c["value"]}
    names = [w for w in dict.fromkeys(c["what"] for c in cells) if (w, "gpugrad") in values
             and any((w, e) in values for e in others)][::-1]  # fmt: skip
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.3 * len(names)), layout="constrained")
    thickness = 0.8 / max(1, len(others))
    for nth, other in enumerate(others):
        ratios = [values[w, "gpugrad"] / values[w, other] if (w, other) in values else 0.0
                  for w in names]  # fmt: skip
        at = [y - nth * thickness for y in range(len(names))]
        bars = axes.barh(at, ratios, thickness, label=f"gpugrad / {other}")
        axes.bar_label(bars, [f"{r:.2f}" if r else "" for r in ratios], padding=3, fontsize=8)
    axes.set_yticks([y - 0.4 + thickness / 2 for y in range(len(names))], names)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
