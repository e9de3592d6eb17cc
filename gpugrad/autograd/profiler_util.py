"""What a profile found: single events, their averages by name, the table and the trace file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gpugrad.errors import NotSupportedError, SettingError

#: Microseconds of each unit.
_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0}
#: What a table may be sorted by.
_SORTABLE = ("count", "cpu_time", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage",
             "self_cpu_memory_usage")  # fmt: skip


@dataclass(slots=True)
class FunctionEvent:
    """One executed op, one rule of the backward pass, or one ``record_function`` range.

    Attributes:
        name: the op's name; ``MulBackward0`` and the like for rules.
        category: ``"op"``, ``"backward"`` or ``"user"``.
        start, end: in nanoseconds since the profile began.
        inside: nanoseconds of it that were spent in other events.
        memory, memory_inside: bytes of the arrays that it made, and that events inside made.
        input_shapes: with ``record_shapes``.
        site: the user's line, with ``with_stack``.
    """

    name: str
    category: str
    start: int
    end: int = 0
    inside: int = 0
    memory: int = 0
    memory_inside: int = 0
    input_shapes: list[list[int]] = field(default_factory=list)
    site: str = ""
    thread: int = 0

    count = 1

    @property
    def cpu_time_total(self) -> float:
        """Microseconds from begin to end."""
        return (self.end - self.start) / 1000

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of it that belong to no event inside."""
        return (self.end - self.start - self.inside) / 1000

    @property
    def cpu_memory_usage(self) -> int:
        """Bytes made between begin and end."""
        return self.memory + self.memory_inside

    @property
    def self_cpu_memory_usage(self) -> int:
        """Bytes made by itself."""
        return self.memory

    @property
    def stack(self) -> list[str]:
        """The user's line, as a list because PyTorch gives one."""
        return [self.site] if self.site else []


@dataclass(slots=True)
class FunctionEventAvg:
    """Events of one name, summed: times in microseconds, memory in bytes."""

    key: str
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    cpu_memory_usage: int = 0
    self_cpu_memory_usage: int = 0
    input_shapes: str = ""
    site: str = ""

    @property
    def cpu_time(self) -> float:
        """Mean of the total time."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def add(self, other: Any) -> None:
        """Add an event, or another sum."""
        self.count += other.count
        for name in ("cpu_time_total", "self_cpu_time_total", "cpu_memory_usage",
                     "self_cpu_memory_usage"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))


class EventList(list[Any]):
    """Events, or averages of them."""

    def __init__(self, items: Iterable[Any] = (), memory: bool = False) -> None:
        super().__init__(items)
        self._memory = memory

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds in all events, each counted once."""
        return float(sum(e.self_cpu_time_total for e in self))

    def key_averages(self, group_by_input_shapes: bool = False,
                     group_by_stack_n: int = 0) -> EventList:  # fmt: skip
        """One average per name, and if asked per input shapes and per line of the user's code."""
        found: dict[tuple[str, str, str], FunctionEventAvg] = {}
        for e in self:
            shapes = str(e.input_shapes) if group_by_input_shapes else ""
            site = e.site if group_by_stack_n > 0 else ""
            key = (e.name, shapes, site)
            if key not in found:
                found[key] = FunctionEventAvg(e.name, input_shapes=shapes, site=site)
            found[key].add(e)
        return EventList(found.values(), self._memory)

    def total_average(self) -> FunctionEventAvg:
        """All of them in one."""
        total = FunctionEventAvg("Total")
        for e in self:
            total.add(e)
        return total

    def table(self, sort_by: str | None = None, row_limit: int = 100,
              max_src_column_width: int = 75, max_name_column_width: int = 55,
              max_shapes_column_width: int = 80, header: str | None = None,
              top_level_events_only: bool = False,
              time_unit: str | None = None) -> str:  # fmt: skip
        """The events as text, a row each.

        Args:
            sort_by: ``"count"``, ``"cpu_time"`` (the mean), ``"cpu_time_total"``,
                ``"self_cpu_time_total"``, ``"cpu_memory_usage"`` or ``"self_cpu_memory_usage"``;
                the largest first.  In the order of execution by default.
            row_limit: rows at most; -1 for all.
            max_src_column_width, max_name_column_width, max_shapes_column_width: letters at most.
            header: a line on top.
            top_level_events_only: not supported.
            time_unit: ``"s"``, ``"ms"`` or ``"us"``; the one that suits each time by default.

        Raises:
            SettingError: if it cannot be sorted so.
        """
        if sort_by is not None and sort_by not in _SORTABLE:
            raise SettingError(
                f"table: sort_by is {sort_by!r}; accepted: {', '.join(_SORTABLE)} or None"
            )
        if time_unit not in (None, *_UNITS):
            raise SettingError(
                f"table: time_unit is {time_unit!r}; accepted: 's', 'ms', 'us', None"
            )
        if top_level_events_only:
            raise NotSupportedError("table: top_level_events_only=True is not supported")
        rows = list(self) if sort_by is None else sorted(self, key=lambda e: -_value(e, sort_by))
        rows = rows[:row_limit] if row_limit >= 0 else rows
        total = self.self_cpu_time_total
        widths = (max_name_column_width, max_shapes_column_width, max_src_column_width)
        lines = _columns(rows, total, self._memory, widths, time_unit)
        lines += ["", f"Self CPU time total: {_time(total, time_unit)}"]
        return "\n".join(([header] if header else []) + lines)

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write single events as a file for ``chrome://tracing`` and Perfetto."""
        events = [
            {"name": e.name, "cat": e.category, "ph": "X", "ts": e.start / 1000,
             "dur": (e.end - e.start) / 1000, "pid": os.getpid(), "tid": e.thread,
             "args": {"bytes": e.memory, "input_shapes": e.input_shapes, "line": e.site}}
            for e in self
        ]  # fmt: skip
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)


def _value(event: Any, name: str) -> float:
    if name == "cpu_time":
        return float(event.cpu_time_total / event.count)
    return float(getattr(event, name))


def _columns(rows: list[Any], total: float, memory: bool, widths: tuple[int, int, int],
             unit: str | None) -> list[str]:  # fmt: skip
    names = [_cut(getattr(e, "key", None) or e.name, widths[0]) for e in rows]
    everything = total or 1.0
    columns: list[tuple[str, list[str]]] = [
        ("Self CPU %", [f"{100 * e.self_cpu_time_total / everything:.2f}%" for e in rows]),
        ("Self CPU", [_time(e.self_cpu_time_total, unit) for e in rows]),
        ("CPU total %", [f"{100 * e.cpu_time_total / everything:.2f}%" for e in rows]),
        ("CPU total", [_time(e.cpu_time_total, unit) for e in rows]),
        ("CPU time avg", [_time(_value(e, "cpu_time"), unit) for e in rows]),
    ]
    if memory:
        columns += [("CPU Mem", [_bytes(e.cpu_memory_usage) for e in rows]),
                    ("Self CPU Mem", [_bytes(e.self_cpu_memory_usage) for e in rows])]  # fmt: skip
    columns.append(("# of Calls", [str(e.count) for e in rows]))
    for title, name, width in (("Input Shapes", "input_shapes", widths[1]),
                               ("Source Location", "site", widths[2])):  # fmt: skip
        if any(getattr(e, name) for e in rows):
            columns.append((title, [_cut(str(getattr(e, name) or ""), width) for e in rows]))
    left = max([len("Name"), *map(len, names)])
    sizes = [max(len(title), *map(len, cells)) if cells else len(title) for title, cells in columns]
    line = "  ".join(["-" * left, *("-" * s for s in sizes)])
    titles = "  ".join(["Name".ljust(left), *(t.rjust(s) for (t, _), s in zip(columns, sizes))])
    body = [
        "  ".join([name.ljust(left), *(c[i].rjust(s) for (_, c), s in zip(columns, sizes))])
        for i, name in enumerate(names)
    ]
    return [line, titles, line, *body, line]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."


def _time(us: float, unit: str | None = None) -> str:
    unit = unit or next((u for u, size in _UNITS.items() if us >= size), "us")
    return f"{us / _UNITS[unit]:.3f}{unit}"


def _bytes(number: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number} B"
