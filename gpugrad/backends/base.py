"""What every array library must offer to the floors above."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

from gpugrad.backends import philox
from gpugrad.devices import Device


class Namespace:
    """An array library with additions: looked up in the additions first, then in the library.

    Op records call it ``xp``.  A name found once stays an attribute, so a later call costs what a
    module attribute costs.
    """

    def __init__(self, library: Any, extras: dict[str, Any]) -> None:
        self.__dict__.update(extras)
        self._library = library

    #: Finds an op for a name that the library lacks; ``gpugrad.dispatch`` sets it.
    missing: ClassVar[Callable[[Namespace, str], Any] | None] = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._library, name, None)
        if value is None and self.missing is not None:
            value = self.missing(name)
        if value is None:
            raise AttributeError(f"neither {self._library.__name__} nor an op is named {name!r}")
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return f"<namespace over {self._library.__name__}>"


def _copy(array: Any) -> Any:
    return array.copy()


def _write(target: Any, source: Any) -> None:
    target[...] = source


class Backend:
    """One array library.  Subclasses fill in the attributes and what differs."""

    name: str
    array_type: type
    xp: Namespace
    #: The bare array module, for code that is written over either library.
    library: Any
    #: Whether products take 16-bit floats as they are, sum in float32 and round once.
    multiplies_halves: bool = False
    #: Whether ops with ``half="kernel"`` take 16-bit floats as they are.
    has_kernels: bool = False
    #: Functions that draw random numbers: those of ``philox``.
    draws: Any = philox

    def widens(self, half: str) -> bool:
        """Whether 16-bit floats are cast up for an op with this ``half`` (see ``op.op``)."""
        able = {"product": self.multiplies_halves, "kernel": self.has_kernels}
        return half == "f32" or not able.get(half, True)

    def device_of(self, array: Any) -> Device:
        """Device that holds ``array``."""
        raise NotImplementedError

    def from_numpy(self, array: Any, device: Device) -> Any:
        """Copy a NumPy array to ``device`` (share it where the device is the host)."""
        raise NotImplementedError

    def to_numpy(self, array: Any) -> Any:
        """Copy an array to the host (share it where it is there already)."""
        raise NotImplementedError

    def run(self, fn: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        """Call ``fn`` with floating-point warnings silenced, as IEEE results are wanted."""
        raise NotImplementedError

    def on(self, device: Device) -> AbstractContextManager[Any]:
        """A context in which fresh arrays are made on ``device``."""
        return nullcontext()

    def copy(self, array: Any) -> Any:
        """A copy of an array on the device that it is on."""
        return self.run(_copy, array)

    def copyto(self, target: Any, source: Any) -> None:
        """Write ``source`` (broadcast, cast without checks) into ``target``'s memory."""
        self.run(_write, target, source)

    def synchronize(self, device: Device | None = None) -> None:
        """Wait until queued work on ``device`` is done."""

    def may_share_memory(self, a: Any, b: Any) -> bool:
        """Whether the ranges of memory that two arrays span touch."""
        raise NotImplementedError

    def shares_memory(self, a: Any, b: Any) -> bool:
        """Whether any element of ``a`` is also an element of ``b``."""
        raise NotImplementedError
