"""Where tensors go and how they are laid out when the call does not say; PyTorch's small types."""

import pickle
import threading
from typing import Any

import pytest

import gpugrad as gg
from gpugrad import nn, types, version
from gpugrad.errors import ArgumentError, DeviceError, NotSupportedError, SettingError
from gpugrad.nn.modules.utils import (
    _pair,
    _reverse_repeat_tuple,
    consume_prefix_in_state_dict_if_present,
)
from gpugrad.utils.checkpoint import CheckpointError, checkpoint

MAKERS = {
    "zeros": lambda: gg.zeros(2),
    "full": lambda: gg.full((2,), 1.5),
    "tensor": lambda: gg.tensor([1.0]),
    "tensor of a tensor": lambda: gg.tensor(gg.zeros(2, device="cpu")),
    "as_tensor": lambda: gg.as_tensor(gg.zeros(2, device="cpu")),
    "asarray": lambda: gg.asarray(gg.zeros(2, device="cpu")),
    "arange": lambda: gg.arange(3),
    "eye": lambda: gg.eye(2),
    "randn": lambda: gg.randn(2),
    "randperm": lambda: gg.randperm(3),
    "layer": lambda: nn.Linear(2, 2).weight,
    "buffer": lambda: nn.BatchNorm1d(2).running_mean,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_makers_follow_the_default_device(make: Any) -> None:
    """Without ``device`` they follow ``with device``, and stop with it."""
    with gg.device("meta") as here:
        assert make().device == here == gg.get_default_device()
        with gg.device("cpu"):
            assert make().device.type == "cpu"
        assert make().is_meta
    assert make().device.type == "cpu"


def test_what_has_a_place_of_its_own_keeps_it() -> None:
    """``*_like``, ``new_*``, ops, and an explicit ``device``, even where the default is another."""
    with gg.device("cpu"):
        x = gg.zeros(2)
    with gg.device("meta"):
        for made in (gg.zeros_like(x), gg.rand_like(x), x.new_tensor([1.0]), x + 1, x.cumsum(0)):
            assert made.device.type == "cpu"
        assert gg.zeros(2, device="cpu").device.type == "cpu"


def test_a_default_device_is_its_threads_own_and_ends_with_an_error() -> None:
    """Another thread sees the CPU; an exception puts the outer device back; None means the CPU."""
    gg.set_default_device("meta")
    try:
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(gg.zeros(1).device))
        thread.start()
        thread.join()
        assert seen == [gg.device("cpu")]
        with pytest.raises(ZeroDivisionError), gg.device("cpu"):
            raise ZeroDivisionError
        assert gg.zeros(1).is_meta
        assert "device='meta'" in repr(gg.zeros(1))
    finally:
        gg.set_default_device(None)
    assert gg.get_default_device() == gg.device("cpu")


def test_layers_and_makers_follow_the_default_dtype() -> None:
    """``set_default_dtype`` reaches parameters, buffers, draws and literals."""
    gg.set_default_dtype(gg.float64)
    try:
        made = [nn.Linear(1, 1).weight, nn.BatchNorm1d(1).running_var, gg.randn(1), gg.tensor(1.0),
                gg.linspace(0, 1, 2), gg.eye(1), gg.Tensor(1)]  # fmt: skip
        assert {t.dtype for t in made} == {gg.float64}
    finally:
        gg.set_default_dtype(gg.float32)


DRAWS = {
    "rand": gg.rand_like,
    "randn": gg.randn_like,
    "randint": lambda x, **k: gg.randint_like(x, 9, **k),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_draws_take_the_order_of_the_input_or_the_format_asked_for(draw: Any) -> None:
    """Strides are the input's under ``preserve_format``; the numbers do not depend on them."""
    x = gg.zeros(2, 3, 4, 5).contiguous(memory_format=gg.channels_last)
    gg.manual_seed(0)
    kept = draw(x)
    gg.manual_seed(0)
    plain = draw(x, memory_format=gg.contiguous_format)
    assert kept.stride() == x.stride() != plain.stride()
    assert plain.is_contiguous()
    assert bool((kept == plain).all())
    with pytest.raises(NotSupportedError):
        draw(x, layout="sparse")
    with pytest.raises(SettingError):
        draw(gg.zeros(2), memory_format=gg.channels_last)


def test_draws_take_size_by_name_and_a_generator() -> None:
    """As PyTorch's do."""
    g = gg.Generator().manual_seed(3)
    first = gg.rand(size=(2, 3), generator=g)
    assert bool((first == gg.rand_like(first, generator=g.manual_seed(3))).all())
    with pytest.raises(ArgumentError, match="size"):
        gg.randn("a")


@pytest.mark.parametrize("make", [gg.zeros, gg.randn, gg.arange])
def test_pinned_memory_needs_a_gpu(make: Any) -> None:
    """``pin_memory=True`` is not passed over in silence."""
    if gg.cuda.is_available():
        assert make(3, pin_memory=True).is_pinned()
    else:
        with pytest.raises(DeviceError):
            make(3, pin_memory=True)


def test_forked_generators_continue_as_if_nothing_was_drawn() -> None:
    """For listed devices and the CPU; ``enabled=False`` and meta leave them alone."""
    gg.manual_seed(1)
    after = gg.random.get_rng_states()
    for settings in ({}, {"devices": []}, {"device_type": "cuda"}):
        with gg.random.fork_rng(**settings):
            gg.rand(2)
        assert gg.random.get_rng_states() == after
    for settings in ({"enabled": False}, {"device_type": "meta"}):
        with gg.random.fork_rng(**settings):
            gg.rand(2)
        assert gg.random.get_rng_states() != after
        gg.manual_seed(1)


def test_checkpoint_keeps_its_own_arguments_from_the_function() -> None:
    """None reaches the function; contexts surround the runs; the second one ends early."""
    events: list[str] = []

    class Around:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            events.append(self.name)

        def __exit__(self, *exc: object) -> None:
            events.append("end " + self.name)

    def f(x: Any, **kwargs: Any) -> Any:
        y = x.exp()
        events.append(f"f {kwargs}")
        return y

    for early in (True, False):
        events.clear()
        x = gg.ones(2, requires_grad=True)
        y = checkpoint(f, x, context_fn=lambda: (Around("a"), Around("b")), early_stop=early,
                       determinism_check="none", debug=True, k=1)  # fmt: skip
        y.sum().backward()
        again = [] if early else ["f {'k': 1}"]
        assert events == ["a", "f {'k': 1}", "end a", "b", *again, "end b"]
        assert x.grad.allclose(x.exp())


def test_checkpoint_names_the_ops_of_two_runs_that_differ() -> None:
    """``debug`` lists them; ``determinism_check`` and its neighbours are checked."""
    runs: list[int] = []

    def f(x: Any) -> Any:
        runs.append(1)
        return x.exp() if len(runs) == 1 else x[:1].exp().sum() + x.sin().sum()

    y = checkpoint(f, gg.ones(2, requires_grad=True), debug=True)
    with pytest.raises(CheckpointError, match=r"exp\(\(2,\)\)(.|\n)*replay(.|\n)*view_index"):
        y.sum().backward()
    with pytest.raises(SettingError, match="determinism_check"):
        checkpoint(f, gg.ones(2), determinism_check="all")
    with pytest.raises(SettingError, match="use_reentrant"):
        checkpoint(f, gg.ones(2), use_reentrant=True, debug=True)


def test_small_types_and_helpers() -> None:
    """Sizes stay sizes; layouts and formats have a class; `_pair` and its like."""
    size = gg.zeros(2, 3).shape
    for made in (size[:1], size + (1,), (1,) + size, size * 2):  # noqa: RUF005 - what is tested
        assert type(made) is gg.Size
    assert type(size[0]) is int
    assert isinstance(gg.strided, gg.layout)
    assert isinstance(gg.channels_last, gg.memory_format)
    assert isinstance(True, types.Number)
    assert _pair(3) == (3, 3)
    assert _pair([1, 2]) == (1, 2)
    assert _reverse_repeat_tuple((1, 2), 2) == (2, 2, 1, 1)
    assert version.hip is None
    assert (version.cuda is None) is not gg.cuda.is_available()
    assert version.__version__ == gg.__version__
    state = nn.DataParallel(nn.Linear(1, 1)).state_dict()
    consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == ["weight", "bias"]
    nn.Linear(1, 1).load_state_dict(state)


def test_layers_of_one_family_share_pytorchs_base_and_no_other() -> None:
    """``isinstance`` tells the families apart as PyTorch does."""
    assert isinstance(nn.ConvTranspose1d(1, 1, 1), nn.modules.conv._ConvNd)
    assert isinstance(nn.Dropout2d(), nn.modules.dropout._DropoutNd)
    assert not isinstance(nn.Dropout2d(), nn.Dropout)
    assert not isinstance(nn.AvgPool3d(2), nn.AvgPool2d)
    assert not isinstance(nn.ReflectionPad2d(1), nn.ZeroPad2d)
    assert nn.modules.normalization.LayerNorm is nn.LayerNorm
    assert nn.modules.activation.MultiheadAttention is nn.MultiheadAttention


@pytest.mark.parametrize("dtype", [gg.float32, gg.bfloat16])
def test_pickled_tensors_keep_class_values_and_leafhood(dtype: gg.dtype) -> None:
    """As values on the CPU; a recorded result is refused."""
    p = nn.Parameter(gg.ones(2, dtype=dtype), requires_grad=False)
    q = pickle.loads(pickle.dumps(p))
    assert (type(q), q.dtype, q.requires_grad, q.tolist()) == (nn.Parameter, dtype, False, [1, 1])
    with pytest.raises(RuntimeError, match="leaf"):
        pickle.dumps(gg.ones(1, requires_grad=True) * 2)
