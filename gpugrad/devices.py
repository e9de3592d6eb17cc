"""Names of places where tensors live: ``cpu``, ``cuda:N`` and ``meta`` (shape and dtype only)."""

from __future__ import annotations

from typing import Any, ClassVar

from gpugrad.errors import DeviceError

KINDS = ("cpu", "cuda", "meta")


class Device:
    """A device by type and index, as ``torch.device``; equal by value, hashable, interned.

    ``Device("cuda")`` means the current CUDA device and carries no index until it is used.
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


CPU = Device("cpu")
META = Device("meta")
