"""Hooks of modules: what runs around ``forward`` and around the gradient that passes through.

Forward hooks are called by ``Hooked.__call__``; ``backward_hooks`` ties the others to the tape.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from gpugrad.errors import GpugradError, NotSupportedError
from gpugrad.nn.backward_hooks import Watch
from gpugrad.tape import Handle

_next_key = itertools.count().__next__
#: Hooks of every module, with their kind: one dict, so that a call sees at once if it is empty.
_everywhere: OrderedDict[int, tuple[str, Any]] = OrderedDict()


def add(hooks: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> Handle:
    """Put a hook into an ordered dict; the handle takes it out again."""
    key = _next_key()
    hooks[key] = hook
    if prepend:
        hooks.move_to_end(key, last=False)
    return Handle(lambda: hooks.pop(key, None) and None)


class _Forward:
    """A forward hook and how it wants to be called."""

    def __init__(self, fn: Any, with_kwargs: bool, always: bool = False) -> None:
        self.fn, self.with_kwargs, self.always = fn, with_kwargs, always

    def before(self, module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments as this pre-hook leaves them."""
        if not self.with_kwargs:
            result = self.fn(module, args)
            if result is None:
                return args, kwargs
            return (result if isinstance(result, tuple) else (result,)), kwargs
        result = self.fn(module, args, kwargs)
        if result is None:
            return args, kwargs
        if not (isinstance(result, tuple) and len(result) == 2):
            raise RuntimeError(
                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                f"but got {result}"
            )
        return result

    def after(self, module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        """The result as this hook leaves it."""
        given = (module, args, kwargs, out) if self.with_kwargs else (module, args, out)
        result = self.fn(*given)
        return out if result is None else result


class Hooked:
    """The part of ``Module`` that is called."""

    forward: Callable[..., Any]
    _forward_hooks: OrderedDict[int, _Forward]
    _forward_pre_hooks: OrderedDict[int, _Forward]
    _backward_hooks: OrderedDict[int, Callable[..., Any]]
    _backward_pre_hooks: OrderedDict[int, Callable[..., Any]]

    def _init_hooks(self) -> None:
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks",
                     "_backward_pre_hooks"):  # fmt: skip
            self.__dict__[name] = OrderedDict()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks
                    or self._backward_pre_hooks or _everywhere):  # fmt: skip
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except GpugradError as error:
            _say_where(self, error)
            raise

    def _call_with_hooks(self, args: Any, kwargs: Any) -> Any:
        after = [*_of_all("forward"), *self._forward_hooks.values()]
        done: set[int] = set()
        out = None
        try:
            for hook in (*_of_all("forward_pre"), *self._forward_pre_hooks.values()):
                args, kwargs = hook.before(self, args, kwargs)
            gradient = _watch(self)
            if gradient is not None:
                args = gradient.watch_inputs(args)
            out = self.forward(*args, **kwargs)
            for hook in after:
                done.add(id(hook))
                out = hook.after(self, args, kwargs, out)
            return out if gradient is None else gradient.watch_outputs(out)
        except Exception:
            for hook in after:
                if hook.always and id(hook) not in done:
                    hook.after(self, args, kwargs, out)
            raise

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> Handle:  # fmt: skip
        """Call ``hook(module, args)`` before ``forward``; a result replaces the arguments.

        Args:
            hook: with ``with_kwargs`` it is called ``hook(module, args, kwargs)`` and returns None
                or both.
            prepend: run before the hooks that are there already.
        """
        return add(self._forward_pre_hooks, _Forward(hook, with_kwargs), prepend)

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                              with_kwargs: bool = False,
                              always_call: bool = False) -> Handle:  # fmt: skip
        """Call ``hook(module, args, output)`` after ``forward``; a result replaces the output.

        Args:
            hook: with ``with_kwargs`` it is called ``hook(module, args, kwargs, output)``.
            prepend: run before the hooks that are there already.
            always_call: run it (with the output so far, or None) when ``forward`` raises, too.
        """
        return add(self._forward_hooks, _Forward(hook, with_kwargs, always_call), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any],
                                    prepend: bool = False) -> Handle:  # fmt: skip
        """Call ``hook(module, grad_input, grad_output)`` once the gradient of the inputs is there.

        Both are tuples with an entry per positional input and per output (None where there is no
        gradient); a result replaces ``grad_input``.
        """
        return add(self._backward_hooks, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any],
                                        prepend: bool = False) -> Handle:  # fmt: skip
        """Call ``hook(module, grad_output)`` before the module's gradient; a result replaces it."""
        return add(self._backward_pre_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Refused: it is told the gradients of the module's last op only."""
        raise NotSupportedError(
            "register_backward_hook: use register_full_backward_hook, which is told the gradients "
            "of the module's inputs"
        )


def _watch(module: Hooked) -> Watch | None:
    """The watcher of this call's gradient, or None if no hook is interested."""
    before = [*_of_all("backward_pre"), *module._backward_pre_hooks.values()]
    after = [*_of_all("backward"), *module._backward_hooks.values()]
    return Watch(module, before, after) if before or after else None


def _of_all(kind: str) -> list[Any]:
    return [hook for k, hook in _everywhere.values() if k == kind]


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, args)`` before the ``forward`` of every module."""
    return add(_everywhere, ("forward_pre", _Forward(hook, False)))


def register_module_forward_hook(hook: Callable[..., Any], *, with_kwargs: bool = False,
                                 always_call: bool = False) -> Handle:  # fmt: skip
    """Call ``hook(module, args, output)`` after the ``forward`` of every module."""
    return add(_everywhere, ("forward", _Forward(hook, with_kwargs, always_call)))


def register_module_full_backward_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, grad_input, grad_output)`` for every module."""
    return add(_everywhere, ("backward", hook))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> Handle:
    """Call ``hook(module, grad_output)`` for every module."""
    return add(_everywhere, ("backward_pre", hook))


# ---- where an error happened ---------------------------------------------------------------------


def _say_where(module: Any, error: GpugradError) -> None:
    """Put the path of the failing module behind the error's words.

    Every module on the way out calls this; the last one knows the whole path.
    """
    known = getattr(error, "_module", None)
    if known is None:
        text = str(error)
        path, kind = "", type(module).__name__
    else:
        text, inner, path, kind = known
        name = next(
            (n for n, m in module.named_modules(remove_duplicate=False) if m is inner), None
        )
        if name is None:  # called, but not owned
            return
        path = f".{name}{path}"
    error._module = (text, module, path, kind)  # type: ignore[attr-defined]
    inside = f" ({kind})" if path else ""
    error.args = (f"{text}; in {type(module).__name__}{path}{inside}",)
