"""``torch.version``: which gpugrad this is, and which CUDA it computes with."""

from __future__ import annotations

from typing import Any

import gpugrad
from gpugrad import backends
from gpugrad.errors import DeviceError

#: Other makers' accelerators, and debug builds, which there are none of.
hip = xpu = None
debug = False


def __getattr__(name: str) -> Any:
    if name == "cuda":  # asked when wanted: CuPy takes its time to load
        return _cuda()
    if name == "__version__":  # as it is now: under `gpugrad run` it names PyTorch's interface
        return gpugrad.__version__
    raise AttributeError(f"module 'gpugrad.version' has no attribute {name!r}")


def _cuda() -> str | None:
    """The CUDA runtime's version such as "12.9"; None where no CUDA device can be used."""
    try:
        number = backends.cuda().library.cuda.runtime.runtimeGetVersion()
    except DeviceError:
        return None
    return f"{number // 1000}.{number % 1000 // 10}"
