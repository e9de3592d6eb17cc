"""``Module``: a tree of layers with named parameters, buffers and children.

Assigning a ``Parameter``, a ``Buffer`` or a ``Module`` to an attribute registers it; three dicts,
``_parameters``, ``_buffers`` and ``_modules``, are the tree, in order of registration.  Calling
lives in ``hooks``, saving and loading in ``state``, walks in ``tree``, casts in ``conversion``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gpugrad.errors import ArgumentError, NotSupportedError
from gpugrad.nn.conversion import Convertible
from gpugrad.nn.hooks import Hooked
from gpugrad.nn.parameter import Buffer, Parameter
from gpugrad.nn.state import Stateful
from gpugrad.tensor import Tensor


def _no_forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """What the module computes; every subclass says it."""
    raise NotImplementedError(f"{type(self).__name__} has no forward(); define one")


class Module(Hooked, Stateful, Convertible):
    """Base of all layers and models."""

    forward: Callable[..., Any] = _no_forward

    def __init__(self) -> None:
        own = self.__dict__
        own["training"] = True
        own["_parameters"] = {}
        own["_buffers"] = {}
        own["_modules"] = {}
        own["_non_persistent_buffers_set"] = set()
        self._init_hooks()
        self._init_state_hooks()

    def __setstate__(self, state: dict[str, Any]) -> None:
        Module.__init__(self)  # a copy of an older version gets what it lacks
        self.__dict__.update(state)

    # ---- attributes ----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._own("parameters")
            _forget(self, name, "_buffers", "_modules")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            _forget(self, name, "_parameters", "_buffers")
            self._own("module")[name] = value
        elif isinstance(value, Buffer):
            self._own("buffers")
            _forget(self, name, "_parameters", "_modules", "_buffers")
            self.register_buffer(name, value, value.persistent)
        elif name in own.get("_parameters", ()):
            self._none_or(name, value, "parameter", "gpugrad.nn.Parameter")
            own["_parameters"][name] = None
        elif name in own.get("_modules", ()):
            self._none_or(name, value, "child module", "gpugrad.nn.Module")
            own["_modules"][name] = None
        elif name in own.get("_buffers", ()):
            if not isinstance(value, Tensor):
                self._none_or(name, value, "buffer", "gpugrad.Tensor")
            own["_buffers"][name] = value
        else:
            object.__setattr__(self, name, value)

    def _own(self, kind: str) -> dict[str, Any]:
        """The dict of children; an error if there is none yet."""
        found: dict[str, Any] | None = self.__dict__.get("_modules")
        if found is None:
            raise AttributeError(
                f"cannot assign {kind} before Module.__init__() call: {type(self).__name__}'s "
                "__init__ must begin with super().__init__()"
            )
        return found

    def _none_or(self, name: str, value: Any, kind: str, wanted: str) -> None:
        if value is not None:
            raise ArgumentError(
                f"cannot assign '{type(value).__name__}' as {kind} '{name}' ({wanted} or None "
                "expected)"
            )

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        hint = " (super().__init__() was not called)"
        if "_modules" in own:  # written out, as every forward reads its parameters here
            hint = ""
            if name in own["_parameters"]:
                return own["_parameters"][name]
            if name in own["_modules"]:
                return own["_modules"][name]
            if name in own["_buffers"]:
                return own["_buffers"][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'{hint}")

    def __delattr__(self, name: str) -> None:
        if not _forget(self, name, "_parameters", "_buffers", "_modules", attribute=False):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._modules, *self._buffers}
        return sorted(n for n in names if not n[:1].isdigit())

    # ---- registration --------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or with None the place for one."""
        self._own("parameter")
        self._check_name(name, "parameter", self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                self._none_or(name, param, "parameter", "gpugrad.nn.Parameter")
            if not param.is_leaf:
                raise ArgumentError(
                    f"cannot assign a non-leaf tensor to parameter '{name}': a parameter is "
                    "trained itself; compute the value in forward()"
                )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer: state that is not trained, and part of ``state_dict`` if persistent."""
        self._own("buffer")
        self._check_name(name, "buffer", self._buffers)
        if not isinstance(tensor, Tensor):
            self._none_or(name, tensor, "buffer", "gpugrad.Tensor")
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child, or with None the place for one."""
        self._own("module")
        if not isinstance(module, Module) and module is not None:
            raise ArgumentError(f"add_module: {_kind(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of ``add_module``."""
        self.add_module(name, module)

    def _check_name(self, name: Any, kind: str, held: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise ArgumentError(f"{kind} name should be a string, got {_kind(name)}")
        if hasattr(self, name) and name not in held:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    # ---- modes ---------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below; dropout and batch norm behave by it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters gather gradients."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the parameters' gradients, or set them to zeros."""
        for p in self.parameters():
            if p.grad is not None:
                if set_to_none:
                    p.grad = None
                else:
                    p.grad = p.grad.detach()
                    p.grad.zero_()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Ask for the module to be compiled in place, with the arguments of ``gpugrad.compile``."""
        from gpugrad.compiler import compile

        compile(self, *args, **kwargs)  # says what it has to say; the module runs as it is

    def share_memory(self) -> Self:
        """Refused: tensors do not live in memory shared between processes."""
        raise NotSupportedError(
            "share_memory: shared memory is not supported; send the state_dict() instead"
        )

    # ---- printing ------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What ``repr`` shows of the module's own settings."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        head = extra.split("\n") if extra else []
        body = [
            f"({name}): " + _indent(repr(module), 2) for name, module in self._modules.items()
        ]  # fmt: skip
        if len(head) == 1 and not body:
            return f"{self._get_name()}({head[0]})"
        lines = head + body
        inside = "\n  " + "\n  ".join(lines) + "\n" if lines else ""
        return f"{self._get_name()}({inside})"


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _indent(text: str, spaces: int) -> str:
    """Indent every line but the first."""
    return text.replace("\n", "\n" + " " * spaces)


def _forget(module: Module, name: str, *kinds: str, attribute: bool = True) -> bool:
    """Take a name out of the dicts where it may be; say whether it was in one."""
    own = module.__dict__
    held = [own[k] for k in kinds if name in own.get(k, ())]
    for place in held:
        del place[name]
    if "_buffers" in kinds and "_buffers" in own:
        own["_non_persistent_buffers_set"].discard(name)
    if attribute:
        own.pop(name, None)
    return bool(held)


__all__ = ["Module"]
