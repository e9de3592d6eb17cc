"""The three global sources of random numbers that a dataset may draw from, as one state.

gpugrad's default generator, Python's ``random`` and NumPy's legacy ``np.random``.  Raw states are
cheap to take and compare; ``encode`` makes plain data and tensors of one, for a checkpoint.
"""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from gpugrad.errors import NotSupportedError
from gpugrad.random import default_generator
from gpugrad.tensor import Tensor, wrap


class RandomState(NamedTuple):
    """Raw states, comparable with ``==``.

    Attributes:
        numpy: the key's bytes, the place in it, and the spare normal; None if ``np.random`` was
            given another kind of generator than its own, which is then left alone.
    """

    gpugrad: bytes
    python: tuple[Any, ...]
    numpy: tuple[bytes, int, int, float] | None


def capture() -> RandomState:
    """The state of all three."""
    told: Any = np.random.get_state(legacy=False)  # noqa: NPY002 this is what users draw from
    numpy = None
    if told["bit_generator"] == "MT19937":
        key, place = told["state"]["key"], told["state"]["pos"]
        numpy = (key.tobytes(), int(place), int(told["has_gauss"]), float(told["gauss"]))
    own = default_generator.get_state().numpy().tobytes()
    return RandomState(own, python_random.getstate(), numpy)


def restore(state: RandomState) -> None:
    """Put all three into a state."""
    default_generator.set_state(np.frombuffer(state.gpugrad, np.uint8))
    python_random.setstate(state.python)
    if state.numpy is not None:
        key, place, has_gauss, gauss = state.numpy
        words = np.frombuffer(key, np.uint32)
        np.random.set_state(("MT19937", words, place, has_gauss, gauss))  # noqa: NPY002


@contextmanager
def as_of(state: RandomState) -> Iterator[None]:
    """Draw inside as at another time; outside, all three continue as if nothing happened."""
    now = capture()
    restore(state)
    try:
        yield
    finally:
        restore(now)


def seed_worker(base_seed: int, worker_id: int) -> None:
    """Seed all three for a worker: the first two with ``base_seed + worker_id``.

    NumPy gets words mixed from both numbers, as neighbouring seeds of 32 bits may collide.
    """
    default_generator.manual_seed(base_seed + worker_id)
    python_random.seed(base_seed + worker_id)
    words = np.random.SeedSequence([base_seed, worker_id]).generate_state(4)
    np.random.seed(words)  # noqa: NPY002


def encode(state: RandomState) -> dict[str, Tensor]:
    """A state as tensors of int64 (the integers), float64 (spare normals) and uint8.

    Raises:
        NotSupportedError: if ``np.random`` has another kind of generator than its own.
    """
    if state.numpy is None:
        raise NotSupportedError(
            "DataLoader.state_dict: np.random was given a generator that is no MT19937, and such "
            "states are not kept"
        )
    version, words, spare = state.python
    key, position, has_gauss, gauss = state.numpy
    return {
        "gpugrad": wrap(np.frombuffer(state.gpugrad, np.uint8).copy()),
        "python": wrap(np.array([version, *words], np.int64)),
        "python_spare": wrap(np.array([] if spare is None else [spare], np.float64)),
        "numpy": wrap(np.array([*np.frombuffer(key, np.uint32), position, has_gauss], np.int64)),
        "numpy_spare": wrap(np.array([gauss], np.float64)),
    }


def decode(data: dict[str, Tensor]) -> RandomState:
    """What ``encode`` was given."""
    version, *words = data["python"].tolist()
    spare = data["python_spare"].tolist()
    *key, position, has_gauss = data["numpy"].tolist()
    return RandomState(
        data["gpugrad"].numpy().tobytes(),
        (version, tuple(words), spare[0] if spare else None),
        (np.array(key, np.uint32).tobytes(), position, has_gauss, data["numpy_spare"].item()),
    )
