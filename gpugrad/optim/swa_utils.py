"""Averages of a model's weights over its training: SWA (Izmailov et al., 2018) and EMA."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import SettingError
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn.module import Module
from gpugrad.nn.modules.batchnorm import _BatchNorm
from gpugrad.op import registry
from gpugrad.optim.lr_scheduler.base import LRScheduler, check_optimizer, per_group
from gpugrad.optim.optimizer import Optimizer, move
from gpugrad.tensor import Tensor

_One = Callable[[Tensor, Tensor, Any], Any]
_Many = Callable[[Any, Any, Any], None]


def _check_decay(decay: float) -> None:
    if not 0 <= decay <= 1:
        raise SettingError(f"decay must be in [0, 1], got {decay}")


def get_ema_avg_fn(decay: float = 0.999) -> _One:
    """An ``avg_fn`` whose average moves by ``1 - decay`` of the way to the model at each update."""
    _check_decay(decay)

    def ema(averaged: Tensor, current: Tensor, num_averaged: Any) -> Any:
        with no_grad():
            return decay * averaged + (1 - decay) * current

    return ema


def get_swa_avg_fn() -> _One:
    """An ``avg_fn`` whose average is the mean of the model at all updates."""

    def swa(averaged: Tensor, current: Tensor, num_averaged: Any) -> Any:
        with no_grad():
            return averaged + (current - averaged) / (num_averaged + 1)

    return swa


def _each(one: _One) -> _Many:
    """A function of tensors as one that writes into lists of them."""

    def update(averaged: Any, current: Any, num_averaged: Any) -> None:
        with no_grad():
            for target, value in zip(averaged, current, strict=True):
                target.copy_(one(target, value, num_averaged))

    return update


def get_ema_multi_avg_fn(decay: float = 0.999) -> _Many:
    """A ``multi_avg_fn`` whose averages move by ``1 - decay`` of the way at each update."""
    one = get_ema_avg_fn(decay)

    def update(averaged: Any, current: Any, num_averaged: Any) -> None:
        if averaged[0].is_floating_point():
            move(registry["optim.ema_step"], list(zip(averaged, current)), {"decay": decay})
        else:
            _each(one)(averaged, current, num_averaged)

    return no_grad()(update)


def get_swa_multi_avg_fn() -> _Many:
    """A ``multi_avg_fn`` whose averages are the means of the model at all updates."""

    def update(averaged: Any, current: Any, num_averaged: Any) -> None:
        if averaged[0].is_floating_point():
            count = F.asarray(num_averaged, dtype=averaged[0].dtype, device=averaged[0].device)
            sets = [(a, b, count) for a, b in zip(averaged, current, strict=True)]
            move(registry["optim.swa_step"], sets, {})
        else:
            _each(get_swa_avg_fn())(averaged, current, num_averaged)

    return no_grad()(update)


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's.

    Args:
        model: is copied to ``module``.
        device: where to keep the copy.
        avg_fn: ``avg_fn(averaged, current, num_averaged)`` gives the new average of one parameter.
        multi_avg_fn: ``multi_avg_fn(averaged, current, num_averaged)`` writes the new averages
            into a list.  Without either the average is the mean of all updates.
        use_buffers: average buffers, too, instead of copying them.
    """

    n_averaged: Tensor

    def __init__(
        self, model: Module, device: Any = None, avg_fn: _One | None = None,
        multi_avg_fn: _Many | None = None, use_buffers: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise SettingError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        count = F.zeros((), dtype=dtypes.int64, device="cpu" if device is None else device)
        self.register_buffer("n_averaged", count)
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged copy gives."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model as it is now into the average; the first time, take it over."""
        mine: list[Tensor] = [*self.module.parameters()]
        theirs: list[Tensor] = [*model.parameters()]
        copied = list(zip(self.module.buffers(), model.buffers(), strict=True))
        if self.use_buffers:
            mine += [a for a, _ in copied]
            theirs += [b for _, b in copied]
            copied = []
        averaged = [a.detach() for a in mine]
        current = [b.detach().to(a.device) for a, b in zip(averaged, theirs, strict=True)]
        with no_grad():
            if not int(self.n_averaged):
                copied += zip(averaged, current, strict=True)
            else:
                update = self.multi_avg_fn or (
                    _each(self.avg_fn) if self.avg_fn else get_swa_multi_avg_fn()
                )
                for group in _alike(averaged, current):
                    update(*group, self.n_averaged.to(group[0][0].device))
            for target, value in copied:
                target.copy_(value.detach().to(target.device))
            self.n_averaged += 1


def _alike(
    averaged: list[Tensor], current: list[Tensor]
) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """The lists by device and dtype."""
    groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
    for a, b in zip(averaged, current, strict=True):
        mine, theirs = groups.setdefault((str(a.device), a.dtype), ([], []))
        mine.append(a)
        theirs.append(b)
    return groups.values()


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Make the running statistics of a model's batch norms anew: plain means over a loader.

    Args:
        loader: gives batches; of a list or tuple the first is the input.
        model: is in training mode meanwhile.
        device: where to put the batches.
    """
    norms = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not norms:
        return
    was_training = model.training
    model.train()
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    try:
        with no_grad():
            for batch in loader:
                value = batch[0] if isinstance(batch, list | tuple) else batch
                model(value if device is None else value.to(device))
    finally:
        for m, momentum in norms.items():
            m.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """From the rate as it is to a constant one in ``anneal_epochs`` steps.

    Args:
        optimizer, last_epoch: as for ``LRScheduler``.
        swa_lr: the constant rate, or one for every group.
        anneal_epochs: how many steps it takes.
        anneal_strategy: ``"cos"`` or ``"linear"``.
    """

    def __init__(
        self, optimizer: Optimizer, swa_lr: Any, anneal_epochs: int = 10,
        anneal_strategy: str = "cos", last_epoch: int = -1,
    ) -> None:  # fmt: skip
        check_optimizer(self, optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise SettingError(
                f'SWALR: anneal_strategy must be "cos" or "linear", got {anneal_strategy!r}'
            )
        length: Any = anneal_epochs
        if not isinstance(length, int) or length < 0:
            raise SettingError(f"SWALR: anneal_epochs must be an int of 0 or more, got {length!r}")
        rates = per_group("SWALR", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of the way is behind."""
        part = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return part if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * part)) / 2

    def get_lr(self) -> list[Any]:
        """The next rate of every group: between where it came from and ``swa_lr``."""
        self._warn_outside()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        found = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            begin = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            found.append(end * now + begin * (1 - now))
        return found
