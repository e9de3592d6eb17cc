"""gpugrad: a GPU-accelerated autograd engine in pure Python."""

from __future__ import annotations

from typing import Any

from gpugrad import ops as ops
from gpugrad import publish as _publish

_publish.start()

from gpugrad.autograd import backward, grad  # noqa: E402, F401
from gpugrad.modes import enable_grad, inference_mode, no_grad  # noqa: E402, F401
from gpugrad.tensor import Tensor  # noqa: E402, F401


def __getattr__(name: str) -> Any:
    found = _publish.homes.get("", {}).get(name)
    if found is None:
        raise AttributeError(f"module 'gpugrad' has no attribute {name!r}")
    return found
