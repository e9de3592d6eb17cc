"""Parameters that are functions of others: ``module.weight`` is computed where it is read.

The tensor that is trained moves to ``module.parametrizations.<name>.original`` (or ``original0``,
``original1``, ... where the first function takes several), and a property of its name takes its
place, on a class made for this module.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gpugrad.errors import NotSupportedError, SettingError
from gpugrad.modes import no_grad
from gpugrad.nn.containers import ModuleDict, ModuleList
from gpugrad.nn.module import Module
from gpugrad.nn.parameter import Parameter
from gpugrad.tensor import Tensor

_depth = 0
_computed: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Compute every parametrized tensor once inside the block, however often it is read."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _computed.clear()


class ParametrizationList(ModuleList):
    """The functions of one tensor, first to last, and the tensors that the first one takes.

    Attributes:
        is_tensor: whether that is one tensor, ``original``.
        ntensors: how many there are otherwise: ``original0``, ``original1``, ...
        unsafe: whether the result may differ from the tensor in shape and dtype.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise SettingError("ParametrizationList: takes one module or more")
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            value: Any = original
            for module in reversed(list(self)):
                value = _inverse(module, value)
        self.is_tensor = isinstance(value, Tensor)
        self.ntensors = 1 if self.is_tensor else len(value)
        if self.is_tensor:
            _like("right_inverse", value, original, shape=False)
            shape = original.shape
            _put(original, value)
            _register(self, "original", original)
        else:
            shape = original.shape
            for i, part in enumerate(value):
                _register(self, f"original{i}", _trained(part, original))
        if not unsafe:
            _like("the parametrization", self(), original, shape=shape)

    def right_inverse(self, value: Any) -> None:
        """Set the trained tensors so that the result becomes ``value``."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise NotSupportedError(
                        f"{type(module).__name__} has no right_inverse, so its result cannot be "
                        "assigned to; set the original tensor instead"
                    )
                value = module.right_inverse(value)
            parts = [value] if self.is_tensor else list(value)
            if len(parts) != self.ntensors:
                raise SettingError(
                    f"right_inverse returned {len(parts)} tensors; there are {self.ntensors} to set"
                )
            for held, part in zip(self._originals(), parts):
                _like("right_inverse", part, held, shape=False)
                _put(held, part)

    def _originals(self) -> list[Tensor]:
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        return [getattr(self, name) for name in names]

    def forward(self) -> Any:
        """The value, from the trained tensors."""
        first, *rest = self
        value = first(*self._originals())
        for module in rest:
            value = module(value)
        return value


def _inverse(module: Module, value: Any) -> Any:
    """``right_inverse`` where there is one; otherwise the value is taken as it is."""
    if hasattr(module, "right_inverse"):
        try:
            return module.right_inverse(value)
        except NotImplementedError:
            pass
    return value


def _like(what: str, value: Any, wanted: Tensor, shape: Any) -> None:
    """Check that a value has the dtype, the device and, unless False, the shape that are wanted."""
    if not isinstance(value, Tensor):
        raise SettingError(f"{what} must return a Tensor, got {type(value).__name__}")
    for name in ("dtype", "device"):
        mine, other = getattr(value, name), getattr(wanted, name)
        if mine != other:
            raise SettingError(f"{what} may not change the {name}: {other} became {mine}")
    if shape is not False and value.shape != shape:
        raise SettingError(
            f"{what} may not change the shape unless unsafe=True: {tuple(shape)} became "
            f"{tuple(value.shape)}"
        )


def _put(held: Tensor, value: Tensor) -> None:
    """Give a trained tensor new values; another shape takes the memory of the value."""
    with no_grad():
        if held.shape == value.shape:
            held.copy_(value)
        else:
            held.data = value


def _trained(part: Tensor, original: Tensor) -> Tensor:
    if isinstance(original, Parameter):
        return Parameter(part.clone(), original.requires_grad)
    return part.detach().clone()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


def _own_class(module: Module) -> None:
    """Give a module a class of its own, which can have properties."""
    base = type(module)

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        kept = {k: v for k, v in vars(type(self)).items() if k not in ("__dict__", "__weakref__")}
        own = type(type(self).__name__, (base,), kept)  # removal from one leaves the other alone
        twin: Any = base.__new__(own)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def state(self: Any) -> Any:
        raise NotSupportedError(
            "a parametrized module cannot be pickled, as its class exists only here; save its "
            "state_dict() instead"
        )

    made = {"__deepcopy__": deepcopy, "__getstate__": state, "__module__": base.__module__}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), made)


def _property(name: str) -> property:
    def get(module: Module) -> Any:
        made = module.parametrizations[name]
        if not _depth:
            return made()
        key = (id(module), name)
        if key not in _computed:
            _computed[key] = made()
        return _computed[key]

    def set_(module: Module, value: Tensor) -> None:
        module.parametrizations[name].right_inverse(value)

    return property(get, set_)


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *,
                             unsafe: bool = False) -> Module:  # fmt: skip
    """Compute a parameter or buffer by a module from what is trained instead.

    Args:
        module: whose tensor it is.
        tensor_name: the tensor; if it has a parametrization already, this one is applied to that
            one's result.
        parametrization: called with the trained tensor.  With a method ``right_inverse(value)``,
            which may return several tensors, that gives the tensors to start from, and
            ``module.<name> = value`` works.
        unsafe: let the result differ in shape and dtype, unchecked.

    Raises:
        SettingError: if there is no such tensor, or the result does not fit it.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        made = module.parametrizations[tensor_name]
        if not unsafe:
            value = getattr(module, tensor_name)
            result = parametrization(value)
            _like("the parametrization", result, value, shape=value.shape)
            if hasattr(parametrization, "right_inverse"):
                back = _inverse(parametrization, result)
                _like("right_inverse", back, value, shape=value.shape)
        made.append(parametrization)
        made.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise SettingError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer "
            f"{tensor_name!r}"
        )
    made = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _own_class(module)
        module.parametrizations = ModuleDict()
    setattr(type(module), tensor_name, _property(tensor_name))
    # Past add_module: a ModuleDict takes no name that it has an attribute of.
    module.parametrizations._modules[tensor_name] = made
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of the module (any, without a name) is parametrized."""
    held = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(held, ModuleDict):
        return False
    return len(held) > 0 if tensor_name is None else tensor_name in held


def remove_parametrizations(module: Module, tensor_name: str,
                            leave_parametrized: bool = True) -> Module:  # fmt: skip
    """Make a tensor an ordinary one again.

    Args:
        module: whose tensor it is.
        tensor_name: the tensor.
        leave_parametrized: keep the value it has now; otherwise that of the original tensor.
    """
    if not is_parametrized(module, tensor_name):
        raise SettingError(
            f"remove_parametrizations: {type(module).__name__} has none on {tensor_name!r}"
        )
    made = module.parametrizations[tensor_name]
    if not made.is_tensor and not leave_parametrized:
        raise SettingError(
            "remove_parametrizations: leave_parametrized=False needs one original tensor, "
            f"{tensor_name!r} is made of {made.ntensors}"
        )
    original = made._originals()[0]
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name)
        if made.is_tensor:
            _put(original, value)
        else:
            original = _trained(value, original)
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module as it was written."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)
