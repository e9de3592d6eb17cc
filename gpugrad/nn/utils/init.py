"""Modules whose initial values nobody needs."""

from __future__ import annotations

import inspect
from typing import Any

from gpugrad.errors import ArgumentError
from gpugrad.nn.module import Module


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Module:
    """Make a module without computing initial values; its constructor takes ``device``."""
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise ArgumentError(f"skip_init: expected a Module class, got {module_cls!r}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise ArgumentError(f"skip_init: {module_cls.__name__} does not take a device")
    device = kwargs.pop("device", "cpu")
    make: Any = module_cls
    made: Module = make(*args, device="meta", **kwargs)
    return made.to_empty(device=device)
