"""Which of the names that real training scripts use gpugrad has: a table, the gaps, the share.

    python ci/api_names.py [--fail-under 95]

The names, with how many of 37 public repositories use each, are in api_names.txt.
"""

import argparse
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gpugrad.compat.names import Missing, resolve

LIST = Path(__file__).with_name("api_names.txt")


def names() -> dict[str, dict[str, int]]:
    """Section (``torch.nn``) to dotted name (``torch.nn.Linear``) to number of repositories."""
    found: dict[str, dict[str, int]] = {}
    for section in re.split(r"^\[", LIST.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        home, _, text = section.partition("]")
        found[home] = {f"{home}.{n}": int(c) for n, c in re.findall(r"([\w.]+)\s+(\d+)", text)}
    return found


def lacking(name: str) -> str:
    """What gpugrad lacks of a name; "" if it has it."""
    try:
        resolve(name)
    except Missing as missing:
        return str(missing)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fail-under", type=float, default=95, metavar="PERCENT")
    at_least = parser.parse_args().fail_under
    table = Table(box=None, pad_edge=False)
    table.add_column("where")
    for heading in ("names", "there", "share", "by use"):
        table.add_column(heading, justify="right")
    gaps: dict[str, int] = {}
    everything: dict[str, int] = {}
    for home, counts in names().items():
        missing = {n: c for n, c in counts.items() if lacking(n)}
        table.add_row(home, *_row(counts, missing))
        gaps |= missing
        everything |= counts
    table.add_section()
    table.add_row("all", *_row(everything, gaps), style="bold")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if gaps:
        console.print("\nmissing, with the number of repositories that use it:")
        for name, count in sorted(gaps.items(), key=lambda item: -item[1]):
            console.print(f"{count:4d}  {name}")
    share = 100 * (1 - len(gaps) / len(everything))
    if share < at_least:
        console.print(f"\n{share:.2f} % is below the {at_least:g} % that is asked for")
    return int(share < at_least)


def _row(counts: dict[str, int], missing: dict[str, int]) -> tuple[str, ...]:
    there = len(counts) - len(missing)
    weight = 1 - sum(missing.values()) / sum(counts.values())
    return str(len(counts)), str(there), f"{there / len(counts):.1%}", f"{weight:.1%}"


if __name__ == "__main__":
    raise SystemExit(main())
