"""Rows of measurements: how a column is shown on the screen, and the CSV file of all of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What was measured at one moment of a run, by name; the order is that of the CSV file.
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """How one measurement is shown.

    Attributes:
        name: its key in a row.
        heading: above its values.
        form: as for ``format``.
        width: at least so many characters; the heading always fits.
        scale: what the value is divided by.
        suffix: what follows it.
    """

    name: str
    heading: str
    form: str
    width: int = 0
    scale: float = 1
    suffix: str = ""

    def cell(self, text: str) -> str:
        """The text, moved to the right of the column."""
        return text.rjust(max(self.width, len(self.heading)))

    def show(self, value: Any) -> str:
        """The value as text."""
        value = value if self.scale == 1 else value / self.scale
        return self.cell(f"{value:{self.form}}{self.suffix}")


MEMORY = Column("memory_bytes", "memory", ".0f", 9, 2**20, " MiB")


def speed(unit: str) -> Column:
    """The column of how many ``unit`` were trained on in a second."""
    return Column(f"{unit}_per_second", f"{unit}/s", ",.0f", 9)


def heading(columns: Sequence[Column]) -> str:
    """The line above the rows."""
    return "  ".join(c.cell(c.heading) for c in columns)


def line(columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    """A row as a line."""
    return "  ".join(c.show(row[c.name]) for c in columns)


def write(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows of the same names as a CSV file, names first, six digits of every float."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(rows[0] if rows else ())
        for row in rows:
            table.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row.values()])
