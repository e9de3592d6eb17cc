"""Custom ops by name: the table, ``gpugrad.ops.mylib.f``, and PyTorch's functions that take names.

An op is pickled as its name, so a process that reads it must have registered it, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gpugrad import ops
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, RegistrationError

if TYPE_CHECKING:
    from gpugrad.library.custom_op import CustomOpDef

registered: dict[str, CustomOpDef] = {}


class _Library:
    """The ops of one namespace as attributes: ``gpugrad.ops.mylib``."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, name: str) -> Any:
        found = registered.get(f"{self.__name__}::{name}")
        if found is None:
            raise AttributeError(f"no custom op {self.__name__}::{name}")
        return found

    def __dir__(self) -> list[str]:
        start = f"{self.__name__}::"
        return sorted(n.removeprefix(start) for n in registered if n.startswith(start))


def check_free(name: str) -> None:
    """See that an op may have a name.

    Raises:
        RegistrationError: if it is not ``"library::op"``, or taken.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*::[A-Za-z_]\w*", str(name)):
        raise RegistrationError(f'custom_op: a name is "library::op", got {name!r}')
    if name in registered:
        raise RegistrationError(f"{name} is registered already, in {registered[name].module}")
    library = name.partition("::")[0]
    if not isinstance(getattr(ops, library, None), _Library | None):
        raise RegistrationError(f"{name}: {library!r} is a part of gpugrad.ops; take another name")


def add(op: CustomOpDef) -> None:
    """Register an op under its name, which is free."""
    library = op.name.partition("::")[0]
    registered[op.name] = op
    if not hasattr(ops, library):
        setattr(ops, library, _Library(library))


def lookup(name: str | CustomOpDef) -> CustomOpDef:
    """The op of a name; an op itself is handed back.

    Raises:
        ArgumentError: if none is registered under it.
    """
    if not isinstance(name, str):
        return name
    if name not in registered:
        raise ArgumentError(
            f"no custom op {name!r} is registered; import the module that does so first "
            f"(there are: {', '.join(sorted(registered)) or 'none'})"
        )
    return registered[name]


def register_kernel(op: str | CustomOpDef, device_types: str | Sequence[str] | None,
                    func: Callable[..., Any] | None = None, /) -> Any:  # fmt: skip
    """As ``CustomOpDef.register_kernel``, for an op by name."""
    return lookup(op).register_kernel(device_types, func)


def register_fake(op: str | CustomOpDef, func: Callable[..., Any] | None = None, /) -> Any:
    """As ``CustomOpDef.register_fake``, for an op by name."""
    found = lookup(op)
    return found.register_fake if func is None else found.register_fake(func)


def register_autograd(op: str | CustomOpDef, backward: Callable[..., Any], /, *,
                      setup_context: Callable[..., Any] | None = None,
                      check: Any = None) -> None:  # fmt: skip
    """As ``CustomOpDef.register_autograd``, for an op by name."""
    lookup(op).register_autograd(backward, setup_context=setup_context, check=check)


def register_autocast(op: str | CustomOpDef, device_type: str, cast_inputs: DType, /) -> None:
    """As ``CustomOpDef.register_autocast``, for an op by name."""
    lookup(op).register_autocast(device_type, cast_inputs)
