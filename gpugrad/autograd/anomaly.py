"""Anomaly mode: find the forward op that a NaN gradient comes from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from gpugrad.modes import modes, recording
from gpugrad.storage import caller_site


class _SiteRecorder:
    """Notes on every node the user's line that called the op."""

    def record(self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any],
               outputs: tuple[Any, ...]) -> None:  # fmt: skip
        node = next((t._node for t in outputs if t._node is not None), None)
        if node is not None and node.meta is None:
            node.meta = {"site": caller_site()}


class detect_anomaly(AbstractContextManager[None]):
    """Find where a NaN gradient comes from: forward ops note their line, backward checks.

    Inside, every node remembers the source line of its forward call, and a rule that returns NaN
    raises an AutogradError that names op and line.  Slow; for debugging.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self._check = check_nan
        self._recording = recording(_SiteRecorder())

    def __enter__(self) -> None:
        self._recording.__enter__()
        self._before = modes.anomaly
        modes.anomaly = self._check

    def __exit__(self, *exc: object) -> None:
        modes.anomaly = self._before
        self._recording.__exit__(*exc)


class set_detect_anomaly(detect_anomaly):
    """Switch anomaly mode on or off at once; undone at the end when used in ``with``."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        super().__init__(check_nan)
        self._mode = mode
        self._before = modes.anomaly
        if mode:
            super().__enter__()
        else:
            modes.anomaly = False

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        if self._mode:
            super().__exit__(*exc)
        else:
            modes.anomaly = self._before
