"""Layers against PyTorch's: a row is a constructor call and its inputs; all else follows.

Both libraries build the row's layer, the state goes across by name, and results, gradients,
buffers, ``repr`` and refusals are compared in float64, in training and out of it.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import GpugradError, NotSupportedError, SettingError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


class X:
    """A float input, or with ``kind`` an integer one."""

    def __init__(self, *shape: int, low: float = -2, high: float = 2, kind: str = "float") -> None:
        self.shape, self.low, self.high, self.kind = shape, low, high, kind

    def make(self, rng: np.random.Generator, shape: tuple[int, ...] | None = None) -> Any:
        size = self.shape if shape is None else shape
        if self.kind == "float":
            return rng.uniform(self.low, self.high, size)
        if self.kind == "signs":
            return rng.choice([-1, 1], size)
        return rng.integers(int(self.low), int(self.high), size)


def i(*shape: int, low: int = 0, high: int) -> X:
    """Integers in ``[low, high)``."""
    return X(*shape, low=low, high=high, kind="int")


def signs(*shape: int) -> X:
    """Labels 1 and -1."""
    return X(*shape, kind="signs")


M, IMAGE, LINE = X(3, 4), X(2, 4, 5, 6), X(2, 4, 7)
VOLUME = X(2, 2, 4, 5, 4)
P = X(3, 4, low=0.05, high=0.95)

LINEAR = {
    "Identity()": [M], "Identity(3, x=1)": [M],
    "Linear(4, 3)": [M], "Linear(4, 3, bias=False)": [X(4)], "Linear(5, 2, False)": [X(2, 3, 5)],
    "Bilinear(4, 5, 3)": [M, X(3, 5)], "Bilinear(4, 2, 3, bias=False)": [X(2, 3, 4), X(2, 3, 2)],
}  # fmt: skip

CONV = {
    "Conv1d(4, 6, 3)": [LINE], "Conv1d(4, 6, 3, 2, 1, 1, 2, False)": [LINE],
    "Conv1d(4, 2, 4, padding='same')": [LINE], "Conv1d(4, 2, 2, padding='valid')": [X(4, 7)],
    "Conv1d(4, 2, 4, padding='same', padding_mode='reflect')": [LINE],
    "Conv1d(4, 4, 3, groups=4, dilation=2)": [LINE],
    "Conv2d(4, 6, 3)": [IMAGE], "Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2)": [IMAGE],
    "Conv2d(4, 2, 1, bias=False)": [X(4, 5, 6)],
    "Conv2d(4, 2, 3, padding='same', dilation=2)": [IMAGE],
    **{f"Conv2d(4, 2, 3, padding=(2, 1), padding_mode='{m}')": [IMAGE]
       for m in ("reflect", "replicate", "circular")},
    "Conv3d(2, 3, 3, padding=1)": [VOLUME],
    "Conv3d(2, 3, (1, 2, 3), padding=1, padding_mode='circular')": [VOLUME],
    "ConvTranspose1d(4, 6, 3)": [LINE], "ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, False)": [LINE],
    "ConvTranspose2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 0), 2)": [IMAGE],
    "ConvTranspose2d(4, 2, 2, 2)": [X(4, 5, 6)], "ConvTranspose2d(4, 2, 3, dilation=2)": [IMAGE],
    "ConvTranspose3d(2, 3, 2, 2, output_padding=1)": [VOLUME],
}  # fmt: skip

POOL = {
    "MaxPool1d(2)": [LINE], "MaxPool1d(3, 2, 1, 1, True, True)": [LINE],
    "MaxPool2d(2)": [IMAGE], "MaxPool2d((3, 2), stride=1, padding=1, ceil_mode=True)": [IMAGE],
    "MaxPool2d(2, dilation=2)": [X(4, 5, 6)], "MaxPool3d(2)": [VOLUME],
    "AvgPool1d(2)": [LINE], "AvgPool1d(3, 2, 1, True, False)": [LINE],
    "AvgPool2d(2)": [IMAGE], "AvgPool2d((3, 2), 1, 1, count_include_pad=False)": [IMAGE],
    "AvgPool2d(2, divisor_override=3)": [IMAGE], "AvgPool3d(2, ceil_mode=True)": [VOLUME],
    "AdaptiveAvgPool1d(3)": [LINE], "AdaptiveAvgPool2d((2, None))": [IMAGE],
    "AdaptiveAvgPool2d(1)": [IMAGE], "AdaptiveAvgPool3d((2, 1, 3))": [VOLUME],
    "AdaptiveMaxPool1d(3)": [LINE], "AdaptiveMaxPool2d((2, 3), return_indices=True)": [IMAGE],
    "AdaptiveMaxPool3d(2)": [VOLUME],
    "LPPool1d(2, 3, 2)": [X(2, 4, 7, low=0.5)], "LPPool2d(3, (2, 3))": [X(2, 4, 5, 6, low=0.5)],
    "LPPool3d(2, 2, ceil_mode=True)": [X(2, 2, 4, 5, 4, low=0.5)],
    "LocalResponseNorm(3)": [IMAGE], "LocalResponseNorm(2, 0.1, 0.5, 2.0)": [LINE],
}  # fmt: skip

NORM = {
    "BatchNorm1d(4)": [M], "BatchNorm1d(4, momentum=None)": [LINE],
    "BatchNorm1d(4, affine=False, track_running_stats=False)": [LINE],
    "BatchNorm2d(4, eps=0.1, momentum=0.3)": [IMAGE], "BatchNorm2d(4, bias=False)": [IMAGE],
    "BatchNorm3d(2, affine=False)": [VOLUME],
    "LayerNorm(4)": [M], "LayerNorm((5, 6), eps=0.1)": [IMAGE], "LayerNorm(6, bias=False)": [IMAGE],
    "LayerNorm([6], elementwise_affine=False)": [IMAGE],
    "GroupNorm(2, 4)": [IMAGE], "GroupNorm(1, 4, 0.1, False)": [LINE],
    "GroupNorm(2, 4, bias=False)": [X(3, 4, 2)],
    "InstanceNorm1d(4)": [LINE], "InstanceNorm1d(4, affine=True)": [X(4, 7)],
    "InstanceNorm2d(4, affine=True, track_running_stats=True)": [IMAGE],
    "InstanceNorm3d(2, 0.1, 0.3, track_running_stats=True)": [VOLUME],
    "RMSNorm(4)": [M], "RMSNorm((5, 6), eps=0.1)": [IMAGE],
    "RMSNorm(6, elementwise_affine=False)": [IMAGE],
}  # fmt: skip

_INPLACE = ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Hardsigmoid", "Hardswish", "ELU", "CELU",
            "LeakyReLU", "Hardtanh")  # fmt: skip
ACTIVATION = {
    **{f"{name}()": [X(3, 4, low=-5, high=8)] for name in (
        *_INPLACE, "PReLU", "Softplus", "Softshrink", "Hardshrink", "GELU", "Softsign", "Tanh",
        "Tanhshrink", "Sigmoid", "LogSigmoid")},
    **{f"{name}(inplace=True)": [X(3, 4, low=-5, high=8)] for name in _INPLACE},
    "ELU(0.5)": [M], "CELU(0.5)": [M], "LeakyReLU(0.2)": [M], "Hardtanh(-0.5, 1)": [M],
    "Threshold(0.3, -2)": [M], "Threshold(0.3, -2, inplace=True)": [M],
    "Softplus(2, 1)": [M], "Softshrink(1)": [M], "Hardshrink(1)": [M],
    "GELU('tanh')": [M], "GLU()": [M], "GLU(0)": [X(4, 3)],
    "PReLU(4, 0.1)": [IMAGE], "Softmax(1)": [M], "Softmin(0)": [M],
    "LogSoftmax(dim=-1)": [M], "Softmax2d()": [IMAGE], "RReLU(0.2, 0.2)": [M],
}  # fmt: skip

PADDING = {
    f"{kind}Pad{n}d({amount})": [X(2, 3, *(4, 5, 4)[:n])]
    for kind in ("Zero", "Reflection", "Replication", "Circular")
    for n in (1, 2, 3)
    for amount in (1, (2, 1, 1, 0, 2, 2)[: 2 * n])
} | {
    "ConstantPad1d(2, 1.5)": [LINE], "ConstantPad2d((1, -1, 0, 2), 0)": [IMAGE],
    "ConstantPad3d(1, -1)": [VOLUME], "ReflectionPad2d(1)": [X(3, 4, 5)],
}  # fmt: skip

SHAPE = {
    "Flatten()": [IMAGE], "Flatten(0, 1)": [IMAGE], "Unflatten(1, (2, 2))": [M],
    "Unflatten(-1, (2, -1))": [M],
    "PixelShuffle(2)": [IMAGE], "PixelUnshuffle(2)": [X(2, 3, 4, 6)], "ChannelShuffle(2)": [IMAGE],
    "Unfold(2)": [IMAGE], "Unfold((2, 3), 2, 1, (1, 2))": [IMAGE],
    "Fold((5, 6), 2)": [X(2, 8, 20)], "Fold(4, (2, 2), stride=2)": [X(8, 4)],
    "Upsample(scale_factor=2)": [IMAGE], "Upsample((7, 3), mode='bilinear')": [IMAGE],
    "Upsample(scale_factor=(1.5, 2), mode='bicubic', align_corners=True)": [IMAGE],
    "Upsample(scale_factor=1.7, mode='linear', recompute_scale_factor=True)": [LINE],
    "Upsample(5, mode='trilinear')": [VOLUME],
    "UpsamplingNearest2d(scale_factor=2)": [IMAGE], "UpsamplingBilinear2d((7, 3))": [IMAGE],
    "CosineSimilarity()": [M, M], "CosineSimilarity(0, 0.1)": [M, M],
    "PairwiseDistance()": [M, M], "PairwiseDistance(1, 0.1, True)": [M, M],
}  # fmt: skip

ROWS = i(3, high=4)
W4 = "weight=tensor([0.5, 1.0, 2.0, 0.7])"
LOSS = {
    **{f"{name}({given})": [M, M] for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss")
       for given in ("", "reduction='sum'", "reduction='none'")},
    "SmoothL1Loss(beta=0.3)": [M, M], "HuberLoss('sum', 0.3)": [M, M],
    "CrossEntropyLoss()": [M, ROWS], f"CrossEntropyLoss({W4}, ignore_index=1)": [M, ROWS],
    f"CrossEntropyLoss({W4}, label_smoothing=0.1, reduction='sum')": [M, ROWS],
    "CrossEntropyLoss(label_smoothing=0.2)": [M, X(3, 4, low=0, high=1)],
    "CrossEntropyLoss(reduction='none')": [X(2, 4, 3), i(2, 3, high=4)],
    "NLLLoss()": [M, ROWS], f"NLLLoss({W4}, reduction='sum')": [M, ROWS],
    "NLLLoss(ignore_index=2, reduction='none')": [X(2, 4, 3), i(2, 3, high=4)],
    "BCELoss()": [P, P], f"BCELoss({W4}, reduction='none')": [P, P],
    "BCEWithLogitsLoss()": [M, P],
    f"BCEWithLogitsLoss({W4}, pos_weight=tensor([1.0, 2.0, 0.5, 3.0]))": [M, P],
    "KLDivLoss(reduction='batchmean')": [M, P],
    "KLDivLoss(log_target=True, reduction='sum')": [M, M],
    "PoissonNLLLoss()": [M, P],
    "PoissonNLLLoss(False, True, reduction='sum')": [P, X(3, 4, low=0, high=5)],
    "GaussianNLLLoss()": [M, M, P], "GaussianNLLLoss(full=True, reduction='none')": [M, M, P],
    "HingeEmbeddingLoss()": [M, signs(3, 4)],
    "HingeEmbeddingLoss(0.5, reduction='sum')": [M, signs(3, 4)],
    "MarginRankingLoss()": [M, M, signs(3, 4)], "MarginRankingLoss(0.5)": [X(4), X(4), signs(4)],
    "SoftMarginLoss(reduction='none')": [M, signs(3, 4)],
    "MultiLabelMarginLoss()": [M, i(3, 4, low=-1, high=4)],
    "MultiLabelMarginLoss(reduction='none')": [M, i(3, 4, low=0, high=4)],
    "MultiLabelSoftMarginLoss()": [M, P],
    f"MultiLabelSoftMarginLoss({W4}, reduction='none')": [M, P],
    "MultiMarginLoss()": [M, ROWS], f"MultiMarginLoss(2, 0.5, {W4}, reduction='none')": [M, ROWS],
    "CosineEmbeddingLoss()": [M, M, signs(3)],
    "CosineEmbeddingLoss(0.2, reduction='none')": [M, M, signs(3)],
    "TripletMarginLoss()": [M, M, M], "TripletMarginLoss(0.5, 1, swap=True)": [M, M, M],
    "TripletMarginWithDistanceLoss()": [M, M, M],
    "TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs().sum(-1), "
    "swap=True)": [M, M, M],
}  # fmt: skip

IDS = i(2, 3, high=5)
EMBEDDING = {
    "Embedding(5, 3)": [IDS], "Embedding(5, 3, padding_idx=-2)": [IDS],
    "Embedding(5, 3, max_norm=1.0)": [IDS], "Embedding(5, 3, max_norm=1.5, norm_type=1.0)": [IDS],
    "Embedding(5, 3, 0, scale_grad_by_freq=True)": [IDS],
    "EmbeddingBag(5, 3)": [IDS], "EmbeddingBag(5, 3, mode='sum', padding_idx=1)": [IDS],
    "EmbeddingBag(5, 3, mode='max')": [IDS],
    "EmbeddingBag(5, 3, max_norm=1.0, norm_type=1.0)": [IDS],
}  # fmt: skip

TABLE: dict[str, list[X]] = {
    **LINEAR, **CONV, **POOL, **NORM, **ACTIVATION, **PADDING, **SHAPE, **LOSS, **EMBEDDING,
}  # fmt: skip
MODES = {"train": True, "eval": False}


def built(library: Any, row: str) -> Any:
    """The layer of a row, in float64."""
    scope = {"tensor": lambda v: library.tensor(v, dtype=library.float64)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(row, scope, vars(library.nn)).double()


def pair(row: str) -> tuple[Any, Any]:
    """The row's layer in both libraries, with the same state; nothing is left at 0 or 1."""
    torch.manual_seed(0)
    ours, theirs = built(gg, row), built(torch, row)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "padding_idx" not in row or "weight" not in name:
                p.uniform_(0.2, 1.5)
        for name, b in theirs.named_buffers():
            if name.startswith("running"):
                b.uniform_(0.5, 1.5)
    state = {k: gg.tensor(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs


def outputs(result: Any) -> list[Any]:
    """The tensors of a result."""
    return list(result) if isinstance(result, tuple) else [result]


def run(library: Any, layer: Any, arrays: list[Any]) -> tuple[list[Any], list[Any]]:
    """Results; gradients of inputs and parameters (None where there is none)."""
    make = library.from_numpy if library is torch else library.tensor
    inputs = [make(a.copy()) for a in arrays]
    floats = [t.requires_grad_() for t in inputs if t.is_floating_point()]
    # An in-place layer may not write into a leaf.
    passed = [t * 1 if t.is_floating_point() else t for t in inputs]
    outs = outputs(layer(*passed))
    total: Any = 0
    for k, out in enumerate(outs):
        if out.requires_grad:
            total = total + ((out * out).sum() * 0.5 + out.sum()) * (k + 1)
    total.backward()
    grads = [t.grad for t in (*floats, *layer.parameters())]
    return [o.detach().numpy() for o in outs], [None if g is None else g.numpy() for g in grads]


def same(ours: list[Any], theirs: list[Any], what: str, rtol: float = 1e-9) -> None:
    """Arrays agree, and None stands at the same places."""
    assert len(ours) == len(theirs), what
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert (a is None) == (b is None), f"{what} {k}: {a} and {b}"
        if a is not None:
            assert a.shape == b.shape, f"{what} {k}"
            assert a.dtype == b.dtype, f"{what} {k}"
            np.testing.assert_allclose(a, b, rtol, 1e-11, err_msg=f"{what} {k}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", TABLE)
def test_layer_is_pytorchs(row: str, mode: str) -> None:
    """Result, gradients of inputs and parameters, and buffers afterwards."""
    ours, theirs = (layer.train(MODES[mode]) for layer in pair(row))
    rng = np.random.default_rng(0)
    arrays = [x.make(rng) for x in TABLE[row]]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel")
        found, wanted = run(gg, ours, arrays), run(torch, theirs, arrays)
    same(found[0], wanted[0], "result")
    # PyTorch's hardsigmoid multiplies by a sixth that it has rounded to float32.
    same(found[1], wanted[1], "gradient", 1e-7 if row.startswith("Hardsigmoid") else 1e-9)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    same([t.numpy() for t in ours.state_dict().values()], [t.numpy() for t in state.values()],
         "state")  # fmt: skip


@pytest.mark.parametrize("row", TABLE)
def test_it_looks_like_pytorchs(row: str) -> None:
    """``repr``, names and shapes of parameters and buffers."""
    ours, theirs = built(gg, row), built(torch, row)
    assert repr(ours) == repr(theirs)
    for names in ("named_parameters", "named_buffers"):
        found = [(n, tuple(t.shape)) for n, t in getattr(ours, names)()]
        assert found == [(n, tuple(t.shape)) for n, t in getattr(theirs, names)()]


@pytest.mark.parametrize("row", TABLE)
def test_wrong_inputs_are_refused(row: str) -> None:
    """A first input that PyTorch refuses for its shape is refused with an error of ours."""
    ours, theirs = pair(row)
    rng = np.random.default_rng(0)
    first, *rest = TABLE[row]
    others = [x.make(rng) for x in rest]
    shape = first.shape
    wrong = [
        (),
        shape[1:],
        (2, 2, 2, *shape),
        (*shape[:-1], shape[-1] + 1),
        (shape[0] + 1, *shape[1:]),
    ]
    if len(shape) > 1:
        wrong.append((shape[0], shape[1] + 1, *shape[2:]))
    for bad in wrong:
        arrays = [first.make(rng, bad), *others]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs(*(torch.from_numpy(np.asarray(a)) for a in arrays))
            except (RuntimeError, ValueError, IndexError, AssertionError):
                with pytest.raises(GpugradError):
                    ours(*(gg.tensor(a) for a in arrays))


DROPOUTS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")
OF_CHANNELS = ("Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout")


@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout(name: str) -> None:
    """Nothing out of training; in training PyTorch's share, values, mean and gradient."""
    n = int(name[-2]) if name[-1] == "d" else 2
    x = np.random.default_rng(0).normal(size=(40, 50, *(6, 5, 4)[:n]))
    layer, theirs = getattr(gg.nn, name)(0.3), getattr(torch.nn, name)(0.3)
    assert repr(layer) == repr(theirs)
    t = gg.tensor(x, requires_grad=True)
    gg.manual_seed(1)
    out = layer(t)
    out.sum().backward()
    y = out.detach().numpy()
    kept = t.grad.numpy() != 0
    if name in OF_CHANNELS:
        assert (kept.reshape(40, 50, -1).std(-1) == 0).all()
    assert abs(kept.mean() - 0.7) < 0.03
    wanted = theirs(torch.from_numpy(x)).numpy()
    assert abs(y.mean() - wanted.mean()) < 0.05
    assert abs(y.std() - wanted.std()) < 0.1
    if "Alpha" not in name:
        np.testing.assert_allclose(y, np.where(kept, x / 0.7, 0))
    else:  # what is dropped is one number for all, what is kept a line
        assert np.ptp(y[~kept]) < 1e-12
        slope, shift = np.polyfit(x[kept], y[kept], 1)
        rest = wanted - (slope * x + shift)
        dropped = np.abs(rest) > 1e-9
        assert abs(dropped.mean() - 0.3) < 0.03
        np.testing.assert_allclose(wanted[dropped], y[~kept].mean())
    layer.eval()
    assert layer(t) is t
    with pytest.raises(SettingError, match=f"{name}: p must be in"):
        getattr(gg.nn, name)(1.5)


def test_dropout_all_or_in_place() -> None:
    """``p=1`` gives zeros; ``inplace`` writes into the input."""
    x = gg.ones(3, 4, 5)
    for name in DROPOUTS:
        arranged = x.unsqueeze(-1) if name == "Dropout2d" else x
        arranged = arranged.unsqueeze(-1).unsqueeze(-1) if name == "Dropout3d" else arranged
        assert not getattr(gg.nn, name)(1.0)(arranged).any()
        written = arranged.clone()
        assert getattr(gg.nn, name)(0.5, inplace=True)(written) is written


def test_rrelu_draws_slopes_in_training() -> None:
    """A slope between the bounds for each negative element; their mean out of training."""
    layer = gg.nn.RReLU(0.2, 0.4)
    x = -gg.ones(1000, dtype=gg.float64)
    slopes = -layer(x).numpy()
    assert 0.2 <= slopes.min() < 0.22
    assert 0.38 < slopes.max() <= 0.4
    np.testing.assert_allclose(layer.eval()(x).numpy(), -0.3)


@pytest.mark.parametrize("sizes", [(4, 6, 4), (5, 6, 5)])
def test_unpooling(sizes: tuple[int, ...]) -> None:
    """``MaxUnpool`` puts values where ``MaxPool`` found them; odd sizes need ``output_size``."""
    for n in (1, 2, 3):
        x = np.random.default_rng(0).normal(size=(2, 3, *sizes[:n]))
        wanted = x.shape if 5 in sizes else None
        results, shown = [], []
        for lib in (gg, torch):
            t = lib.tensor(x, requires_grad=True)
            pool = getattr(lib.nn, f"MaxPool{n}d")(2, stride=2, return_indices=True)
            unpool = getattr(lib.nn, f"MaxUnpool{n}d")(2, stride=2)
            out = unpool(*pool(t), output_size=wanted)
            out.square().sum().backward()
            results.append([out.detach().numpy(), t.grad.numpy()])
            shown.append(repr(unpool))
        assert shown[0] == shown[1]
        same(*results, "unpooled")


def test_transposed_convolution_of_a_wanted_size() -> None:
    """``output_size`` chooses among the sizes that a stride leaves."""
    ours, theirs = pair("ConvTranspose2d(4, 2, 3, stride=3)")
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3))
    for size in ((9, 11), (2, 2, 10, 9)):
        found = ours(gg.tensor(x), output_size=size).detach().numpy()
        wanted = theirs(torch.from_numpy(x), output_size=size).detach().numpy()
        np.testing.assert_allclose(found, wanted)
    with pytest.raises(SettingError, match=r"output_size \(12, 9\).*from \(9, 9\) to \(11, 11\)"):
        ours(gg.tensor(x), output_size=(12, 9))


def test_bags_by_offsets() -> None:
    """Bags of a row of numbers, with factors, an empty bag, and ``include_last_offset``."""
    numbers, factors = np.array([1, 2, 4, 0, 3, 3]), np.linspace(0.5, 2, 6)
    for last, offsets in ((False, [0, 2, 2]), (True, [0, 2, 2, 6])):
        ours, theirs = pair(f"EmbeddingBag(5, 3, mode='sum', include_last_offset={last})")
        found = ours(gg.tensor(numbers), gg.tensor(offsets), gg.tensor(factors))
        wanted = theirs(torch.tensor(numbers), torch.tensor(offsets), torch.tensor(factors))
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy())


def test_from_pretrained() -> None:
    """Given rows are used as they are, frozen unless asked otherwise."""
    rows = gg.randn(5, 3)
    for layer in (gg.nn.Embedding, gg.nn.EmbeddingBag):
        frozen, trained = layer.from_pretrained(rows), layer.from_pretrained(rows, freeze=False)
        assert not frozen.weight.requires_grad
        assert trained.weight.requires_grad
        assert frozen.weight.data_ptr() == rows.data_ptr()


@pytest.mark.parametrize("lengths", [([6, 5], [2, 1]), ([6, 6], [3, 0]), ([3, 6], [3, 3])])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc(lengths: tuple[list[int], list[int]], reduction: str) -> None:
    """CTC of padded and of concatenated targets, repeated labels, targets that cannot fit."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(6, 2, 4)), np.array([[1, 1, 3], [2, 3, 2]])
    flat = np.concatenate([t[:n] for t, n in zip(targets, lengths[1], strict=True)])
    for labels in (targets, flat):
        results = []
        for lib in (gg, torch):
            x = lib.tensor(logits, requires_grad=True)
            loss = lib.nn.CTCLoss(reduction=reduction, zero_infinity=True)
            out = loss(x.log_softmax(2), lib.tensor(labels), *map(lib.tensor, lengths))
            out.sum().backward()
            results.append([out.detach().numpy(), x.grad.numpy()])
        same(*results, "ctc")


def test_adaptive_softmax() -> None:
    """Output, loss, gradients, all log probabilities and predictions are PyTorch's."""
    row = "AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], div_value=2.0, head_bias=True)"
    ours, theirs = pair(row)
    assert repr(ours) == repr(theirs)
    x = np.random.default_rng(0).normal(size=(5, 8))
    for target in ([0, 11, 4, 2, 8], [1, 1, 0, 2, 2], 9):
        rows, results = x if isinstance(target, list) else x[0], []
        for lib, layer in ((gg, ours), (torch, theirs)):
            layer.zero_grad()
            t = lib.tensor(rows, requires_grad=True)
            out = layer(t, lib.tensor(target))
            (out.output.sum() + out.loss).backward()
            grads = [t.grad, *(p.grad for p in layer.parameters())]
            results.append([v if v is None else v.detach().numpy() for v in (*out, *grads)])
        same(*results, str(target))
    found, wanted = (
        [f(v).detach().numpy() for f in (layer.log_prob, layer.predict)]
        for layer, v in ((ours, gg.tensor(x)), (theirs, torch.tensor(x)))
    )
    same(found, wanted, "log_prob, predict")
    with pytest.raises(IndexError, match=r"must be in \[0, 11\], got 12"):
        ours(gg.tensor(x), gg.tensor([0, 1, 12, 0, 0]))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_a_grid_of_16_bits_is_read_exactly(mode: str) -> None:
    """``grid_sample`` reckons places of 16-bit grids in float32 and rounds once."""
    rng = np.random.default_rng(0)
    x, grid = rng.normal(size=(1, 2, 9, 7)), rng.uniform(-1.2, 1.2, (1, 5, 4, 2))
    for dtype in (gg.float16, gg.bfloat16):
        a, b = (gg.tensor(v).to(dtype) for v in (x, grid))
        found = gg.nn.functional.grid_sample(a, b, mode, "reflection", False)
        exact = gg.nn.functional.grid_sample(a.float(), b.float(), mode, "reflection", False)
        assert found.dtype is dtype
        assert (found == exact.to(dtype)).all()


@pytest.mark.parametrize(
    "row",
    [
        "CrossEntropyLoss(weight=tensor([0.5, 1.0, 2.0, 0.7]), reduction='sum')",
        "BatchNorm1d(4)",
        "MaxPool2d(2)",
        "Conv2d(4, 2, 3)",
        "Dropout(0.2)",
        "AdaptiveLogSoftmaxWithLoss(4, 6, [2])",
    ],
)
def test_copies_are_the_same_layer(row: str) -> None:
    """Deep copies and pickles keep settings, parameters and buffers, and share none."""
    layer = built(gg, row)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        assert type(twin) is type(layer)
        mine, its = layer.state_dict(), twin.state_dict()
        assert list(mine) == list(its)
        for a, b in zip(mine.values(), its.values(), strict=True):
            assert (a == b).all()
            assert a.data_ptr() != b.data_ptr()


def test_a_subclass_is_an_ordinary_class() -> None:
    """Annotations in a user's subclass are its own affair, and do not reach the constructor."""

    class Scaled(gg.nn.LeakyReLU):
        scale: float = 3.0

        def forward(self, input: Any) -> Any:
            return super().forward(input) * self.scale

    layer = Scaled(0.5)
    assert Scaled.scale == 3.0
    np.testing.assert_allclose(layer(gg.tensor([-2.0, 1.0])).numpy(), [-3, 3])
    assert repr(layer) == "Scaled(negative_slope=0.5)"


def bound(layer: Any, name: str) -> float:
    """The largest of a parameter's initial values in size."""
    return float(getattr(layer, name).detach().abs().max())


def test_initial_values() -> None:
    """The distributions of PyTorch's layers: bounds of uniform ones, spread of normal ones."""
    fan = {"Linear(100, 300)": 100, "Conv2d(8, 64, 5, groups=2)": 100, "Bilinear(25, 9, 60)": 25,
           "ConvTranspose2d(64, 8, 5, groups=2)": 100}  # fmt: skip
    for row, n in fan.items():
        layer = built(gg, row)
        for name in ("weight", "bias"):
            # of this many uniform draws the largest is close to the bound
            assert 0.6 / n**0.5 < bound(layer, name) <= 1 / n**0.5
        assert bound(layer, "weight") > 0.99 / n**0.5
    table = gg.nn.Embedding(1000, 20, padding_idx=3).weight.detach()
    assert not table[3].any()
    assert abs(float(table.std()) - 1) < 0.02
    for row in ("BatchNorm1d(3)", "LayerNorm(3)", "GroupNorm(1, 3)", "RMSNorm(3)"):
        layer = built(gg, row)
        assert (layer.weight == 1).all()
        assert row == "RMSNorm(3)" or not layer.bias.any()


def test_factory_arguments() -> None:
    """``dtype`` and ``device`` reach every parameter and floating buffer."""
    for row in ("Linear(2, 3", "Conv1d(2, 3, 1", "ConvTranspose1d(2, 3, 1", "BatchNorm1d(3",
                "LayerNorm(3", "GroupNorm(1, 3", "RMSNorm(3", "InstanceNorm1d(3, affine=True",
                "Embedding(4, 3", "EmbeddingBag(4, 3", "PReLU(3", "Bilinear(2, 3, 4"):  # fmt: skip
        scope = vars(gg.nn)
        layer = eval(f"{row}, dtype=dtype, device='meta')", {"dtype": gg.float16}, scope)
        held = [*layer.parameters(), *(b for b in layer.buffers() if b.is_floating_point())]
        assert {t.dtype for t in held} == {gg.float16}
        assert {t.device.type for t in held} == {"meta"}


@pytest.mark.parametrize("name", ["LazyLinear", "SyncBatchNorm", "FractionalMaxPool2d",
                                  "FractionalMaxPool3d"])  # fmt: skip
def test_what_is_not_supported_says_so(name: str) -> None:
    """One sentence with the layer's name and what to use instead."""
    with pytest.raises(NotSupportedError, match=rf"{name}: .*use "):
        getattr(gg.nn, name)(3)


@pytest.mark.parametrize("row", [
    "ELU(1, 2, 3)", "Threshold(1)", "Dropout(q=1)", "GaussianNLLLoss(True)"])  # fmt: skip
def test_wrong_arguments(row: str) -> None:
    """A constructor's wrong arguments are refused with the layer's name and its signature."""
    name = row.partition("(")[0]
    with pytest.raises(TypeError, match=rf"{name}: .*; it is {name}\("):
        built(gg, row)


@pytest.mark.parametrize("row", [
    "Conv2d(3, 4, 3, groups=2)", "Conv2d(2, 2, 3, padding_mode='mirror')",
    "Conv2d(2, 2, 3, 2, padding='same')", "ConvTranspose1d(2, 2, 3, padding_mode='reflect')",
    "GroupNorm(2, 3)", "Hardtanh(1, 0)", "Embedding(3, 2, padding_idx=3)", "MultiMarginLoss(3)",
    "TripletMarginLoss(0)", "Bilinear(0, 1, 1)",
    "AdaptiveLogSoftmaxWithLoss(4, 5, [3, 2])"])  # fmt: skip
def test_wrong_settings(row: str) -> None:
    """What PyTorch's constructors refuse is refused, with the layer's name."""
    with pytest.raises((ValueError, AssertionError)):
        built(torch, row)
    with pytest.raises(SettingError, match=f"^{row.partition('(')[0]}: "):
        built(gg, row)


def test_older_spelling_of_reduction() -> None:
    """``size_average`` and ``reduce`` still choose the reduction, and warn."""
    with pytest.warns(UserWarning, match="size_average and reduce are deprecated"):
        layer = gg.nn.MSELoss(size_average=False)
    assert layer.reduction == "sum"
    with pytest.warns(UserWarning, match="deprecated"):
        assert gg.nn.NLLLoss(None, None, -100, False).reduction == "none"
