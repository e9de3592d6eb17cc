"""Utilities under PyTorch's names."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpugrad.utils import checkpoint as checkpoint
from gpugrad.utils import dlpack as dlpack

if TYPE_CHECKING:
    from gpugrad.utils import data as data


def __getattr__(name: str) -> Any:
    if name == "data":  # imported when first asked for, as multiprocessing takes its time
        return import_module("gpugrad.utils.data")
    raise AttributeError(f"module 'gpugrad.utils' has no attribute {name!r}")
