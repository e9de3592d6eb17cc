"""``compile``, before there is a compiler: programs that ask for one run, and are told.

What ``compile`` gives back computes exactly what it was given, op by op.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from gpugrad.errors import ArgumentError, NotSupportedError, SettingError
from gpugrad.nn.module import Module

BACKENDS = ("eager", "inductor", "aot_eager", "cudagraphs")
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_told = False


def compile(model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None,
            backend: str | None = None, mode: str | None = None,
            options: dict[str, Any] | None = None, name: str | None = None,
            disable: bool = False) -> Any:  # fmt: skip
    """Give a function or module back, to be run as it is; also a decorator.

    There is no compiler yet, which one UserWarning per process says, unless ``backend="eager"`` or
    ``disable=True`` asked for nothing else.

    Args:
        model: a function, which is given back itself, or a module, which is wrapped so that its
            ``state_dict`` has PyTorch's ``_orig_mod.`` before every key.
        fullgraph, dynamic: what eager execution grants anyway: no graph is broken up, and shapes
            are free.
        backend: one of PyTorch's names.
        mode, options: how to tune compiled code, of which there is none; not both.
        name: a label for compiled code.
        disable: give the model itself back.

    Raises:
        SettingError: for an unknown backend or mode, or both mode and options.
        NotSupportedError: for a backend of the user's own, which wants a traced graph.
        ArgumentError: if ``model`` cannot be called.
    """
    _check(backend, mode, options)
    if model is None:

        def decorate(fn: Any) -> Any:
            return compile(fn, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
                           options=options, name=name, disable=disable)  # fmt: skip

        return decorate
    if not callable(model):
        raise ArgumentError(
            f"compile: model must be a function or module, got {type(model).__name__}"
        )
    if disable:
        return model
    if backend != "eager":
        _tell()
    return OptimizedModule(model) if isinstance(model, Module) else model


def _check(backend: Any, mode: str | None, options: Any) -> None:
    if backend is not None and not isinstance(backend, str):
        raise NotSupportedError(
            "compile: a backend of one's own wants a traced graph, and nothing is traced; accepted "
            f"are {', '.join(map(repr, BACKENDS))}"
        )
    for name, value, known in (("backend", backend, BACKENDS), ("mode", mode, MODES)):
        if value is not None and value not in known:
            raise SettingError(
                f"compile: {name} is {value!r}; accepted: {', '.join(map(repr, known))}"
            )
    if options is not None and not isinstance(options, dict):
        raise ArgumentError(f"compile: options must be a dict, got {type(options).__name__}")
    if mode is not None and options is not None:
        raise SettingError("compile: either mode or options can be given, not both")


def _tell() -> None:
    global _told
    if not _told:
        _told = True
        warnings.warn(
            "compile: gpugrad has no compiler yet, so the model runs op by op; the results are the "
            "same. Say backend='eager' to ask for that and not see this.",
            stacklevel=3,
        )


class OptimizedModule(Module):
    """A module that is another one, ``_orig_mod``, in all but the keys of its ``state_dict``."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self._modules["_orig_mod"] = module
        del self.__dict__["training"]  # that of the module is meant

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module."""
        return self._modules["_orig_mod"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__.get("_modules", {}).get("_orig_mod")
        if name == "_orig_mod" and module is not None:
            return module
        if module is None:
            return super().__getattr__(name)
        return getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        module = self.__dict__.get("_modules", {}).get("_orig_mod")
        if module is None or name == "_orig_mod":
            super().__setattr__(name, value)
        else:
            setattr(module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._modules["_orig_mod"], name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.pop("training", None)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Give a function back as it is; also ``@disable()``.  Nothing is compiled in it or below it.

    Args:
        fn: the function.
        recursive, reason: how far that goes and why; nothing is compiled anyway.
    """
    return fn if fn is not None else lambda found: found


def allow_in_graph(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function back: nothing is traced, so nothing is kept out of a graph."""
    return fn


def is_compiling() -> bool:
    """Whether the program is being traced: never."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names that ``compile`` takes for ``backend``; all run op by op.

    Args:
        exclude_tags: PyTorch hides its debugging backends by these; with () all are listed.
    """
    return sorted(BACKENDS if not exclude_tags else ("inductor", "cudagraphs"))


def reset() -> None:
    """Forget what was compiled: nothing."""


def cudagraph_mark_step_begin() -> None:
    """Say that a step begins; no step is recorded, so nothing follows from it."""


__all__ = [
    "OptimizedModule", "allow_in_graph", "compile", "cudagraph_mark_step_begin", "disable",
    "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset",
]  # fmt: skip
