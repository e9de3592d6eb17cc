"""Recurrent layers and cells against PyTorch in float64: values, first and second gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import nn
from gpugrad.nn.utils.rnn import PackedSequence, pack_sequence

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

rng = np.random.default_rng(3)
LAYERS: list[tuple[str, dict[str, Any]]] = [
    *((name, kw) for name in ("RNN", "GRU", "LSTM") for kw in (
        {}, {"bias": False}, {"num_layers": 2, "bidirectional": True},
        {"batch_first": True, "num_layers": 2},
    )),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2}),
    ("LSTM", {"proj_size": 3}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "batch_first": True}),
]  # fmt: skip
CELLS: list[tuple[str, dict[str, Any]]] = [
    *((name, kw) for name in ("RNNCell", "GRUCell", "LSTMCell") for kw in ({}, {"bias": False})),
    ("RNNCell", {"nonlinearity": "relu"}),
]


def pair(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """A PyTorch module and ours with the same weights, in float64."""
    theirs = getattr(torch.nn, name)(*args, **kwargs).double()
    ours = getattr(nn, name)(*args, **kwargs).double()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert repr(theirs) == repr(ours)
    ours.load_state_dict({k: gg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return theirs, ours


def flat(value: Any) -> list[Any]:
    if isinstance(value, (PackedSequence, torch.nn.utils.rnn.PackedSequence)):
        return [value.data]
    return [x for v in value for x in flat(v)] if isinstance(value, (tuple, list)) else [value]


def gradients(lib: Any, outs: list[Any], inputs: list[Any], seed: int) -> list[list[Any]]:
    """Values, and gradients of a random projection of them, and of one of those."""
    draw = np.random.default_rng(seed)
    found = [outs]
    for _ in range(2):
        total = sum((o * lib.tensor(draw.normal(size=tuple(o.shape)))).sum() for o in found[-1])
        grads = lib.autograd.grad(total, inputs, create_graph=True, allow_unused=True)
        found.append([lib.zeros_like(i) if g is None else g for i, g in zip(inputs, grads)])
    return found


def same(a: Any, b: Any) -> bool:
    return bool(np.allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12))


def compare(theirs: Any, ours: Any, call: Any, arrays: list[Any]) -> None:
    """``call(lib, module, tensors)`` gives the same with both, to the second derivative."""
    results = []
    for lib, module in ((torch, theirs), (gg, ours)):
        tensors = [lib.tensor(a, requires_grad=True) for a in arrays]
        outs = flat(call(lib, module, tensors))
        results.append(gradients(lib, outs, [*tensors, *module.parameters()], 5))
    for expected, got in zip(*results, strict=True):
        assert len(expected) == len(got)
        for e, g in zip(expected, got, strict=True):
            np.testing.assert_allclose(g.detach().numpy(), e.detach().numpy(), atol=1e-9)


def states(module: Any, *batch: int) -> list[Any]:
    """Initial states for a layer."""
    lead = module.num_layers * (1 + module.bidirectional)
    widths = [module.proj_size or 5] + [5] * (module.mode == "LSTM")
    return [rng.normal(size=(lead, *batch, w)) for w in widths]


def run(module: Any, x: Any, hx: list[Any]) -> Any:
    """Call with the states that there are."""
    return module(x, tuple(hx) if len(hx) == 2 else hx[0]) if hx else module(x)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("name", "kwargs"), LAYERS)
def test_layers(name: str, kwargs: dict[str, Any], given: bool) -> None:
    """Batched and unbatched, with initial states and without."""
    theirs, ours = pair(name, 4, 5, **kwargs)
    for shape in ((3, 2, 4), (6, 4)):
        batch = (shape[0 if ours.batch_first else 1],) if len(shape) == 3 else ()
        hx = states(ours, *batch) if given else []
        compare(theirs, ours, lambda _, m, t: run(m, t[0], t[1:]), [rng.normal(size=shape), *hx])


@pytest.mark.parametrize("lengths", [(4, 2, 2, 1), (2, 1, 4, 2), (3, 3, 3)])
@pytest.mark.parametrize(("name", "kwargs"), LAYERS)
def test_packed(name: str, kwargs: dict[str, Any], lengths: tuple[int, ...]) -> None:
    """Sequences of several lengths, sorted and not; results come back in the caller's order."""
    theirs, ours = pair(name, 4, 5, **kwargs)
    n = len(lengths)
    ordered = list(lengths) == sorted(lengths, reverse=True)

    def call(lib: Any, module: Any, tensors: list[Any]) -> Any:
        pack = torch.nn.utils.rnn.pack_sequence if lib is torch else pack_sequence
        return run(module, pack(tensors[:n], enforce_sorted=ordered), tensors[n:])

    sequences = [rng.normal(size=(k, 4)) for k in lengths]
    compare(theirs, ours, call, sequences)
    compare(theirs, ours, call, [*sequences, *states(ours, n)])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("name", "kwargs"), CELLS)
def test_cells(name: str, kwargs: dict[str, Any], given: bool) -> None:
    """One step, batched and unbatched."""
    theirs, ours = pair(name, 4, 5, **kwargs)
    for batch in ((2,), ()):
        hx = [rng.normal(size=(*batch, 5)) for _ in range(1 + (name == "LSTMCell"))]
        arrays = [rng.normal(size=(*batch, 4)), *(hx if given else [])]
        compare(theirs, ours, lambda _, m, t: run(m, t[0], t[1:]), arrays)


def test_a_cell_is_a_step_of_the_layer() -> None:
    """An LSTM unrolled by hand."""
    layer, cell = nn.LSTM(4, 5).double(), nn.LSTMCell(4, 5).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, state = gg.tensor(rng.normal(size=(3, 2, 4))), None
    expected, (h, c) = layer(x)
    for step, out in zip(x, expected, strict=True):
        state = cell(step, state)
        assert same(state[0], out)
    assert same(state[0], h[0])
    assert same(state[1], c[0])


def test_dropout_acts_between_layers_in_training_only() -> None:
    """And never on the last layer's output."""
    with pytest.warns(UserWarning, match="no effect"):
        nn.GRU(4, 5, dropout=0.5)
    layer, x = nn.GRU(4, 5, num_layers=2, dropout=1.0), gg.randn(3, 2, 4)
    alone = nn.GRU(5, 5)
    alone.load_state_dict({f"{k[:-1]}0": v for k, v in layer.state_dict().items() if k[-1] == "1"})
    assert same(layer(x)[0], alone(gg.zeros(3, 2, 5))[0])
    assert same(layer.eval()(x)[0], layer(x)[0])


def test_final_states_are_memory_of_their_own() -> None:
    """Writing to a final state leaves the output alone."""
    out, h = nn.RNN(4, 5)(gg.randn(3, 2, 4))
    before = out.detach().clone()
    h.detach().zero_()
    assert same(out, before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.LSTM(4, 5)(gg.zeros(3, 2, 7)), gg.errors.ShapeError, r"4\).*\(3, 2, 7\)"),
        (lambda: nn.GRU(4, 5)(gg.zeros(4)), gg.errors.ShapeError, "PackedSequence"),
        (lambda: nn.GRU(4, 5)(gg.zeros(0, 2, 4)), gg.errors.ShapeError, "no steps"),
        (lambda: nn.GRU(4, 5)(gg.zeros(3, 2, 4), gg.zeros(1, 3, 5)), gg.errors.ShapeError,
         r"\(1, 2, 5\).*\(1, 3, 5\)"),
        (lambda: nn.LSTM(4, 5)(gg.zeros(3, 2, 4), gg.zeros(1, 2, 5)), gg.errors.ArgumentError,
         "pair"),
        (lambda: nn.RNN(4, 0), gg.errors.SettingError, "hidden_size"),
        (lambda: nn.RNN(4, 5, nonlinearity="gelu"), gg.errors.SettingError, "relu"),
        (lambda: nn.LSTM(4, 5, proj_size=5), gg.errors.SettingError, "proj_size"),
        (lambda: nn.LSTM(4, 5, dropout=2, num_layers=2), gg.errors.SettingError, "dropout"),
        (lambda: nn.LSTM(4.0, 5), gg.errors.ArgumentError, "input_size"),
        (lambda: nn.LSTMCell(4, 5)(gg.zeros(2, 3)), gg.errors.ShapeError, r"\(N, 4\)"),
        (lambda: nn.GRUCell(4, 5)(gg.zeros(2, 4), gg.zeros(3, 5)), gg.errors.ShapeError,
         r"\(2, 5\).*\(3, 5\)"),
    ],
)  # fmt: skip
def test_bad_input(call: Any, error: type[Exception], words: str) -> None:
    """One error that names the layer and shows both sides."""
    with pytest.raises(error, match=words):
        call()
