"""Names of places where tensors live: ``cpu``, ``cuda:N`` and ``meta`` (shape and dtype only)."""

from __future__ import annotations

import threading
from typing import Any, ClassVar, Self

from gpugrad.errors import DeviceError

KINDS = ("cpu", "cuda", "meta")


class Device:
    """A device by type and index, as ``torch.device``; equal by value, hashable, interned.

    ``Device("cuda")`` means the current CUDA device and carries no index until it is used.
    ``with Device("meta"):`` makes it the place of what is made without a ``device`` inside.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None
    _interned: ClassVar[dict[tuple[str, int | None], Device]] = {}

    def __new__(cls, type: Any = "cpu", index: int | None = None) -> Device:  # noqa: PYI034 - interned
        if isinstance(type, Device):
            return type
        if isinstance(type, int) and not isinstance(type, bool):  # a bare ordinal means CUDA
            type, index = "cuda", type
        if not isinstance(type, str):
            raise DeviceError(f"not a device: {type!r}; accepted: 'cpu', 'cuda', 'cuda:0', 'meta'")
        kind, _, ordinal = type.partition(":")
        if ordinal:
            if index is not None or not ordinal.isdigit():
                raise DeviceError(f"not a device: {type!r}; accepted: 'cpu', 'cuda', 'cuda:0'")
            index = int(ordinal)
        if kind not in KINDS:
            raise DeviceError(f"unknown device type {kind!r}; accepted: {', '.join(KINDS)}")
        if index is not None and index < 0:
            raise DeviceError(f"a device index cannot be negative, got {index}; accepted: 0, 1...")
        if kind != "cuda":
            if index not in (None, 0):
                raise DeviceError(f"{kind} has a single device, got index {index}")
            index = None
        found = cls._interned.get((kind, index))
        if found is None:
            found = object.__new__(cls)
            object.__setattr__(found, "type", kind)
            object.__setattr__(found, "index", index)
            found = cls._interned.setdefault((kind, index), found)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a device cannot be changed")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Device, (self.type, self.index))

    def __copy__(self) -> Device:
        return self

    def __deepcopy__(self, memo: Any) -> Device:
        return self

    def __enter__(self) -> Self:
        default.outer.append(default.device)
        default.device = self
        return self

    def __exit__(self, *exc: object) -> None:
        default.device = default.outer.pop()


class _Default(threading.local):
    """Each thread's place for what is made without a ``device``; None if it named none."""

    device: Device | None = None

    def __init__(self) -> None:
        #: those of the ``with`` blocks around
        self.outer: list[Device | None] = []


CPU = Device("cpu")
META = Device("meta")
default = _Default()


def place(device: Any) -> Device:
    """The device that an argument names; the thread's default, or the CPU, where it is None."""
    if device is None:
        return default.device or CPU
    return Device(device)
