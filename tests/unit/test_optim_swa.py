"""Averages of weights over a training, and the schedule that goes with them."""

import copy
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad.errors import SettingError
from gpugrad.optim import swa_utils

HOW: dict[str, Any] = {
    "mean": lambda u: {},
    "ema": lambda u: {"avg_fn": u.get_ema_avg_fn(0.8)},
    "swa": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "ema of lists": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.8)},
    "swa of lists": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "buffers": lambda u: {"use_buffers": True, "avg_fn": lambda a, b, n: a + (b - a) / (n + 2)},
}


def models(libraries: list[Any]) -> list[Any]:
    """The same small network in each library."""
    made = [
        L.nn.Sequential(L.nn.Linear(3, 4), L.nn.BatchNorm1d(4), L.nn.Linear(4, 1))
        for L in libraries
    ]
    values = {k: np.asarray(v.numpy().copy()) for k, v in made[0].state_dict().items()}
    for library, model in zip(libraries, made, strict=True):
        model.load_state_dict({k: library.from_numpy(v.copy()) for k, v in values.items()})
    return made


def batches() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(8, 3)).astype("float32") for _ in range(6)]


@pytest.mark.torch
@pytest.mark.parametrize("how", HOW)
def test_averages_are_pytorchs(how: str) -> None:
    """Of parameters and buffers over six steps, then of the batch norms by ``update_bn``."""
    import torch

    found = []
    for library, model in zip((gpugrad, torch), models([gpugrad, torch]), strict=True):
        utils = library.optim.swa_utils
        averaged = utils.AveragedModel(model, **HOW[how](utils))
        optimizer = library.optim.SGD(model.parameters(), lr=0.1)
        for batch in batches():
            optimizer.zero_grad()
            (model(library.from_numpy(batch)) ** 2).mean().backward()
            optimizer.step()
            averaged.update_parameters(model)
        states = [copy.deepcopy(averaged.state_dict())]
        averaged.eval()
        utils.update_bn([(library.from_numpy(b), 0) for b in batches()], averaged)
        assert not averaged.training
        assert averaged.module[1].momentum == 0.1
        states.append(averaged.state_dict())
        output = averaged(library.from_numpy(batches()[0])).detach().numpy()
        found.append((states, output))
    (mine, my_output), (theirs, their_output) = found
    for ours, others in zip(mine, theirs, strict=True):
        assert list(ours) == list(others)
        for key in ours:
            np.testing.assert_allclose(
                ours[key].numpy(), others[key].numpy(), rtol=1e-4, atol=1e-5, err_msg=key
            )
    np.testing.assert_allclose(my_output, their_output, rtol=1e-4, atol=1e-5)


def test_the_model_and_its_average_are_two() -> None:
    """Updating one leaves the other; the average asks for no gradient of the update."""
    (model,) = models([gpugrad])
    averaged = swa_utils.AveragedModel(model)
    before = model[0].weight.detach().clone()
    averaged.update_parameters(model)
    with gpugrad.no_grad():
        model[0].weight.add_(2.0)
    averaged.update_parameters(model)
    np.testing.assert_allclose(
        averaged.module[0].weight.detach().numpy(), before.numpy() + 1.0, rtol=1e-6
    )
    assert averaged.module[0].weight.is_leaf
    assert averaged.n_averaged.item() == 2


@pytest.mark.torch
@pytest.mark.parametrize("settings", [
    {"swa_lr": 0.05}, {"swa_lr": [0.01, 0.5], "anneal_epochs": 7, "anneal_strategy": "linear"},
    {"swa_lr": 0.3, "anneal_epochs": 0},
])  # fmt: skip
def test_rates_are_pytorchs(settings: dict[str, Any]) -> None:
    """Over twenty steps, saved and loaded on the way."""
    import torch

    found = []
    for library in (gpugrad, torch):
        params = [library.ones(1, requires_grad=True) for _ in range(2)]
        optimizer = library.optim.SGD(
            [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.2}], lr=0.1
        )
        scheduler = library.optim.swa_utils.SWALR(optimizer, **settings)
        rates = []
        for i in range(20):
            optimizer.step()
            rates.append(scheduler.get_last_lr())
            scheduler.step()
            if i == 4:
                states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
                scheduler = library.optim.swa_utils.SWALR(optimizer, **settings)
                optimizer.load_state_dict(states[0])
                scheduler.load_state_dict(states[1])
        found.append(rates)
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_what_makes_no_sense_is_refused() -> None:
    """With one clear error each."""
    (model,) = models([gpugrad])
    optimizer = gpugrad.optim.SGD(model.parameters())
    with pytest.raises(SettingError, match="not both"):
        swa_utils.AveragedModel(model, avg_fn=max, multi_avg_fn=max)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="decay"):
        swa_utils.get_ema_multi_avg_fn(1.5)
    with pytest.raises(SettingError, match="anneal_strategy"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="x")
    with pytest.raises(SettingError, match="anneal_epochs"):
        swa_utils.SWALR(optimizer, 0.1, anneal_epochs=-1)
