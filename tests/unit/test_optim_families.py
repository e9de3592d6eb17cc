"""Optimisers against formulas in NumPy, L-BFGS, and hooks."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import optim
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError, ShapeError

State = dict[str, np.ndarray]


def lion(p: np.ndarray, g: np.ndarray, s: State, t: int) -> np.ndarray:
    direction = np.sign(0.9 * s["m"] + 0.1 * g)
    s["m"] = 0.99 * s["m"] + 0.01 * g
    return p - 0.01 * (direction + 0.3 * p)


def adagrad(p: np.ndarray, g: np.ndarray, s: State, t: int) -> np.ndarray:
    s["v"] = s["v"] + g**2
    return p - 0.1 / (1 + 0.2 * (t - 1)) * g / (np.sqrt(s["v"]) + 1e-10)


def adadelta(p: np.ndarray, g: np.ndarray, s: State, t: int) -> np.ndarray:
    s["v"] = 0.9 * s["v"] + 0.1 * g**2
    move = np.sqrt(s["u"] + 1e-6) / np.sqrt(s["v"] + 1e-6) * g
    s["u"] = 0.9 * s["u"] + 0.1 * move**2
    return p - move


def rmsprop(p: np.ndarray, g: np.ndarray, s: State, t: int) -> np.ndarray:
    s["v"] = 0.9 * s["v"] + 0.1 * g**2
    s["m"] = 0.5 * s["m"] + g / (np.sqrt(s["v"]) + 1e-8)
    return p - 0.01 * s["m"]


def adamax(p: np.ndarray, g: np.ndarray, s: State, t: int) -> np.ndarray:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = np.maximum(0.999 * s["v"], np.abs(g) + 1e-8)
    return p - 0.002 / (1 - 0.9**t) * s["m"] / s["v"]


FORMULAS: list[tuple[str, dict[str, Any], Callable[..., np.ndarray]]] = [
    ("Lion", {"lr": 0.01, "weight_decay": 0.3}, lion),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2}, adagrad),
    ("Adadelta", {}, adadelta),
    ("RMSprop", {"alpha": 0.9, "momentum": 0.5}, rmsprop),
    ("Adamax", {}, adamax),
]


@pytest.mark.parametrize(("name", "settings", "formula"), FORMULAS)
def test_a_hundred_steps_are_the_formulas(
    name: str, settings: dict[str, Any], formula: Callable[..., np.ndarray]
) -> None:
    """In float64, where a float32 run may drift."""
    value = np.random.default_rng(1).normal(size=(3, 4))
    x = gpugrad.from_numpy(value.copy()).requires_grad_()
    optimizer = getattr(optim, name)([x], **settings)
    state = {k: np.zeros_like(value) for k in "muv"}
    for step in range(100):
        x.grad = gpugrad.from_numpy(np.cos(x.detach().numpy() * (1 + step % 7)))
        optimizer.step()
        value = formula(value, np.cos(value * (1 + step % 7)), state, step + 1)
    np.testing.assert_allclose(x.detach().numpy(), value, rtol=1e-11, atol=1e-12)


def rosenbrock(library: Any, dtype: str = "float64") -> tuple[list[Any], Callable[[], Any]]:
    """A narrow valley with a corner, and its loss."""
    kind = getattr(library, dtype)
    x = library.tensor([-1.2, 1.0, 0.5, 2.0], dtype=kind, requires_grad=True)
    y = library.tensor(0.3, dtype=kind, requires_grad=True)

    def loss() -> Any:
        x.grad = y.grad = None
        valley = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        result = valley + (y - x[0]) ** 4
        result.backward()
        return result

    return [x, y], loss


@pytest.mark.torch
@pytest.mark.parametrize("settings", [
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7, "lr": 0.5},
    {"line_search_fn": "strong_wolfe", "max_eval": 3},
    {"lr": 1e-3}, {"lr": 0.01, "max_iter": 5, "history_size": 2},
])  # fmt: skip
def test_lbfgs_walks_as_pytorchs(settings: dict[str, Any]) -> None:
    """Losses, parameters and the number of evaluations agree, over several calls of ``step``."""
    import torch

    seen = []
    for library in (gpugrad, torch):
        params, loss = rosenbrock(library)
        optimizer = library.optim.LBFGS(params, **settings)
        losses = [optimizer.step(loss).item() for _ in range(6)]
        state = optimizer.state[params[0]]
        counts = [state["func_evals"], state["n_iter"]]
        seen.append(np.concatenate([losses, params[0].detach().numpy(), counts]))
    np.testing.assert_allclose(*seen, rtol=1e-9)


def test_lbfgs_reaches_the_bottom_and_resumes() -> None:
    """The valley's end in a few steps; and a saved state continues to the bit."""
    params, loss = rosenbrock(gpugrad)
    optimizer = optim.LBFGS(params, line_search_fn="strong_wolfe", max_iter=4)
    for _ in range(3):
        optimizer.step(loss)
    others, other_loss = rosenbrock(gpugrad)
    with gpugrad.no_grad():
        for mine, theirs in zip(others, params, strict=True):
            mine.copy_(theirs)
    other = optim.LBFGS(others, line_search_fn="strong_wolfe", max_iter=4)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(30):
        optimizer.step(loss)
        other.step(other_loss)
    assert loss().item() < 4.0
    assert params[0].detach().numpy().tobytes() == others[0].detach().numpy().tobytes()


def ready() -> tuple[Any, Any]:
    x = gpugrad.tensor([1.0], requires_grad=True)
    x.grad = gpugrad.tensor([1.0])
    return x, optim.SGD([x], 0.5)


def test_step_hooks_run_around_a_step() -> None:
    """In order, with the optimiser first among the arguments; a handle takes one away."""
    x, optimizer = ready()
    seen: list[str] = []
    first = optimizer.register_step_pre_hook(lambda o, a, k: seen.append(f"pre {a == (o,)}"))
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(f"post {x.item()}"))
    with optim.optimizer.register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all")):
        optimizer.step()
    assert seen == ["all", "pre True", "post 0.5"]
    first.remove()
    optimizer.step()
    assert seen[3:] == ["post 0.0"]


def test_a_pre_hook_may_change_the_arguments() -> None:
    """It gives the new ones, or nothing; anything else is refused."""
    _, optimizer = ready()
    handle = optimizer.register_step_pre_hook(lambda o, a, k: ((*a, lambda: 7), k))
    assert optimizer.step() == 7
    handle.remove()
    optimizer.register_step_pre_hook(lambda o, a, k: 3)
    with pytest.raises(ArgumentError, match="pre-hook must return"):
        optimizer.step()


def test_a_step_over_another_runs_hooks_once() -> None:
    """A subclass that calls its parent's ``step``."""

    class Logged(optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    x, _ = ready()
    optimizer, seen = Logged([x], 0.5), []
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(1))
    optimizer.step()
    assert seen == [1]
    assert x.item() == 0.5


def test_hooks_of_saving_and_loading() -> None:
    """They see the optimiser and the dict, and may put another in its place."""
    _, optimizer = ready()
    seen: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, s: s["param_groups"][0].update(lr=3.0))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    saved = optimizer.state_dict()
    assert saved["extra"] == 1
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 3.0
    assert seen == ["first", "second", "loaded"]
    assert pickle.loads(pickle.dumps(optimizer)).state_dict().keys() == {"state", "param_groups"}


def leaf(*shape: int) -> Any:
    return gpugrad.ones(*shape, requires_grad=True)


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda: optim.SparseAdam([leaf(2)]), NotSupportedError, "use Adam"),
    (lambda: optim.Muon([leaf(2)]), ShapeError, "matrices only"),
    (lambda: optim.Muon([leaf(2, 2)], adjust_lr_fn="x"), SettingError, "match_rms_adamw"),
    (lambda: optim.LBFGS([leaf(2)], line_search_fn="x"), SettingError, "strong_wolfe"),
    (lambda: optim.LBFGS([{"params": [leaf(2)]}, {"params": [leaf(2)]}]), SettingError,
     "one group"),
    (lambda: optim.LBFGS([leaf(2)]).step(), ArgumentError, "needs a closure"),
    (lambda: optim.Rprop([leaf(2)], etas=(1.5, 2)), SettingError, "etas"),
    (lambda: optim.Adadelta([leaf(2)], rho=2), SettingError, "rho"),
    (lambda: optim.Adafactor([leaf(2)], d=0.5), SettingError, "d >= 1"),
    (lambda: optim.Lion([leaf(2)], betas=(0.9, 1.0)), SettingError, "Lion: betas"),
    (lambda: optim.RMSprop([leaf(2)], capturable=True), NotSupportedError, "capturable"),
    (lambda: optim.NAdam([leaf(2)], differentiable=True), NotSupportedError, "differentiable"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(call: Any, kind: type[Exception], words: str) -> None:
    """With one clear error."""
    with pytest.raises(kind, match=words):
        call()
