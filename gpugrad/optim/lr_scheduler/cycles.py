"""Rates that go round: triangles, one long cycle, cosines with warm restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gpugrad.errors import SettingError
from gpugrad.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group, put
from gpugrad.optim.lr_scheduler.functions import attributes
from gpugrad.optim.optimizer import Optimizer


class _Momentum(LRScheduler):
    """A schedule that moves the momentum, or Adam's first beta, against the rate."""

    cycle_momentum: bool

    def _start_momentum(
        self, optimizer: Optimizer, lowest: Any, highest: Any, resumed: bool
    ) -> tuple[list[Any], list[Any]]:
        name = type(self).__name__
        if not {"momentum", "betas"} & optimizer.defaults.keys():
            raise SettingError(
                f"{name}: {type(optimizer).__name__} has neither momentum nor betas; "
                "give cycle_momentum=False"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        bounds = per_group(name, optimizer, lowest), per_group(name, optimizer, highest)
        if not resumed:
            for group, low, high in zip(optimizer.param_groups, *bounds, strict=True):
                self._put_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return bounds

    def _put_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_Momentum):
    """Triangles between two rates (Smith, 2017).

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        base_lr, max_lr: lowest and highest rate, or one each for every group.
        step_size_up, step_size_down: steps of the two halves; equal if only one is given.
        mode: ``"triangular"``; ``"triangular2"``, halved every cycle; ``"exp_range"``, scaled by
            ``gamma ** step``.
        scale_fn: a scale of the triangle instead of a mode's, of the cycle's number or the step.
        scale_mode: ``"cycle"`` or ``"iterations"``: what ``scale_fn`` is given.
        cycle_momentum: move the momentum from ``max_momentum`` to ``base_momentum`` and back.
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: Any, max_lr: Any, step_size_up: int = 2000,
        step_size_down: int | None = None, mode: str = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
        cycle_momentum: bool = True, base_momentum: Any = 0.8, max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(self, optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise SettingError(
                "CyclicLR: mode must be triangular, triangular2 or exp_range where no scale_fn is "
                f"given, got {mode!r}"
            )
        base_lrs = per_group("CyclicLR", optimizer, base_lr)
        self.max_lrs = per_group("CyclicLR", optimizer, max_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
                put(group, lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        by_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode = by_mode if scale_fn is None else scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(
                optimizer, base_momentum, max_momentum, last_epoch != -1
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of a triangle, of its number or the step."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return float(0.5 ** (x - 1) if self.mode == "triangular2" else self.gamma**x)

    def get_lr(self) -> list[Any]:
        """The next rate of every group; sets the momenta, too."""
        self._warn_outside()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        up = x <= self.step_ratio
        part = x / self.step_ratio if up else (x - 1) / (self.step_ratio - 1)
        part *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.base_momentums, self.max_momentums, strict=True)
            for group, (low, high) in zip(self.optimizer.param_groups, bounds, strict=True):
                self._put_momentum(group, high - (high - low) * part)
        return [
            low + (high - low) * part for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser; of ``scale_fn`` only an object's attributes."""
        fn = self._scale_fn_custom
        saved = None if fn is None else attributes(fn)
        return {**super().state_dict(), "_scale_fn_custom": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave, with the ``scale_fn`` that is here."""
        saved = state_dict["_scale_fn_custom"]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if saved is not None and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(saved)


class OneCycleLR(_Momentum):
    """Up to ``max_lr`` and far down again, once (Smith and Topin, 2018).

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        max_lr: highest rate, or one for every group.
        total_steps: the cycle's length; or ``epochs`` times ``steps_per_epoch``.
        pct_start: the share of the cycle that goes up.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: move the momentum from ``max_momentum`` to ``base_momentum`` and back.
        div_factor: the first rate is ``max_lr`` by this.
        final_div_factor: the last rate is the first by this.
        three_phase: go down to the first rate as long as it went up, then to the last.

    Raises:
        SettingError: also from ``step``, after ``total_steps``.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: Any, total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: Any = 0.3,
        anneal_strategy: str = "cos", cycle_momentum: bool = True, base_momentum: Any = 0.85,
        max_momentum: Any = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(self, optimizer)
        self.total_steps = _length(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise SettingError(f"OneCycleLR: pct_start must be in [0.0, 1.0], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise SettingError(
                f'OneCycleLR: anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}'
            )
        self._anneal_func_type = anneal_strategy
        # A phase is where it ends, and between which of a group's settings it goes.
        top, last = pct_start * self.total_steps - 1, self.total_steps - 1
        up = _phase(top, "initial_lr", "max_lr", "max_momentum", "base_momentum")
        back = ("base_momentum", "max_momentum")
        self._schedule_phases = [up, _phase(last, "max_lr", "min_lr", *back)]
        if three_phase:
            self._schedule_phases[1:] = [
                _phase(2 * (top + 1) - 2, "max_lr", "initial_lr", *back),
                _phase(last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        if last_epoch == -1:
            highest = per_group("OneCycleLR", optimizer, max_lr)
            for group, lr in zip(optimizer.param_groups, highest, strict=True):
                group["initial_lr"] = lr / div_factor
                group["max_lr"] = lr
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(optimizer, base_momentum, max_momentum, last_epoch != -1)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: Any, end: Any, part: float) -> Any:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[Any]:
        """The next rate of every group; sets the momenta, too."""
        self._warn_outside()
        step = self.last_epoch
        if step > self.total_steps:
            raise SettingError(
                f"OneCycleLR: step {step} of a cycle of total_steps={self.total_steps}"
            )
        begin = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            begin = phase["end_step"]
        part = (step - begin) / (phase["end_step"] - begin)
        found = []
        for group in self.optimizer.param_groups:
            lrs = group[phase["start_lr"]], group[phase["end_lr"]]
            found.append(self._between(*lrs, part))
            if self.cycle_momentum:
                momenta = group[phase["start_momentum"]], group[phase["end_momentum"]]
                self._put_momentum(group, self._between(*momenta, part))
        return found


def _phase(end: float, start_lr: str, end_lr: str, start: str, stop: str) -> dict[str, Any]:
    return {
        "end_step": end, "start_lr": start_lr, "end_lr": end_lr, "start_momentum": start,
        "end_momentum": stop,
    }  # fmt: skip


def _length(total: int | None, epochs: int | None, per_epoch: int | None) -> int:
    """The steps of a cycle, given in one of two ways."""
    parts = (epochs, per_epoch) if total is None else (total,)
    if not all(isinstance(n, int) and n > 0 for n in parts):
        raise SettingError(
            "OneCycleLR: give total_steps, or epochs and steps_per_epoch, as positive ints; got "
            f"{total}, {epochs} and {per_epoch}"
        )
    return math.prod(n for n in parts if n is not None)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines down to ``eta_min``, each ``T_mult`` times as long as the one before.

    After Loshchilov and Hutter (2017).

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        T_0: steps of the first one.
        T_mult: how much longer each next one is.
        eta_min: lowest rate.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        wholes: tuple[tuple[str, Any], ...] = (("T_0", T_0), ("T_mult", T_mult))
        for name, value in wholes:
            if not isinstance(value, int) or value < 1:
                raise SettingError(
                    f"CosineAnnealingWarmRestarts: {name} must be a positive int, got {value!r}"
                )
        if not isinstance(eta_min, int | float):
            raise SettingError(
                f"CosineAnnealingWarmRestarts: eta_min must be a number, got {eta_min!r}"
            )
        self.T_0 = self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The next rate of every group."""
        self._warn_outside()
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: Any = None) -> None:
        """Set the rates of the next step, or of a given, also fractional, epoch."""
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            self._go_to(epoch or 0)
        self.last_epoch = math.floor(epoch or 0)
        self._put(self._wanted())

    def _go_to(self, epoch: float) -> None:
        """Find the cosine that an epoch is in, and where in it."""
        if epoch < 0:
            raise SettingError(f"CosineAnnealingWarmRestarts: epoch must not be negative: {epoch}")
        self.T_i, self.T_cur = self.T_0, epoch
        if epoch < self.T_0:
            return
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
            return
        # n whole ones took T_0 (T_mult^n - 1) / (T_mult - 1) steps.
        n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
        self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
        self.T_i = self.T_0 * self.T_mult**n
