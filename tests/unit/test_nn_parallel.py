"""``DataParallel`` without CUDA, and the layers that are refused when made."""

import pytest

import gpugrad as gg
from gpugrad.errors import NotSupportedError
from gpugrad.nn.lazy import LAZY


@pytest.mark.skipif(gg.cuda.is_available(), reason="a CUDA device is here")
def test_without_devices_it_is_the_module() -> None:
    own = gg.nn.Linear(2, 3)
    model = gg.nn.DataParallel(own, device_ids=[0, 1])
    x = gg.randn(4, 2)
    assert model(x).tolist() == own(x).tolist()
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    assert model.device_ids == []
    model.eval()
    assert not own.training
    assert gg.nn.parallel.DataParallel is gg.nn.DataParallel


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_layer_names_the_plain_one(name: str) -> None:
    plain = name.removeprefix("Lazy")
    with pytest.raises(NotSupportedError, match=rf"^{name}: .* use nn\.{plain} with its \w+$"):
        getattr(gg.nn, name)(4, 3)
    assert issubclass(getattr(gg.nn, name), getattr(gg.nn, plain))
