"""Schedulers: PyTorch's rates, saving and loading, chaining, warnings, refusals."""

import copy
import json
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import optim
from gpugrad.errors import ArgumentError, SettingError

STEPS = 60


def one(name: str, *args: Any, **kwargs: Any) -> Callable[[Any, Any], Any]:
    """A scheduler of either library, by name."""

    def make(schedulers: Any, optimizer: Any) -> Any:
        return getattr(schedulers, name)(optimizer, *args, **kwargs)

    shown = f"{name} {args or ''} {kwargs or ''}".strip()
    make.__name__ = re.sub(r" at 0x\w+", "", shown)  # the same in every worker
    return make


def sequence(*makes: Any, milestones: list[int]) -> Callable[[Any, Any], Any]:
    """Several, one after the other."""

    def make(schedulers: Any, optimizer: Any) -> Any:
        inner = [m(schedulers, optimizer) for m in makes]
        return schedulers.SequentialLR(optimizer, inner, milestones)

    make.__name__ = f"Sequential({', '.join(m.__name__ for m in makes)})"
    return make


def chain(*makes: Any) -> Callable[[Any, Any], Any]:
    """Several at once."""

    def make(schedulers: Any, optimizer: Any) -> Any:
        return schedulers.ChainedScheduler([m(schedulers, optimizer) for m in makes])

    make.__name__ = f"Chained({', '.join(m.__name__ for m in makes)})"
    return make


CASES = [
    one("LambdaLR", lambda t: 0.9**t),
    one("LambdaLR", [lambda t: 1 / (1 + t), lambda t: 1.0]),
    one("MultiplicativeLR", lambda t: 0.95 if t % 2 else 1.01),
    one("StepLR", 7), one("StepLR", 10, gamma=0.5),
    one("MultiStepLR", [5, 20, 20, 40], gamma=0.3),
    one("ConstantLR"), one("ConstantLR", factor=0.5, total_iters=12),
    one("LinearLR"), one("LinearLR", 0.1, 0.5, 30),
    one("ExponentialLR", 0.9),
    one("PolynomialLR"), one("PolynomialLR", 40, 2.0),
    one("CosineAnnealingLR", 50), one("CosineAnnealingLR", 7, eta_min=0.01),
    one("CosineAnnealingWarmRestarts", 10), one("CosineAnnealingWarmRestarts", 5, 2, 0.001),
    one("CyclicLR", 0.01, 0.1, step_size_up=7),
    one("CyclicLR", [0.01, 0.02], [0.1, 0.3], 4, 9, mode="triangular2", cycle_momentum=False),
    one("CyclicLR", 0.01, 0.1, 5, mode="exp_range", gamma=0.95, base_momentum=0.7),
    one("CyclicLR", 0.01, 0.1, 5, scale_fn=lambda x: 0.8**x, scale_mode="iterations"),
    one("OneCycleLR", 0.3, total_steps=70),
    one("OneCycleLR", [0.3, 0.1], epochs=8, steps_per_epoch=10, anneal_strategy="linear",
        pct_start=0.25, three_phase=True, div_factor=10.0, final_div_factor=100.0),
    sequence(one("LinearLR", 0.1, total_iters=10), one("CosineAnnealingLR", 30),
             milestones=[10]),
    sequence(one("ConstantLR", 0.2, 4), one("ExponentialLR", 0.9), one("StepLR", 3),
             milestones=[5, 25]),
    sequence(one("ExponentialLR", 0.9), one("CosineAnnealingWarmRestarts", 6), milestones=[8]),
    sequence(sequence(one("StepLR", 2), one("ExponentialLR", 0.8), milestones=[4]),
             one("LinearLR"), milestones=[12]),
    chain(one("ConstantLR", 0.1, 4), one("ExponentialLR", 0.9)),
    chain(one("CosineAnnealingLR", 20), one("StepLR", 15, 0.5), one("LinearLR", 0.3)),
]  # fmt: skip


def setup(library: Any, make: Any, name: str = "SGD") -> tuple[Any, Any]:
    """An optimiser with two groups, and a scheduler of it."""
    params = [library.tensor([float(i)], requires_grad=True) for i in range(2)]
    settings: dict[str, Any] = {"lr": 0.05}
    if name == "SGD":
        settings["momentum"] = 0.9
    optimizer = getattr(library.optim, name)(
        [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.2}], **settings
    )
    return optimizer, make(library.optim.lr_scheduler, optimizer)


def walk(optimizer: Any, scheduler: Any, steps: int) -> list[list[float]]:
    """The rates and momenta of all groups, step by step."""
    seen = []
    for _ in range(steps):
        optimizer.step()
        rates = [float(g["lr"]) for g in optimizer.param_groups]
        assert [float(lr) for lr in scheduler.get_last_lr()] == rates
        momenta = [g.get("momentum", g.get("betas", (0,))[0]) for g in optimizer.param_groups]
        seen.append(rates + momenta)
        scheduler.step()
    return seen


@pytest.mark.torch
@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("make", CASES, ids=lambda m: m.__name__)
def test_rates_are_pytorchs(make: Any, name: str) -> None:
    """Over sixty steps, of both groups; and the momenta that some move."""
    import torch

    mine = walk(*setup(gpugrad, make, name), STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = walk(*setup(torch, make, name), STEPS)
    np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("make", CASES, ids=lambda m: m.__name__)
def test_a_saved_schedule_continues(make: Any) -> None:
    """Sixty steps are 23, a round trip through both state dicts, and the rest; to the bit."""
    whole = walk(*setup(gpugrad, make), STEPS)
    optimizer, scheduler = setup(gpugrad, make)
    first = walk(optimizer, scheduler, 23)
    states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    optimizer, scheduler = setup(gpugrad, make)
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert first + walk(optimizer, scheduler, STEPS - 23) == whole


@pytest.mark.torch
@pytest.mark.parametrize("make", CASES, ids=lambda m: m.__name__)
def test_a_schedule_of_pytorchs_continues(make: Any) -> None:
    """A state dict of PyTorch's scheduler is taken up where it was left."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, other = setup(torch, make)
        walk(theirs, other, 23)
        optimizer, scheduler = setup(gpugrad, make)
        scheduler.load_state_dict(copy.deepcopy(other.state_dict()))
        for mine, group in zip(optimizer.param_groups, theirs.param_groups, strict=True):
            mine.update({k: group[k] for k in mine if k in group and k != "params"})
        np.testing.assert_allclose(
            walk(optimizer, scheduler, 30), walk(theirs, other, 30), rtol=1e-12, atol=1e-15
        )


@pytest.mark.torch
@pytest.mark.parametrize("epoch", [0, 3, 12, 41])
@pytest.mark.parametrize("make", [m for m in CASES if m.__name__[:5] not in ("Seque", "Chain")],
                         ids=lambda m: m.__name__)  # fmt: skip
def test_a_given_epoch_is_gone_to(make: Any, epoch: int) -> None:
    """``step(epoch)`` gives PyTorch's rate, by its closed form where there is one."""
    import torch

    seen = []
    for library in (gpugrad, torch):
        optimizer, scheduler = setup(library, make)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step(epoch)
        seen.append(scheduler.get_last_lr())
    np.testing.assert_allclose(*seen, rtol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize("T_mult", [1, 2])
def test_warm_restarts_take_fractions(T_mult: int) -> None:
    """``step(epoch + i / n)``, without a warning."""
    import torch

    seen = []
    for library in (gpugrad, torch):
        optimizer, scheduler = setup(library, one("CosineAnnealingWarmRestarts", 4, T_mult))
        optimizer.step()
        rates = []
        for epoch in np.arange(0, 30, 0.7):
            scheduler.step(float(epoch))
            rates.append(scheduler.get_last_lr())
        seen.append(rates)
    np.testing.assert_allclose(*seen, rtol=1e-12)


PLATEAU: list[dict[str, Any]] = [
    {}, {"patience": 2, "factor": 0.5, "cooldown": 3}, {"mode": "max", "patience": 1},
    {"patience": 1, "threshold_mode": "abs", "threshold": 0.2, "min_lr": [0.01, 0.05]},
    {"mode": "max", "patience": 0, "threshold_mode": "abs", "threshold": 0.1, "eps": 1e-2},
]  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("settings", PLATEAU)
def test_plateaus_are_pytorchs(settings: dict[str, Any]) -> None:
    """Over a metric that falls, stays, is NaN and jumps; saved and loaded on the way."""
    import torch

    rng = np.random.default_rng(0)
    metrics = np.exp(-np.arange(STEPS) / 20) + 0.05 * rng.normal(size=STEPS)
    metrics[30] = np.nan
    seen = []
    for library in (gpugrad, torch):
        optimizer, scheduler = setup(library, one("ReduceLROnPlateau", **settings))
        rates = []
        for i, metric in enumerate(metrics):
            optimizer.step()
            scheduler.step(library.tensor(metric) if i % 2 else metric)
            rates.append([*scheduler.get_last_lr(), scheduler.num_bad_epochs])
            if i == 25:
                state = copy.deepcopy(scheduler.state_dict())
                scheduler = library.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
                scheduler.load_state_dict(state)
        seen.append(rates)
    np.testing.assert_allclose(*seen, rtol=1e-6)


def test_a_group_added_later_is_lowered_too() -> None:
    """With the one ``min_lr``; where each group has its own, the new one's must be given."""
    for lowest, fails in ((0.0, False), ([0.0, 0.0], True)):
        optimizer, scheduler = setup(gpugrad, one("ReduceLROnPlateau", patience=0, min_lr=lowest))
        optimizer.add_param_group({"params": [gpugrad.ones(1, requires_grad=True)]})
        scheduler.step(1.0)
        if fails:
            with pytest.raises(SettingError, match="3 groups"):
                scheduler.step(1.0)
        else:
            scheduler.step(1.0)
            assert scheduler.get_last_lr() == pytest.approx([0.005, 0.02, 0.005])


def test_a_rate_that_is_a_tensor_is_written_in_place() -> None:
    """The tensor stays the same; the optimiser uses its new value."""
    x, lr = gpugrad.tensor([1.0], requires_grad=True), gpugrad.tensor(0.5)
    optimizer = optim.SGD([x], lr=lr)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    x.grad = gpugrad.ones(1)
    optimizer.step()
    scheduler.step()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert (lr.item(), x.item()) == (0.25, 0.25)
    assert optimizer.param_groups[0]["initial_lr"].item() == 0.5


def test_the_wrong_order_warns_once() -> None:
    """A schedule that is stepped first would lose its first value."""
    optimizer, scheduler = setup(gpugrad, one("StepLR", 3))
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    scheduler.step()
    optimizer, scheduler = setup(gpugrad, one("StepLR", 3))
    optimizer.step()
    scheduler.step()


def test_get_lr_is_for_step_alone() -> None:
    """And ``step(epoch)`` is deprecated, as in PyTorch."""
    optimizer, scheduler = setup(gpugrad, one("StepLR", 3))
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()
    optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(2)


def test_a_schedule_resumes_at_last_epoch() -> None:
    """With the optimiser's state, which holds the first rate."""
    optimizer, _ = setup(gpugrad, one("ExponentialLR", 0.5))
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5, last_epoch=3)
    optimizer.step()
    scheduler.step()
    assert scheduler.last_epoch == 5
    assert scheduler.get_last_lr() == [0.025, 0.1]


def test_a_users_scheduler_overrides_get_lr() -> None:
    """As one that was written for PyTorch does."""

    class Inverse(optim.lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            return [base / (1 + self.last_epoch) for base in self.base_lrs]

    optimizer, _ = setup(gpugrad, one("StepLR", 3))
    scheduler = Inverse(optimizer)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.025, 0.1]


def test_objects_as_functions_are_saved() -> None:
    """Their attributes; a plain function is not."""

    class Power:
        def __init__(self, base: float) -> None:
            self.base = base

        def __call__(self, step: int) -> float:
            return float(self.base**step)

    _, scheduler = setup(gpugrad, one("LambdaLR", [Power(0.5), lambda t: 1.0]))
    state = scheduler.state_dict()
    assert json.loads(json.dumps(state))["lr_lambdas"] == [{"base": 0.5}, None]
    _, other = setup(gpugrad, one("LambdaLR", [Power(0.9), lambda t: 1.0]))
    other.load_state_dict(state)
    assert other.lr_lambdas[0].base == 0.5


def adagrad() -> Any:
    return optim.Adagrad([gpugrad.ones(1, requires_grad=True)])


REFUSED: dict[str, tuple[Callable[[Any, Any], Any], type[Exception], str]] = {
    "no optimiser": (lambda s, o: s.StepLR(3, 1), ArgumentError, "needs an Optimizer, got int"),
    "resumed alone": (lambda s, o: s.StepLR(adagrad(), 1, last_epoch=4), SettingError,
                      "initial_lr"),
    "three functions": (lambda s, o: s.LambdaLR(o, [abs] * 3), SettingError, "3 values"),
    "no function": (lambda s, o: s.MultiplicativeLR(o, 0.5), ArgumentError, "got float"),
    "factor": (lambda s, o: s.ConstantLR(o, 1.5), SettingError, "factor"),
    "start": (lambda s, o: s.LinearLR(o, 0.0), SettingError, "start_factor"),
    "no momentum": (lambda s, o: s.CyclicLR(adagrad(), 0.1, 0.2), SettingError, "cycle_momentum"),
    "mode": (lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="x"), SettingError, "triangular"),
    "no length": (lambda s, o: s.OneCycleLR(o, 0.1), SettingError, "total_steps"),
    "pct_start": (lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=2.0), SettingError, "pct_start"),
    "strategy": (lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="x"), SettingError, "cos"),
    "T_0": (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), SettingError, "T_0"),
    "plateau factor": (lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), SettingError, "below 1"),
    "plateau mode": (lambda s, o: s.ReduceLROnPlateau(o, "x"), SettingError, "min or max"),
    "milestones": (lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [3]), SettingError,
                   "one milestone less"),
    "nothing": (lambda s, o: s.ChainedScheduler([]), SettingError, "got none"),
    "plateau within": (lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), SettingError,
                       "by itself"),
    "two optimisers": (lambda s, o: s.ChainedScheduler(
        [s.StepLR(o, 1), s.StepLR(adagrad(), 1)]), SettingError, "of one optimiser"),
    "not schedulers": (lambda s, o: s.SequentialLR(o, [o], []), ArgumentError, "got SGD"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(call: Any, kind: type[Exception], words: str) -> None:
    """With one clear error."""
    optimizer, _ = setup(gpugrad, one("StepLR", 3))
    del optimizer.param_groups[0]["initial_lr"]
    with pytest.raises(kind, match=words):
        call(optim.lr_scheduler, optimizer)


def test_one_cycle_ends() -> None:
    """A step more than it has is refused."""
    optimizer, scheduler = setup(gpugrad, one("OneCycleLR", 0.1, total_steps=3))
    optimizer.step()
    for _ in range(3):
        scheduler.step()
    with pytest.raises(SettingError, match="total_steps=3"):
        scheduler.step()
