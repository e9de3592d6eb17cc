"""On a GPU float32 convolutions round to TF32 unless told not to; tests compare to rounding."""

from collections.abc import Iterator

import pytest

import gpugrad as gg


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """Products of float32 numbers in float32."""
    with gg.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
