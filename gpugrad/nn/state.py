"""The state of a module as a flat dict, and loading it back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from gpugrad.errors import ArgumentError, SettingError, ShapeError
from gpugrad.modes import no_grad
from gpugrad.nn.hooks import add
from gpugrad.nn.parameter import Parameter
from gpugrad.tape import Handle
from gpugrad.tensor import Tensor

EXTRA = "_extra_state"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """What ``load_state_dict`` did not find, and what it did not know."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )

    __str__ = __repr__


class Stateful:
    """The part of ``Module`` that saves and loads."""

    _version = 1
    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_post_hooks: OrderedDict[int, Callable[..., Any]]

    def _init_state_hooks(self) -> None:
        for name in ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks",
                     "_load_state_dict_post_hooks"):  # fmt: skip
            self.__dict__[name] = OrderedDict()

    # ---- saving --------------------------------------------------------------------------------

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> Any:  # fmt: skip
        """Every parameter and persistent buffer by its path.

        Args:
            args: destination, prefix and keep_vars by position, as PyTorch once took them.
            destination: a dict to fill; a new one if left out.
            prefix: put before every name.
            keep_vars: the tensors themselves; otherwise they are detached, and share memory.
        """
        if args:
            given = dict(zip(("destination", "prefix", "keep_vars"), args))
            return Stateful.state_dict(
                self, **{"destination": destination, "prefix": prefix, "keep_vars": keep_vars,
                         **given}
            )  # fmt: skip
        if destination is None:
            destination = StateDict()
        local = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, local)
            if replaced is not None:
                destination = replaced
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Add this module's own tensors, without those of its children."""
        for name, value in self._own_state():
            if value is not None:
                destination[prefix + name] = value if keep_vars else value.detach()
        if _has_extra(self):
            destination[prefix + EXTRA] = self.get_extra_state()

    def _own_state(self) -> Iterator[tuple[str, Tensor | None]]:
        yield from self._parameters.items()
        for name, buffer in self._buffers.items():
            if name not in self._non_persistent_buffers_set:
                yield name, buffer

    def get_extra_state(self) -> Any:
        """State beside parameters and buffers; override it together with ``set_extra_state``."""
        raise NotImplementedError(f"{type(self).__name__} has no extra state to get")

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` gave."""
        raise NotImplementedError(f"{type(self).__name__} has no extra state to set")

    # ---- loading -------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> IncompatibleKeys:  # fmt: skip
        """Copy a state dict's values into the parameters and buffers of the same path.

        Args:
            state_dict: names to tensors, as ``state_dict()`` gives them.
            strict: whether missing and unexpected names are errors.
            assign: take the given tensors themselves (with their dtype and device) instead of
                copying from them.

        Returns:
            The missing and the unexpected names.

        Raises:
            ArgumentError: if it is no mapping.
            ShapeError: listing every difference at once; what does fit has been loaded by then.
        """
        if not isinstance(state_dict, Mapping):
            raise ArgumentError(
                f"load_state_dict: state_dict must be a mapping, got {type(state_dict).__name__}"
            )
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata  # type: ignore[attr-defined]
        keys = IncompatibleKeys(missing, unexpected)
        _load(self, state, "", assign, keys, errors)
        if strict:
            if missing:
                errors.insert(0, _listed("missing from the state dict", missing))
            if unexpected:
                errors.insert(0, _listed("in the state dict but not in the module", unexpected))
        if errors:
            raise ShapeError(
                f"load_state_dict: the state dict is not one of {type(self).__name__}:\n  "
                + "\n  ".join(errors)
            )
        return keys

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any,
                              strict: bool, missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:  # fmt: skip
        """Load this module's own tensors; note in the lists what was wrong."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)  # fmt: skip
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        for name, held in list(self._own_state()):
            key = prefix + name
            if held is None:
                continue
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            wrong = _fit(self, name, held, state_dict[key], assign)
            if wrong:
                error_msgs.append(f"{key} (of {type(self).__name__}): {wrong}")
        if _has_extra(self, "set_extra_state"):
            if prefix + EXTRA in state_dict:
                self.set_extra_state(state_dict[prefix + EXTRA])
            elif strict:
                missing_keys.append(prefix + EXTRA)
        if strict:
            unexpected_keys += self._unknown(state_dict, prefix)

    def _unknown(self, state_dict: Any, prefix: str) -> Iterator[str]:
        own = {name for name, value in self._own_state() if value is not None}
        own |= {n for n, m in self._modules.items() if m is not None}
        for key in state_dict:
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            name, dot, _ = rest.partition(".")
            if rest == EXTRA and _has_extra(self, "set_extra_state"):
                continue
            if name not in own or (dot != "") != (name in self._modules):
                yield key

    # ---- hooks ---------------------------------------------------------------------------------

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, prefix, keep_vars)`` before ``state_dict`` gathers."""
        return add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after ``state_dict``."""

        def checked(*args: Any) -> None:
            if hook(*args) is not None:
                raise SettingError(
                    "state_dict: a post-hook changes the dict in place and returns None"
                )

        return add(self._state_dict_hooks, checked)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> Handle:
        """As ``register_state_dict_post_hook``; the hook may return another dict."""
        return add(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`` before this module loads."""
        return add(self._load_state_dict_pre_hooks, partial(hook, self))

    def _register_load_state_dict_pre_hook(self, hook: Callable[..., Any],
                                           with_module: bool = False) -> Handle:  # fmt: skip
        """The same; the hook is told the module only ``with_module``."""
        return add(self._load_state_dict_pre_hooks, partial(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call ``hook(module, incompatible_keys)`` after this module and its children loaded."""
        return add(self._load_state_dict_post_hooks, hook)


class StateDict(OrderedDict[str, Any]):
    """What ``state_dict`` returns: with a version per module in ``_metadata``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metadata: dict[str, Any] = {}


def _has_extra(module: Stateful, method: str = "get_extra_state") -> bool:
    return getattr(type(module), method) is not getattr(Stateful, method)


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}"


def _load(module: Any, state: Any, prefix: str, assign: bool, keys: IncompatibleKeys,
          errors: list[str]) -> None:  # fmt: skip
    """Load a module and then its children, each from its own part of the dict."""
    metadata = getattr(state, "_metadata", None)
    local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
    if assign:
        local["assign_to_params_buffers"] = True
    # Differences are always gathered; whether they are errors is for the caller of the root.
    module._load_from_state_dict(state, prefix, local, True, keys.missing_keys,
                                 keys.unexpected_keys, errors)  # fmt: skip
    for name, child in module._modules.items():
        if child is not None:
            below = f"{prefix}{name}."
            part = OrderedDict((k, v) for k, v in state.items() if k.startswith(below))
            if metadata is not None:
                part._metadata = metadata  # type: ignore[attr-defined]
            _load(child, part, below, assign, keys, errors)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, keys) is not None:
            raise SettingError(
                "load_state_dict: a post-hook changes the keys in place and returns None"
            )


def _fit(module: Any, name: str, held: Tensor, value: Any, assign: bool) -> str | None:
    """Put one value into its place; or say why it does not fit."""
    if not isinstance(value, Tensor):
        return f"must be a Tensor, got {type(value).__name__}"
    if value.shape != held.shape and not (held.ndim == 0 and tuple(value.shape) == (1,)):
        return f"shape {tuple(value.shape)} in the state dict, {tuple(held.shape)} in the module"
    if not assign:
        if held.is_meta and not value.is_meta:
            return "is on the meta device and cannot be copied into; use assign=True or to_empty"
        with no_grad():
            held.copy_(value.reshape(held.shape))
        return None
    if isinstance(held, Parameter):
        if not isinstance(value, Parameter):
            value = Parameter(value, requires_grad=held.requires_grad)
        else:
            value.requires_grad_(held.requires_grad)
    setattr(module, name, value)
    return None


__all__ = ["IncompatibleKeys", "StateDict", "Stateful"]
