"""Modules as functions of their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpugrad.errors import ArgumentError, SettingError
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor

if TYPE_CHECKING:
    from gpugrad.nn.module import Module


def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True,
                    strict: bool = False) -> Any:  # fmt: skip
    """Call a module with other tensors in the places of its parameters and buffers.

    Args:
        module: it has its own again afterwards, also if it raises.
        parameter_and_buffer_dicts: tensors by path (as in ``state_dict``), or several such dicts.
        args: its positional arguments: a tuple, or the only one.
        kwargs: its keyword arguments.
        tie_weights: a tensor that the module holds in several places is replaced in all of them.
        strict: whether missing and unknown paths are errors.

    Raises:
        ArgumentError: if the dicts share a path, or a value is no tensor.
        SettingError: for differences with ``strict``, or tied places that are given two tensors.
    """
    given = _merged(parameter_and_buffer_dicts)
    held: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    held |= dict(module.named_buffers(remove_duplicate=False))
    if strict and (given.keys() != held.keys()):
        missing, unknown = sorted(held.keys() - given.keys()), sorted(given.keys() - held.keys())
        raise SettingError(
            f"functional_call: missing {missing or 'nothing'}, unexpected {unknown or 'nothing'}"
        )
    wanted = {path: t for path, t in given.items() if path in held}
    if tie_weights:
        wanted = _tied(wanted, held)
    arguments = () if args is None else args if isinstance(args, tuple) else (args,)
    places = [(_place(module, path), path.rpartition(".")[2], t) for path, t in wanted.items()]
    before = [place[name] for place, name, _ in places]
    try:
        for place, name, tensor in places:
            place[name] = tensor
        return module(*arguments, **(kwargs or {}))
    finally:
        for (place, name, _), tensor in zip(places, before, strict=True):
            place[name] = tensor


def _merged(dicts: Any) -> dict[str, Tensor]:
    parts = [dicts] if isinstance(dicts, Mapping) else list(dicts)
    merged: dict[str, Tensor] = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise ArgumentError(f"functional_call: {sorted(twice)} is given in two dicts")
        merged |= part
    for path, value in merged.items():
        if not isinstance(value, Tensor):
            raise ArgumentError(
                f"functional_call: {path!r} must be a Tensor, got {type(value).__name__}"
            )
    return merged


def _tied(wanted: dict[str, Tensor], held: dict[str, Tensor]) -> dict[str, Tensor]:
    groups: dict[int, list[str]] = {}
    for path, tensor in held.items():
        groups.setdefault(id(tensor), []).append(path)
    result = dict(wanted)
    for paths in groups.values():
        given = {id(wanted[p]): wanted[p] for p in paths if p in wanted}
        if len(given) > 1:
            raise SettingError(
                f"functional_call: {paths} are one tensor and were given several; give one, or "
                "say tie_weights=False"
            )
        for tensor in given.values():
            result.update(dict.fromkeys(paths, tensor))
    return result


def _place(module: Any, path: str) -> dict[str, Any]:
    """The dict of the module that holds a path's last name."""
    owner = module.get_submodule(path.rpartition(".")[0])
    name = path.rpartition(".")[2]
    found: dict[str, Any] = owner._parameters if name in owner._parameters else owner._buffers
    return found


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers of modules of one class, stacked along a new first dim, by path.

    Raises:
        SettingError: without modules, or if they differ in class, mode or in what requires a
            gradient.
    """
    found = list(models)
    if not found:
        raise SettingError("stack_module_state: at least one module is needed")
    first = found[0]
    if any(type(m) is not type(first) or m.training != first.training for m in found):
        raise SettingError("stack_module_state: the modules must be of one class and one mode")

    def stacked(dicts: list[dict[str, Tensor]]) -> dict[str, Any]:
        result = {}
        for path in dicts[0]:
            parts = [d[path] for d in dicts]
            wants = {p.requires_grad for p in parts}
            if len(wants) > 1:
                raise SettingError(
                    f"stack_module_state: some of the modules want a gradient for {path}, some not"
                )
            result[path] = F.stack(parts).detach().requires_grad_(wants.pop())
        return result

    return (
        stacked([dict(m.named_parameters()) for m in found]),
        stacked([dict(m.named_buffers()) for m in found]),
    )
