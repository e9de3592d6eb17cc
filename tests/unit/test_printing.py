"""`repr` is PyTorch's, character for character but for the package's name."""

import numpy as np
import pytest

import gpugrad
from gpugrad.config import PrintOptions, config
from gpugrad.dtypes import DType


@pytest.fixture(autouse=True)
def _printing():
    yield
    config.printing = PrintOptions()


@pytest.fixture
def as_torch(monkeypatch):
    """The same words of the same length, so that lines break at the same places."""
    monkeypatch.setattr(DType, "__repr__", lambda self: f"torch.{self.name}")


def test_scalars_and_rows():
    assert repr(gpugrad.tensor(1.5)) == "tensor(1.5000)"
    assert repr(gpugrad.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    assert repr(gpugrad.tensor([True, False])) == "tensor([ True, False])"
    assert repr(gpugrad.tensor([1e-5, 1.0])) == "tensor([1.0000e-05, 1.0000e+00])"


def test_suffixes():
    assert repr(gpugrad.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert repr(gpugrad.zeros(2, 3, device="meta")) == "tensor(..., device='meta', size=(2, 3))"
    x = gpugrad.tensor([1.0], requires_grad=True)
    assert repr(x) == "tensor([1.], requires_grad=True)"
    assert repr(x + x) == "tensor([2.], grad_fn=<AddBackward0>)"
    assert repr(gpugrad.zeros(1, dtype=gpugrad.int32)) == "tensor([0], dtype=gpugrad.int32)"


def test_unknown_profile_is_refused():
    with pytest.raises(gpugrad.errors.SettingError, match="profile"):
        gpugrad.set_printoptions(profile="tiny")


def _cases(seed):
    """Arrays of every dtype, layout, size and range, with odd values mixed in."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(0, 5, rng.integers(0, 5)))
    if seed % 7 == 0:
        shape = (int(rng.integers(1001, 1200)),)
    if seed % 11 == 0:
        shape = (30, 7, 8)
    kind = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"][seed % 7]
    x = rng.normal(size=shape) * 10.0 ** rng.integers(-6, 9)
    if kind in ("int64", "int32", "uint8"):
        high = 200 if kind == "uint8" else 10 ** rng.integers(1, 7)
        return rng.integers(0, high, shape).astype(kind)
    if kind == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    x = np.asarray(np.round(x) if seed % 3 == 0 else x)
    if x.size and seed % 4 == 0:
        for value in (np.nan, np.inf, -np.inf, 0.0, -0.0):
            if rng.random() < 0.5:
                x.reshape(-1)[rng.integers(x.size)] = value
    with np.errstate(over="ignore"):
        return x.astype(kind)


@pytest.mark.torch
@pytest.mark.parametrize("profile", ["default", "short", "full"])
@pytest.mark.parametrize("seed", range(60))
def test_as_pytorch_prints_it(as_torch, seed, profile):
    import torch

    array = _cases(seed)
    wanted, found = torch.tensor(array), gpugrad.tensor(array)
    if profile == "full" and array.size > 500:
        pytest.skip("long")
    torch.set_printoptions(profile=profile)
    gpugrad.set_printoptions(profile=profile)
    try:
        assert repr(found) == repr(wanted)
    finally:
        torch.set_printoptions(profile="default")


@pytest.mark.torch
@pytest.mark.parametrize("options", [
    {"precision": 2}, {"sci_mode": True}, {"sci_mode": False}, {"linewidth": 40},
    {"edgeitems": 1, "threshold": 5}, {"edgeitems": 0, "threshold": 5}, {"linewidth": 20},
])  # fmt: skip
def test_options_as_in_pytorch(as_torch, options):
    import torch

    torch.set_printoptions(**options)
    gpugrad.set_printoptions(**options)
    try:
        for seed in range(30):
            array = _cases(seed)
            assert repr(gpugrad.tensor(array)) == repr(torch.tensor(array)), seed
    finally:
        torch.set_printoptions(profile="default")
