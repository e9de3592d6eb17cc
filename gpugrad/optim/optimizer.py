"""What all optimisers share: groups of parameters, remembered state, saving and loading.

A subclass gives its settings to ``Optimizer.__init__`` and says in ``_update`` which record of
``gpugrad.ops.update`` moves one parameter.  One that was written for PyTorch overrides ``step``.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from gpugrad.codegen.target import TARGETS
from gpugrad.codegen.update import overwrite
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError
from gpugrad.functional_namespace import F
from gpugrad.inplace import check_writable, write
from gpugrad.modes import enable_grad, modes, no_grad
from gpugrad.op import Op, registry
from gpugrad.optim.hooks import (
    Hooked,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from gpugrad.storage import caller_site
from gpugrad.tensor import Tensor

#: What settings are made of, mostly.
_NUMBERS = frozenset({float, int, bool, tuple})


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


#: As a default: every group must say the value itself.
required = _Required()


class Optimizer(Hooked):
    """Base of the optimisers.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dicts with ``"params"`` and settings.
        defaults: settings of groups that do not say their own.

    Attributes:
        param_groups: a dict per group: ``"params"`` and its settings.
        state: per parameter, what the optimiser remembers; remembered tensors are written in place.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(params, Tensor):
            raise ArgumentError(f"{name}: params must be an iterable of tensors, got one Tensor")
        if isinstance(params, set):
            raise ArgumentError(f"{name}: params must have an order, got a set; use a list")
        self._hooks = {}
        self._planned: dict[tuple[str, tuple[Any, ...]], list[tuple[Any, ...]]] = {}
        self.defaults = defaults
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        given = list(params)
        if not given:
            raise SettingError(f"{name}: params is empty; there is nothing to optimise")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take more parameters under the optimiser, with settings of their own where given.

        Raises:
            ArgumentError: for anything but a dict of ordered tensors.
            SettingError: for a tensor that is no leaf or is there already, or a missing setting.
        """
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise ArgumentError(f"{name}: a group is a dict, got {type(param_group).__name__}")
        given = param_group["params"]
        if isinstance(given, set):
            raise ArgumentError(f"{name}: params must have an order, got a set; use a list")
        params = [given] if isinstance(given, Tensor) else list(given)
        names = [p[0] for p in params if isinstance(p, tuple)]
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        group = {**param_group, "params": params}
        if names:
            group["param_names"] = names
        if len(names) not in (0, len(params)) or any(
            ("param_names" in g) != bool(names) for g in self.param_groups
        ):
            raise SettingError(f"{name}: either all parameters have names or none has")
        self._check_params(params)
        for key, default in self.defaults.items():
            if default is required and key not in group:
                raise SettingError(
                    f"{name}: a group does not say its {key!r}, which has no default"
                )
            group.setdefault(key, default)
        self.param_groups.append(group)

    def _check_params(self, params: list[Any]) -> None:
        name = type(self).__name__
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise ArgumentError(f"{name}: can only optimise Tensors, got {type(p).__name__}")
            if not p.is_leaf and not p.retains_grad:
                raise SettingError(
                    f"{name}: a tensor of shape {tuple(p.shape)} is the result of an op, not a "
                    "leaf; optimise what it was made from, or its detach()"
                )
            if id(p) in seen:
                raise SettingError(
                    f"{name}: a tensor of shape {tuple(p.shape)} is listed twice; "
                    "each parameter may be in one group, once"
                )
            seen.add(id(p))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or make them zeros in the same memory."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None or set_to_none:
                    p.grad = None
                elif p.grad.requires_grad:  # made by create_graph: leave what it hangs on alone
                    p.grad = F.zeros_like(p.grad.detach())
                else:
                    write(p.grad, 0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: computes the loss anew, gradients included; its result is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                self._planned = {}
                for p in group["params"]:
                    grad = p.grad
                    if grad is not None:
                        self._update(p, grad, self.state[p], group)
                for (op, settings), sets in self._planned.items():
                    move(registry[f"optim.{op}"], sets, dict(settings))
                self._planned = {}
        return loss

    def _update(self, param: Any, grad: Any, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Move one parameter; a subclass says how, through ``_run``."""
        raise NotSupportedError(f"{type(self).__name__} has neither step() nor _update()")

    def _run(self, op: str, param: Any, grad: Any, state: dict[str, Any], *buffers: str,
             **settings: Any) -> None:  # fmt: skip
        """Plan to run an update record, whose results go into the parameter and those buffers.

        It runs when all parameters of the group were seen, for those with equal settings at once.
        """
        for name in buffers:
            if name not in state:
                state[name] = F.zeros_like(param.detach())
        if not _NUMBERS.issuperset(map(type, settings.values())):
            for name, value in settings.items():
                if isinstance(value, Tensor):
                    settings[name] = value.item()
                elif isinstance(value, list):
                    settings[name] = tuple(value)
        sets = self._planned.setdefault((op, tuple(settings.items())), [])
        sets.append((param, grad, *[state[name] for name in buffers]))

    @staticmethod
    def _count(state: dict[str, Any]) -> int:
        """Count a step of one parameter, beginning with 1."""
        state["step"] = count = int(state.get("step", 0)) + 1
        return count

    def state_dict(self) -> dict[str, Any]:
        """Everything but the parameters: state and groups, with parameters as running numbers."""
        for hook in self._calls("save_pre"):
            hook(self)
        numbers = {
            id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])
        }
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        state = {numbers[id(p)]: s for p, s in self.state.items() if id(p) in numbers}
        saved = {"state": state, "param_groups": groups}
        for hook in self._calls("save_post"):
            saved = hook(self, saved) or saved
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave; its tensors are copied.

        Raises:
            SettingError: if the groups differ in number or size.
        """
        name = type(self).__name__
        state_dict = dict(state_dict)  # a hook may change what it is given
        for hook in self._calls("load_pre"):
            state_dict = hook(self, state_dict) or state_dict
        saved = state_dict["param_groups"]
        sizes = [[len(g["params"]) for g in groups] for groups in (saved, self.param_groups)]
        if sizes[0] != sizes[1]:
            raise SettingError(
                f"{name}: the saved groups have {sizes[0]} parameters, the optimiser's {sizes[1]}"
            )
        self.param_groups = [
            {**mine, **copy.deepcopy({k: v for k, v in theirs.items() if k != "params"})}
            for mine, theirs in zip(self.param_groups, saved, strict=True)
        ]
        params = [p for g in self.param_groups for p in g["params"]]
        numbers = [i for g in saved for i in g["params"]]
        place = dict(zip(numbers, params, strict=True))
        self.state = defaultdict(dict)
        for number, held in state_dict["state"].items():
            target = place.get(number)
            copied = {k: _like(v, target) for k, v in held.items()}
            self.state[number if target is None else target] = copied
        for hook in self._calls("load_post"):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        # Functions stay here when it is pickled or copied.
        return {**self.__dict__, "_hooks": {}, "_planned": {}}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])


def move(op: Op, sets: list[tuple[Any, ...]], settings: dict[str, Any]) -> None:
    """Run an update for every parameter, its gradient and what is remembered of it.

    Args:
        op: the record.
        sets: its operands; the results overwrite the first and those from the third on.
        settings: those that are not the record's defaults.
    """
    count = max(len(op.outputs), 1)
    places = [0, *range(2, len(sets[0]))][:count]
    for operands in sets:
        for i in places:
            check_writable(op.name, operands[i])
    site = caller_site()
    if modes.whole:
        arrays = [[t._array for t in operands] for operands in sets]
        target = TARGETS[type(arrays[0][0])]
        if target and overwrite(target, op, arrays, places, {**op.settings, **settings}):
            for operands in sets:
                for i in places:
                    operands[i].storage_state().bump(site)
            return
    for operands in sets:
        results = op.public(*operands, **settings)
        for i, result in zip(places, results if op.outputs else (results,), strict=True):
            write(operands[i], result._array, site)


def _like(value: Any, param: Any) -> Any:
    """A copy of remembered state; a floating tensor gets its parameter's dtype and device."""
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    if param is None or not value.is_floating_point() or value.shape != param.shape:
        return value.detach().clone()
    return value.detach().to(param.device).to(param.dtype).clone()


def check_range(name: str, **settings: Any) -> None:
    """Refuse a negative number or a NaN.

    Raises:
        SettingError: naming the optimiser and the setting.
    """
    for key, value in settings.items():
        if not value >= 0:
            raise SettingError(f"{name}: {key} must be at least 0, got {value}")


def check_betas(name: str, betas: Any) -> None:
    """Refuse anything but two numbers in ``[0, 1)``."""
    if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
        raise SettingError(f"{name}: betas must be two numbers in [0, 1), got {betas}")


def check_hints(
    name: str, foreach: Any, fused: Any, differentiable: Any, capturable: Any = False
) -> None:
    """Refuse the implementations that PyTorch refuses, and those that are not here."""
    if foreach and fused:
        raise SettingError(f"{name}: foreach and fused cannot both be True")
    if differentiable:
        raise NotSupportedError(
            f"{name}: differentiable=True is not supported; write the update with ops instead"
        )
    if capturable:
        raise NotSupportedError(f"{name}: capturable=True is not supported; leave it away")


__all__ = [
    "Optimizer", "check_betas", "check_hints", "check_range", "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook", "required",
]  # fmt: skip
