"""Run twice on a GPU, everything gives the same bits: every record, and whole training steps.

Between the runs other memory is taken, so that the second one finds its arrays elsewhere, and
rubbish where it reads what it did not write.
"""

import pytest

import gpugrad as gg
from gpugrad import dtypes, models
from gpugrad.autograd import grad
from gpugrad.autograd.gradcheck import differentiable, flatten
from gpugrad.devices import Device
from gpugrad.op import registry
from gpugrad.samples import Undefined
from gpugrad.tensor import Tensor
from gpugrad.testing.calls import Call, claimed_dtypes, key, samples_of
from gpugrad.testing.outcomes import weights_like

RECORDS = {key(r): r for r in registry}
GPU = Device("cuda")


def bits(value):
    """A result as bytes."""
    if isinstance(value, Tensor):
        host = value.detach().cpu().contiguous()
        return (str(host.dtype), tuple(host.shape), host.numpy().tobytes())
    return repr(value)


def outcome(call):
    """Results and gradients of a call, or what it raised, as bytes."""
    try:
        tensors = call.tensors(GPU, grad=call.record.differentiable)
        outs = flatten(call(tensors))
        wanted = [t for t in tensors if t.requires_grad]
        starts = differentiable(outs)
        if wanted and starts:
            weights = [weights_like(o, i) for i, o in enumerate(starts)]
            outs = [*outs, *grad(starts, wanted, weights, allow_unused=True)]
    except Exception as error:
        return type(error).__name__
    return [bits(o) for o in outs]


@pytest.mark.parametrize("name", RECORDS)
def test_an_op(name):
    """The samples in float32 and bfloat16, forward and backward."""
    record = RECORDS[name]
    for sample in samples_of(record):
        if isinstance(sample, Undefined):
            continue
        for dtype in (dtypes.float32, dtypes.bfloat16):
            if dtype not in claimed_dtypes(record):
                continue
            first = outcome(Call(record, sample, dtype))
            between = [gg.full((n,), float("nan"), device="cuda") for n in (3, 77, 1025)]
            second = outcome(Call(record, sample, dtype))
            assert first == second, f"{sample} {dtype}"
            del between


def meeting(size):
    """Ops whose sums meet in few places, large enough for many blocks to run at once."""
    gg.manual_seed(0)
    x = gg.randn(size, 8, device="cuda", requires_grad=True)
    few = gg.randint(0, 5, (size,), device="cuda")
    table = gg.randn(5, 8, device="cuda", requires_grad=True)
    y = gg.zeros(5, 8, device="cuda").index_add(0, few, x)
    z = gg.zeros(5, 8, device="cuda").scatter_add(0, few[:, None].expand(size, 8), x)
    loss = (y * z).sum() + gg.nn.functional.embedding(few, table).mul(x).sum()
    loss = loss + gg.nn.functional.cross_entropy(x, few) + x.var(0).sum()
    return [loss, *grad([loss], [x, table])]


@pytest.mark.parametrize("size", [100, 100_003])
def test_sums_that_meet(size):
    """No sum depends on which block came first."""
    assert [bits(v) for v in meeting(size)] == [bits(v) for v in meeting(size)]


def images(size):
    """Random images and classes."""
    return gg.randn(4, 3, size, size, device="cuda"), gg.randint(0, 10, (4,), device="cuda")


def texts():
    """Random tokens, and the next ones."""
    tokens = gg.randint(0, 50, (3, 17), device="cuda")
    return tokens[:, :-1], tokens[:, 1:].reshape(-1)


MODELS = {
    "MLP": (lambda: gg.nn.Sequential(gg.nn.Flatten(), gg.nn.Linear(3 * 64, 33), gg.nn.GELU(),
                                     gg.nn.Dropout(0.2), gg.nn.Linear(33, 10)),
            lambda: images(8)),
    "ConvNet with batch norm": (lambda: models.resnet18(num_classes=10), lambda: images(32)),
    "GPT-2": (lambda: models.gpt2("gpt2-tiny", vocab_size=50, n_positions=16, n_embd=32, n_layer=2,
                                  n_head=2), texts),
    "LSTM": (lambda: gg.nn.ModuleList([gg.nn.LSTM(24, 12), gg.nn.Linear(12, 10)]),
             lambda: images(8)),
}  # fmt: skip


def trained(name, half):
    """The weights after three steps, and the losses."""
    gg.manual_seed(3)
    make, draw = MODELS[name]
    model = make().cuda()
    optimizer = gg.optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for _ in range(3):
        x, y = draw()
        with gg.autocast("cuda", dtype=gg.bfloat16, enabled=half):
            if name == "LSTM":
                out = model[1](model[0](x.reshape(4, 8, 24).transpose(0, 1))[0][-1])
            else:
                out = model(x)
            loss = gg.nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), y)
        optimizer.zero_grad()
        loss.backward()
        gg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(bits(loss))
    return found + [bits(p) for p in model.state_dict().values()]


@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast to bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_training_steps(name, half):
    """Forward, backward, clipping and update: the same weights."""
    first = trained(name, half)
    between = gg.full((100_003,), float("nan"), device="cuda")
    assert trained(name, half) == first
    assert len(set(first[:3])) == 3  # something was learnt at all
    del between
