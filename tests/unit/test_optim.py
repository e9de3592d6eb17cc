"""Optimisers: PyTorch's trajectory, groups, saving and loading, and what is refused."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gpugrad
from gpugrad import optim
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    NotSupportedError,
    SettingError,
)

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1,
                "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.02, "centered": True, "eps": 1e-2, "maximize": True}),
    ("RMSprop", {"lr": 0.02, "centered": True, "eps": 1e-2, "momentum": 0.5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3,
                 "weight_decay": 0.1, "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "alpha": 0.5, "t0": 20, "weight_decay": 0.1,
              "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.5), "maximize": True}),
    ("Muon", {}),
    ("Muon", {"lr": 0.05, "momentum": 0.5, "nesterov": False, "ns_steps": 3, "eps": 1e-3,
              "adjust_lr_fn": "match_rms_adamw"}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-4, 0.1), "d": 2.0,
                   "weight_decay": 0.1, "maximize": True}),
]  # fmt: skip

#: Its directions are rounded to bfloat16, which turns the last bit of a sum into a step of 0.4 %.
ROUGH = {"Muon": 2e-3}


def start(dtype: str = "float64") -> list[np.ndarray]:
    """Two parameters: a matrix and a 0-d one."""
    rng = np.random.default_rng(1)
    return [rng.normal(size=(3, 4)).astype(dtype), np.array(rng.normal(), dtype)]


def gradient(value: np.ndarray, step: int) -> np.ndarray:
    """Some gradient that depends on where the parameter is, and for the 0-d one is often absent."""
    return np.cos(value * (1 + step % 7)).astype(value.dtype)


def walk(library: Any, name: str, settings: dict[str, Any], dtype: str, steps: int) -> list[Any]:
    """The parameters after some steps with either library."""
    given = [a for a in start(dtype) if a.ndim == 2 or name != "Muon"]
    params = [library.from_numpy(a.copy()).requires_grad_() for a in given]
    optimizer = getattr(library.optim, name)(params, **settings)
    for step in range(steps):
        optimizer.zero_grad()
        for i, p in enumerate(params):
            if i == 0 or step % 3:
                p.grad = library.from_numpy(np.asarray(gradient(p.detach().numpy(), step)))
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.torch
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_hundred_steps_are_pytorchs(
    name: str, settings: dict[str, Any], dtype: str, tolerance: float
) -> None:
    """Both libraries are at the same place after a hundred steps, missing gradients included."""
    import torch

    tolerance = max(tolerance, ROUGH.get(name, 0))
    ours = walk(gpugrad, name, settings, dtype, 100)
    # PyTorch rounds the running numbers of NAdam and ASGD to its default dtype.
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        theirs = walk(torch, name, settings, dtype, 100)
    finally:
        torch.set_default_dtype(before)
    for mine, other, began in zip(ours, theirs, start(dtype), strict=False):
        assert mine.dtype == other.dtype
        assert not np.allclose(mine, began)
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_a_state_from_pytorch_continues(name: str, settings: dict[str, Any]) -> None:
    """State dicts have PyTorch's keys, and one of PyTorch's is taken up where it was left."""
    import torch

    value = start()[0]
    theirs = torch.from_numpy(value.copy()).requires_grad_()
    other = getattr(torch.optim, name)([theirs], **settings)

    def steps(library: Any, x: Any, optimizer: Any, begin: int) -> None:
        for step in range(begin, begin + 5):
            x.grad = library.from_numpy(gradient(x.detach().numpy(), step))
            optimizer.step()

    def convert(v: Any) -> Any:
        if isinstance(v, dict):
            return {k: convert(w) for k, w in v.items()}
        return gpugrad.from_numpy(v.numpy().copy()) if isinstance(v, torch.Tensor) else v

    steps(torch, theirs, other, 0)
    mine = gpugrad.from_numpy(theirs.detach().numpy().copy()).requires_grad_()
    optimizer = getattr(optim, name)([mine], **settings)
    saved = convert(other.state_dict())
    optimizer.load_state_dict(saved)
    steps(torch, theirs, other, 5)
    steps(gpugrad, mine, optimizer, 5)
    keys = set(saved["state"].get(0, ())) - {"step" if name in ("SGD", "Muon") else ""}
    assert set(optimizer.state_dict()["state"].get(0, ())) - {"momentum_buffer"} == keys - {
        "momentum_buffer"
    }
    tolerance = 2e-3 if name == "Muon" else 1e-6
    np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=tolerance)


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted({*dict(CASES), "LBFGS", "SparseAdam"}))
def test_arguments_are_pytorchs(name: str) -> None:
    """Names, order, kinds and defaults of the arguments are those of PyTorch."""
    import inspect

    import torch

    mine, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(c).parameters.values()]
        for c in (getattr(optim, name), getattr(torch.optim, name))
    )
    assert mine == theirs


def quadratic(optimizer_of: Any, steps: int) -> tuple[Any, Any]:
    """Minimise a bowl with the real tape."""
    x = gpugrad.tensor([3.0, -2.0], requires_grad=True)
    optimizer = optimizer_of([x])
    for _ in range(steps):
        optimizer.zero_grad()
        ((x - 1) ** 2).sum().backward()
        optimizer.step()
    return x, optimizer


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.1),
        lambda p: optim.SGD(p, 0.05, momentum=0.9),
        lambda p: optim.Adam(p, 0.2),
        lambda p: optim.AdamW(p, 0.2, weight_decay=0),
    ],
)
def test_a_bowl_is_descended(make: Any) -> None:
    """Each reaches the bottom of a quadratic, through backward."""
    x, _ = quadratic(make, 300)
    np.testing.assert_allclose(x.detach().numpy(), [1.0, 1.0], atol=1e-2)


def test_a_step_writes_in_place_and_is_counted() -> None:
    """The memory stays, the version rises, and a graph that needs the old values says so."""
    x = gpugrad.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    memory, version = x.data_ptr(), x._version
    optim.SGD([x], 0.5).step()
    assert x.data_ptr() == memory
    assert x._version == version + 1
    assert x.is_leaf
    np.testing.assert_array_equal(x.detach().numpy(), [0.0, 0.0])
    with pytest.raises(AutogradError, match="modified by an in-place operation"):
        y.backward()


def test_a_parameter_without_gradient_is_left_alone() -> None:
    """Neither moved nor given state."""
    x, y = (gpugrad.tensor([1.0], requires_grad=True) for _ in range(2))
    x.grad = gpugrad.tensor([1.0])
    optimizer = optim.Adam([x, y])
    optimizer.step()
    assert y.item() == 1.0
    assert list(optimizer.state) == [x]


def test_zero_grad_forgets_or_zeroes() -> None:
    """By default gradients are gone; with False they are zeros in the same memory."""
    x = gpugrad.tensor([1.0], requires_grad=True)
    x.grad = kept = gpugrad.tensor([5.0])
    optimizer = optim.SGD([x])
    optimizer.zero_grad(set_to_none=False)
    assert x.grad is kept
    assert kept.item() == 0.0
    optimizer.zero_grad()
    assert x.grad is None


def test_groups_have_settings_of_their_own() -> None:
    """A group's setting wins over the default; a group can be added later."""
    a, b, c = (gpugrad.tensor([1.0], requires_grad=True) for _ in range(3))
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.25)
    optimizer.add_param_group({"params": [c], "lr": 1.0})
    for p in (a, b, c):
        p.grad = gpugrad.tensor([1.0])
    optimizer.step()
    assert [p.item() for p in (a, b, c)] == [0.75, 0.5, 0.0]
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 0.5, 1.0]


def test_named_parameters_keep_their_names() -> None:
    """As from ``named_parameters()``."""
    x = gpugrad.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([("layer.weight", x)])
    assert optimizer.param_groups[0]["params"] == [x]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["layer.weight"]


def test_a_closure_is_run_with_recording_on() -> None:
    """Its loss is returned, and gradients flow although the step itself is not recorded."""
    x = gpugrad.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([x], 0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    with gpugrad.no_grad():
        assert optimizer.step(closure).item() == 1.0
    np.testing.assert_allclose(x.item(), 0.8, rtol=1e-6)


@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy"])
def test_a_saved_optimizer_continues_as_if_nothing_happened(how: str) -> None:
    """Ten steps are five, a round trip, and five more; to the bit."""

    def steps(x: Any, optimizer: Any, n: int) -> None:
        for _ in range(n):
            optimizer.zero_grad()
            (x**4).sum().backward()
            optimizer.step()

    def fresh() -> tuple[Any, Any]:
        x = gpugrad.tensor([1.5, -0.5], requires_grad=True)
        return x, optim.AdamW([x], 0.05, amsgrad=True)

    whole, optimizer = fresh()
    steps(whole, optimizer, 10)
    x, first = fresh()
    steps(x, first, 5)
    if how == "state_dict":
        y, second = fresh()
        with gpugrad.no_grad():
            y.copy_(x)
        saved = first.state_dict()
        second.load_state_dict(copy.deepcopy(saved))
        assert second.state[y]["exp_avg"] is not saved["state"][0]["exp_avg"]
    else:
        second = pickle.loads(pickle.dumps(first)) if how == "pickle" else copy.deepcopy(first)
        (y,) = second.param_groups[0]["params"]
    steps(y, second, 5)
    assert y.detach().numpy().tobytes() == whole.detach().numpy().tobytes()
    assert second.state[y]["step"] == 10


def test_state_follows_its_parameters_dtype() -> None:
    """What is remembered of float32 parameters can be loaded for float64 ones."""
    x, optimizer = quadratic(lambda p: optim.Adam(p), 2)
    y = x.detach().to(gpugrad.float64).requires_grad_()
    other = optim.Adam([y])
    other.load_state_dict(optimizer.state_dict())
    assert other.state[y]["exp_avg"].dtype is gpugrad.float64
    assert optimizer.state[x]["exp_avg"].dtype is gpugrad.float32


def test_a_new_optimizer_is_one_short_class() -> None:
    """A subclass says in ``_update`` which record to run; one for PyTorch overrides ``step``."""

    class Halving(optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.5})

        def _update(self, param: Any, grad: Any, state: Any, group: Any) -> None:
            self._run("sgd_step", param, grad, state, lr=group["lr"])

    x = gpugrad.tensor([1.0], requires_grad=True)
    x.grad = gpugrad.tensor([1.0])
    Halving([x]).step()
    assert x.item() == 0.5


def leaf() -> Any:
    """A parameter."""
    return gpugrad.tensor([1.0], requires_grad=True)


REFUSED = {
    "a tensor": (lambda: optim.SGD(leaf()), ArgumentError, "iterable of tensors"),
    "a set": (lambda: optim.SGD({leaf()}), ArgumentError, "use a list"),
    "nothing": (lambda: optim.SGD([]), SettingError, "nothing to optimise"),
    "a number": (lambda: optim.SGD([1.0]), ArgumentError, "got float"),
    "a result": (lambda: optim.SGD([leaf() * 2]), SettingError, "not a leaf"),
    "a dict among tensors": (lambda: optim.SGD([{"params": [leaf()]}, leaf()]), ArgumentError,
                             "a group is a dict"),
    "twice": (lambda: optim.SGD([x := leaf(), x]), SettingError, "listed twice"),
    "in two groups": (lambda: optim.SGD([{"params": [x := leaf()]}, {"params": [x]}]),
                      SettingError, "listed twice"),
    "some names": (lambda: optim.SGD([("a", leaf()), leaf()]), SettingError, "names"),
    "negative lr": (lambda: optim.SGD([leaf()], -1), SettingError, "lr must be at least 0"),
    "nan lr": (lambda: optim.Adam([leaf()], float("nan")), SettingError, "got nan"),
    "beta 1": (lambda: optim.Adam([leaf()], betas=(0.9, 1.0)), SettingError, "betas"),
    "negative eps": (lambda: optim.AdamW([leaf()], eps=-1e-8), SettingError, "AdamW: eps"),
    "nesterov alone": (lambda: optim.SGD([leaf()], nesterov=True), SettingError, "nesterov"),
    "capturable": (lambda: optim.Adam([leaf()], capturable=True), NotSupportedError, "capturable"),
    "differentiable": (lambda: optim.SGD([leaf()], differentiable=True), NotSupportedError,
                       "differentiable"),
    "foreach and fused": (lambda: optim.SGD([leaf()], foreach=True, fused=True), SettingError,
                          "foreach and fused"),
    "required": (lambda: optim.Optimizer([leaf()], {"lr": optim.optimizer.required}),
                 SettingError, "does not say its 'lr'"),
    "other groups": (lambda: optim.SGD([leaf()]).load_state_dict(
        optim.SGD([leaf(), leaf()]).state_dict()), SettingError, r"\[2\] parameters"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(call: Any, kind: type[Exception], words: str) -> None:
    """With one clear error."""
    with pytest.raises(kind, match=words):
        call()
