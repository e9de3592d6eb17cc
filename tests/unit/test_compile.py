"""``compile`` without a compiler: the same results, said once, and PyTorch's keys."""

import copy
import subprocess
import sys
import warnings

import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """The warning has been given already."""
    monkeypatch.setattr(gg.compiler, "_told", True)


def model():
    gg.manual_seed(0)
    return gg.nn.Sequential(gg.nn.Linear(3, 4), gg.nn.Dropout(0.5), gg.nn.Linear(4, 2))


@pytest.mark.parametrize("settings", [
    {}, {"fullgraph": True, "dynamic": False}, {"mode": "max-autotune"}, {"backend": "eager"},
    {"options": {"triton.cudagraphs": True}}, {"backend": "inductor", "mode": "reduce-overhead"},
])  # fmt: skip
def test_a_module_computes_the_same(settings) -> None:
    """Values, gradients, and an optimiser that moves the module's own parameters."""
    plain, own = model(), model()
    compiled = gg.compile(own, **settings)
    assert compiled is not own
    x = gg.randn(5, 3)
    losses = []
    for net in (plain, compiled):
        gg.manual_seed(3)
        optimiser = gg.optim.SGD(net.parameters(), lr=0.1)
        loss = (net(x) ** 2).sum()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    for p, q in zip(plain.parameters(), own.parameters(), strict=True):
        assert p.tolist() == q.tolist()


def test_keys_and_attributes() -> None:
    """The state has PyTorch's prefix; anything else is the module's own."""
    own = model()
    compiled = gg.compile(own)
    assert list(compiled.state_dict()) == [f"_orig_mod.{k}" for k in own.state_dict()]
    compiled.load_state_dict({f"_orig_mod.{k}": v for k, v in model().state_dict().items()})
    assert compiled._orig_mod is own
    compiled.eval()
    assert not own.training
    assert not own[1].training
    assert not compiled.training
    compiled.train()
    assert own.training
    assert compiled.training
    compiled.note = 3
    assert own.note == compiled.note == 3
    del compiled.note
    assert not hasattr(own, "note")
    with pytest.raises(AttributeError, match=r"Sequential.*nothing_like_it"):
        _ = compiled.nothing_like_it
    assert sum(p.numel() for p in compiled.parameters()) == sum(p.numel() for p in own.parameters())


def test_a_copy_stands_alone() -> None:
    compiled = gg.compile(model())
    other = copy.deepcopy(compiled)
    with gg.no_grad():
        other._orig_mod[0].weight.zero_()
    assert compiled._orig_mod[0].weight.abs().sum() > 0
    assert other.training
    other.eval()
    assert compiled.training


def test_hooks_of_the_module_run() -> None:
    own, seen = model(), []
    own.register_forward_hook(lambda m, args, out: seen.append(m))
    gg.compile(own)(gg.ones(1, 3))
    assert seen == [own]


def test_functions() -> None:
    """Plainly, as a decorator with and without arguments, and a method."""

    def f(x):
        return x * 2

    assert gg.compile(f)(gg.ones(1)).tolist() == [2]
    assert gg.compile(mode="default")(f)(gg.ones(1)).tolist() == [2]

    @gg.compile
    def g(x):
        return x + 1

    own = model().eval()
    own.forward = gg.compile(own.forward)
    assert g(own(gg.ones(1, 3))).shape == (1, 2)
    assert gg.compile(own, disable=True) is own
    assert gg.compiler.disable(f) is f
    assert gg.compiler.disable()(f) is f
    assert not gg.compiler.is_compiling()


def test_it_is_said_once(monkeypatch) -> None:
    monkeypatch.setattr(gg.compiler, "_told", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gg.compile(abs, backend="eager")
        gg.compile(abs, disable=True)
    with pytest.warns(UserWarning, match="no compiler yet.*results are the same") as caught:
        _ = [gg.compile(abs) for _ in range(2)]
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_module_compiles_itself(monkeypatch) -> None:
    """In place: its keys stay, and what ``compile`` says is said."""
    own = model()
    assert own.compile(mode="default") is None
    assert next(iter(own.state_dict())) == "0.weight"
    with pytest.raises(SettingError, match="mode is 'fast'"):
        own.compile(mode="fast")
    monkeypatch.setattr(gg.compiler, "_told", False)
    with pytest.warns(UserWarning, match="no compiler yet"):
        own.compile()


def test_what_is_refused() -> None:
    with pytest.raises(SettingError, match="mode is 'fast'; accepted: 'default', "):
        gg.compile(abs, mode="fast")
    with pytest.raises(SettingError, match="backend is 'xla'; accepted: 'eager', 'inductor'"):
        gg.compile(backend="xla")
    with pytest.raises(SettingError, match="either mode or options"):
        gg.compile(abs, mode="default", options={})
    with pytest.raises(NotSupportedError, match="traced graph"):
        gg.compile(abs, backend=lambda graph, inputs: graph)
    with pytest.raises(ArgumentError, match="got int"):
        gg.compile(3)
    assert set(gg.compiler.list_backends(())) >= set(gg.compiler.list_backends())


def test_it_costs_nothing_before_it_is_used() -> None:
    code = "import gpugrad, sys; print(any(m in sys.modules for m in ('gpugrad.compiler', 'gpugrad.nn', 'gpugrad.distributions', 'gpugrad.func')))"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
