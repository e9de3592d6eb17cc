"""What ``explain`` found, and its table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from gpugrad.backends.nvidia.compile import Usage
from gpugrad.codegen.cuda import Variant
from gpugrad.explanation.traffic import Traffic

_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


@dataclass(frozen=True, slots=True)
class Kernel:
    """One launch of a kernel.

    Attributes:
        name: what it computes: ``"softmax"``, ``"softmax backward"``.
        phase: ``"forward"``, ``"backward"`` or ``"update"``.
        what: the same with its arrays: dtypes and how each is read.
        grid, block: blocks, and threads of one, along x, y and z.
        variant: which of the kernel's texts these sizes and addresses choose; None for a kernel
            that is not generated.
        passes: how often it goes through the array that it reads most often.
        traffic: bytes that it moves, and the least: each array that it reads or writes once.
        symbol: the kernel's name in its source.
        source: its own text.
        helpers: the text before it.
        usage: registers, spills and shared memory; None where the driver compiles it.
        seconds: measured, on a device.
    """

    name: str
    phase: str
    what: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    variant: Variant | None
    passes: int
    traffic: Traffic
    symbol: str = field(repr=False)
    source: str = field(repr=False)
    helpers: str = field(repr=False)
    usage: Usage | None = None
    seconds: float | None = None

    @property
    def registers(self) -> int | None:
        """Registers of a thread."""
        return None if self.usage is None else self.usage.registers

    @property
    def spills(self) -> int | None:
        """Bytes of a thread that its registers do not hold, written and read."""
        u = self.usage
        return None if u is None else u.spill_stores + u.spill_loads

    @property
    def shared(self) -> int | None:
        """Bytes of shared memory per block."""
        return None if self.usage is None else self.usage.shared

    @property
    def bandwidth(self) -> float | None:
        """Bytes per second, of those that it moves."""
        return self.traffic.moved / self.seconds if self.seconds else None


@dataclass(frozen=True, slots=True)
class Other:
    """Work that no generated kernel does.

    Attributes:
        name: the op, or the node whose gradient rule it is.
        phase: as of a kernel.
        by: what does it.
        traffic: each array that it reads or writes once.
    """

    name: str
    phase: str
    by: str
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a call runs on a CUDA device; printing it gives a table.

    Attributes:
        name: of what was called.
        arch: what the kernels were compiled for.
        steps: kernels and other work, in order.
        minimum: per phase the bytes that cannot be avoided: forward, those of the arguments and
            results; backward, of the gradients that come and go and of what the tape kept for the
            rules.  For a phase that is not there it is what each step must read and write.
        copy: bytes per second that the device copies, reads and writes counted; None without one.
    """

    name: str
    arch: str
    steps: tuple[Kernel | Other, ...]
    minimum: dict[str, int]
    copy: float | None = None

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels, in the order of their launches."""
        return [s for s in self.steps if isinstance(s, Kernel)]

    def traffic(self, phase: str) -> Traffic:
        """Bytes that a phase moves, and the least that it must."""
        found = sum((s.traffic for s in self.steps if s.phase == phase), Traffic(0, 0))
        return Traffic(found.moved, self.minimum.get(phase, found.minimum))

    @property
    def phases(self) -> list[str]:
        """The phases that did anything, in order."""
        return list(dict.fromkeys(s.phase for s in self.steps))

    def source(self) -> str:
        """The text of every kernel, each once, without the helper functions before it."""
        texts: dict[str, Kernel] = {}
        for kernel in self.kernels:
            texts.setdefault(kernel.source, kernel)
        return "\n".join(f"// {k.phase}: {k.what}\n{k.source}" for k in texts.values())

    def __str__(self) -> str:
        if not self.steps:
            return f"{self.name} computes nothing on a device"
        rows = [_row(same, self.copy) for same in _groups(self.steps)]
        columns = [i for i in range(len(_HEADINGS)) if any(r[i] for r in rows)]
        table = [[_HEADINGS[i] for i in columns], *([r[i] for i in columns] for r in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [f"{self.name}, compiled for {self.arch}", ""]
        for row in table:
            cells = [c.ljust(w) if columns[i] < _LEFT else c.rjust(w)
                     for i, (c, w) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
            lines.append("  ".join(cells).rstrip())
        lines.append("")
        lines += [self._sum(phase) for phase in self.phases]
        if self.copy:
            lines.append(f"a copy on this device: {self.copy / 1e9:.0f} GB/s, read and written")
        return "\n".join(lines)

    def _sum(self, phase: str) -> str:
        mine = [s for s in self.steps if s.phase == phase]
        kernels = sum(isinstance(s, Kernel) for s in mine)
        others = len(mine) - kernels
        found = self.traffic(phase)
        words = [f"{phase}: {kernels} kernel{'s' * (kernels != 1)}"]
        words += [f"{others} without a generated kernel"] if others else []
        words += [f"{found.moved:,} bytes moved", f"the minimum is {found.minimum:,}"]
        if found.minimum:
            words[-1] += f" ({found.moved / found.minimum:.2f} times that)"
        return ", ".join(words)


_HEADINGS = ("phase", "computes", "how", "times", "grid", "block", "registers", "spills", "shared",
             "passes", "moved", "minimum", "time", "of copy")  # fmt: skip
#: Columns of words; the others are numbers.
_LEFT = 3


def _groups(steps: Iterable[Kernel | Other]) -> list[list[Kernel | Other]]:
    """Neighbours that a reader could not tell apart."""

    def looks(s: Kernel | Other) -> object:
        if isinstance(s, Other):
            return (s.phase, s.name, s.by, s.traffic)
        return (s.phase, s.name, s.source, s.grid, s.traffic)

    return [list(same) for _, same in groupby(steps, looks)]


def _row(same: list[Kernel | Other], copy: float | None) -> list[str]:
    first = same[0]
    times = str(len(same)) if len(same) > 1 else ""
    if isinstance(first, Other):
        blank = [""] * 6
        row = [first.phase, short(first.name), first.by, times, *blank]
        return [*row, amount(first.traffic.moved), amount(first.traffic.minimum), "", ""]
    numbers = [first.registers, first.spills, first.shared, first.passes]
    timed = [k.seconds for k in same if isinstance(k, Kernel) and k.seconds]
    seconds = sum(timed) / len(timed) if timed else None
    share = f"{first.traffic.moved / seconds / copy:.0%}" if seconds and copy else ""
    return [
        first.phase, short(first.name), words(first.variant), times, _sizes(first.grid),
        _sizes(first.block), *("?" if n is None else str(n) for n in numbers),
        amount(first.traffic.moved), amount(first.traffic.minimum),
        f"{seconds * 1e6:.1f} us" if seconds else "", share,
    ]  # fmt: skip


def short(name: str) -> str:
    """A program's name without where its record is at home."""
    return re.sub(r"^[\w.]*\.", "", name)


def amount(size: int) -> str:
    """Bytes in the unit that shows them best."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"


def words(variant: Variant | None) -> str:
    """A variant as a reader wants it."""
    if variant is None:
        return "from kernels/"
    found = [f"{variant.width} at a time"]
    if variant.threads:
        rows = f", {variant.groups} rows" if variant.groups > 1 else ""
        where = f"{variant.packs} each on chip" if variant.packs else "row read again"
        found.append(f"{variant.threads} threads a row{rows}, {where}")
    found += ["rows in parts"] if variant.split else []
    found += [f"{variant.dims} strides"] if variant.dims else []
    found += ["64-bit offsets"] if variant.wide else []
    return ", ".join(found)


def _sizes(of: tuple[int, ...]) -> str:
    kept = list(of)
    while len(kept) > 1 and kept[-1] == 1:
        kept.pop()
    return "x".join(map(str, kept))
