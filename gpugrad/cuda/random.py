"""The default generators of CUDA devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpugrad.cuda.devices import current_device, device_count, ordinal
from gpugrad.devices import Device
from gpugrad.random import Generator, generator_for
from gpugrad.tensor import Tensor


def default_generator(index: int) -> Generator:
    """The default generator of one CUDA device."""
    return generator_for(Device("cuda", index))


def manual_seed(seed: int) -> None:
    """Seed the current device's default generator; does nothing where there is no device."""
    if device_count():
        default_generator(current_device()).manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the default generator of every CUDA device; does nothing where there is none."""
    for i in range(device_count()):
        default_generator(i).manual_seed(seed)


def seed() -> None:
    """Seed the current device's default generator from the system."""
    if device_count():
        default_generator(current_device()).seed()


def seed_all() -> None:
    """Seed every device's default generator with one number from the system."""
    if device_count():
        manual_seed_all(default_generator(0).seed())


def initial_seed() -> int:
    """The seed of the current device's default generator."""
    return default_generator(current_device()).initial_seed()


def get_rng_state(device: Any = "cuda") -> Tensor:
    """State of a device's default generator: 16 bytes as a uint8 tensor on the host."""
    state: Tensor = default_generator(ordinal(device)).get_state()
    return state


def get_rng_state_all() -> list[Tensor]:
    """States of all devices' default generators."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    """Put a device's default generator in a state that ``get_rng_state`` gave.

    Does nothing where there is no device, so that a checkpoint made on one loads.
    """
    if device_count():
        default_generator(ordinal(device)).set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Put the default generators of devices 0, 1, ... in these states."""
    for i, state in enumerate(new_states):
        set_rng_state(state, i)
