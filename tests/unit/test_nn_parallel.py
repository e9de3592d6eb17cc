"""``DataParallel`` without CUDA, and what is refused when made: process groups, lazy layers."""

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


@pytest.mark.skipif(gg.cuda.is_available(), reason="a CUDA device is here")
def test_data_parallel_as_a_function() -> None:
    own = gg.nn.Linear(2, 3)
    x = gg.randn(4, 2)
    assert gg.nn.parallel.data_parallel(own, x).tolist() == own(x).tolist()
    twice = gg.nn.parallel.data_parallel(own, (x,), range(2), module_kwargs=None)
    assert twice.tolist() == own(x).tolist()
    assert gg.nn.parallel.data_parallel(gg.nn.Bilinear(2, 2, 1), (x, x)).shape == (4, 1)


def test_programs_for_several_processes_import_and_are_told_there_is_one() -> None:
    from gpugrad import distributed as dist
    from gpugrad.nn.parallel import DistributedDataParallel

    assert gg.distributed is dist
    assert not dist.is_available()
    assert not dist.is_initialized()
    model = gg.nn.Linear(2, 3)
    assert not isinstance(model, DistributedDataParallel)
    with pytest.raises(NotSupportedError, match=r"^DistributedDataParallel: .* no process groups"):
        DistributedDataParallel(model, device_ids=[0])
    with pytest.raises(NotSupportedError, match=r"^init_process_group: .* one process"):
        dist.init_process_group(backend="nccl")
    for name in ("get_rank", "get_world_size", "barrier", "destroy_process_group"):
        with pytest.raises(ValueError, match=rf"^{name}: Default process group has not been init"):
            getattr(dist, name)()
    with pytest.raises(ValueError, match=r"^all_reduce: "):
        dist.all_reduce(gg.ones(2))


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_layer_names_the_plain_one(name: str) -> None:
    plain = name.removeprefix("Lazy")
    with pytest.raises(NotSupportedError, match=rf"^{name}: .* use nn\.{plain} with its \w+$"):
        getattr(gg.nn, name)(4, 3)
    assert issubclass(getattr(gg.nn, name), getattr(gg.nn, plain))
