"""Random number generators: a seed, and a call number that rises with every draw.

A draw is a pure function of (seed, call number, element index) (see ``backends.philox``), so the
same seed gives the same integers on every device, and a generator's whole state is two numbers.
Each device has a default generator; ``manual_seed`` sets all of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpugrad import backends
from gpugrad.devices import CPU, Device
from gpugrad.errors import ArgumentError, SettingError

_lock = threading.Lock()
_MASK = (1 << 64) - 1


class Generator:
    """A stream of random numbers for one device.

    Args:
        device: where its numbers are used; numbers do not depend on it.
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self._seed = 0
        self._calls = 0

    def manual_seed(self, seed: int) -> Generator:
        """Start anew from ``seed`` (any 64-bit integer; a negative one counts from 2**64 down)."""
        self._seed, self._calls = _checked_seed(seed), 0
        return self

    def seed(self) -> int:
        """Start anew from a seed drawn from the system; return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that it started from."""
        return self._seed

    def draw(self) -> tuple[int, int]:
        """Take the next call number: ``(seed, offset)`` for one call of ``backends.philox``."""
        with _lock:
            offset = self._calls
            self._calls += 1
        return self._seed, offset

    def get_state(self) -> Any:
        """The state as a uint8 tensor of 16 bytes: seed and call number, little endian."""
        from gpugrad.tensor import wrap

        return wrap(np.array([self._seed, self._calls], dtype="<u8").view(np.uint8).copy())

    def set_state(self, state: Any) -> Generator:
        """Continue from a state that ``get_state`` gave.

        Raises:
            SettingError: if it is not 16 bytes.
        """
        data = np.asarray(state.numpy(force=True) if hasattr(state, "_array") else state)
        if data.dtype != np.uint8 or data.size != 16:
            raise SettingError(
                f"a generator's state is 16 uint8 values, got {data.size} of {data.dtype}"
            )
        self._seed, self._calls = (int(v) for v in data.reshape(-1).copy().view("<u8"))
        return self

    def clone_state(self) -> Generator:
        """Another generator in the same state."""
        other = Generator(self.device)
        other._seed, other._calls = self._seed, self._calls
        return other

    def __repr__(self) -> str:
        return f"<gpugrad.Generator device={self.device} seed={self._seed} calls={self._calls}>"


def _checked_seed(seed: Any) -> int:
    try:
        value = int(seed)
    except (TypeError, ValueError):
        raise ArgumentError(f"manual_seed takes an integer, got {seed!r}") from None
    if not -(1 << 63) <= value <= _MASK:
        raise SettingError(f"a seed must fit in 64 bits, got {value}")
    return value & _MASK


default_generator = Generator()
default_generator.seed()
_defaults: dict[Device, Generator] = {CPU: default_generator}


def generator_for(device: Device, generator: Generator | None = None) -> Generator:
    """The generator to use on a device: the one given, or the device's default."""
    if generator is not None:
        if not isinstance(generator, Generator):
            raise ArgumentError(
                f"generator must be a gpugrad.Generator, got {type(generator).__name__}"
            )
        return generator
    if device.type == "cuda" and device.index is None:
        device = Device("cuda", backends.cuda().current())
    found = _defaults.get(device)
    if found is None:
        with _lock:
            found = _defaults.get(device)
            if found is None:
                found = Generator(device)
                found._seed = default_generator._seed
                _defaults[device] = found
    return found


def manual_seed(seed: int) -> Generator:
    """Seed the default generators of every device; return the CPU's."""
    for generator in list(_defaults.values()):
        generator.manual_seed(seed)
    return default_generator


def seed() -> int:
    """Seed all default generators from the system; return the seed."""
    value = default_generator.seed()
    manual_seed(value)
    return value


def initial_seed() -> int:
    """The seed of the CPU's default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """State of the CPU's default generator, as a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Put the CPU's default generator in a state that ``get_rng_state`` gave."""
    default_generator.set_state(new_state)


def get_rng_states() -> dict[Device, tuple[int, int]]:
    """States of all default generators, for a replay."""
    return {d: (g._seed, g._calls) for d, g in _defaults.items()}


def set_rng_states(states: dict[Device, tuple[int, int]]) -> None:
    """Put the default generators back into states that ``get_rng_states`` gave."""
    for device, state in states.items():
        generator = generator_for(device)
        generator._seed, generator._calls = state


@contextmanager
def fork_rng(devices: Iterable[Any] | None = None, enabled: bool = True, *,
             device_type: str | None = None) -> Iterator[None]:  # fmt: skip
    """Draw freely inside; default generators continue afterwards as if nothing was drawn.

    Args:
        devices: whose generators, beside the CPU's; all by default.
        enabled: False: do nothing.
        device_type: the kind of device that bare ordinals in ``devices`` mean, CUDA by default;
            ``"meta"``, which draws nothing, leaves even the CPU's generator alone, as in PyTorch.
    """
    kind = Device(device_type or "cuda").type
    if not enabled or kind == "meta":
        yield
        return
    states, first = get_rng_states(), default_generator.initial_seed()
    chosen = None if devices is None else {
        CPU, *(Device(kind, d) if isinstance(d, int) else Device(d) for d in devices)
    }  # fmt: skip
    try:
        yield
    finally:
        met = list(_defaults)  # with those that drew for the first time inside
        set_rng_states({d: states.get(d, (first, 0)) for d in met if not chosen or d in chosen})
