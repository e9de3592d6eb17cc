"""Layers, a file per family.  Every file in the folder is imported; what it makes is found here.

``exports`` finds the public classes of modules: there is no list of layers anywhere.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from gpugrad.nn import containers, parameter_containers
from gpugrad.nn.module import Module as Module


def exports(*sources: ModuleType) -> dict[str, type[Module]]:
    """The public subclasses of ``Module`` that these files define, by name."""
    return {
        name: value
        for source in sources
        for name, value in vars(source).items()
        if isinstance(value, type) and issubclass(value, Module) and not name.startswith("_")
        and value.__module__ == source.__name__
    }  # fmt: skip


LAYERS = exports(
    containers,
    parameter_containers,
    *(import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)),
)
globals().update(LAYERS)
