"""``gpugrad.explain`` where kernels run: values stay what they are, and times are measured."""

import pytest

import gpugrad as gg
from gpugrad.codegen.target import TARGETS
from gpugrad.explanation import Traffic, timing
from gpugrad.explanation.watching import Watch

F = gg.nn.functional


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer launches, as some machines that run this emulate them."""
    monkeypatch.setattr(timing, "REPEATS", 3)


def seen(*sizes):
    """A tensor on the device that requires a gradient."""
    count = gg.Size(sizes).numel()
    return gg.linspace(-1, 1, count, device="cuda").reshape(*sizes).requires_grad_()


def test_kernels_are_timed_against_a_copy():
    """Each has a time, its source, and a share of what a copy reaches."""
    x = seen(32, 1024)
    found = gg.explain(F.softmax, x, -1)
    assert [(k.name.rpartition(".")[2], k.phase) for k in found.kernels] == [
        ("softmax", "forward"), ("softmax backward", "backward"),
    ]  # fmt: skip
    assert found.copy > 0
    for k in found.kernels:
        assert k.seconds > 0
        assert k.bandwidth == k.traffic.moved / k.seconds
        assert "__global__" in k.source
    assert found.traffic("forward") == Traffic(2 * x.nbytes, 2 * x.nbytes)
    assert "of copy" in str(found)
    assert x.grad is None


def test_the_same_kernels_as_without_a_device():
    """Names, grids, texts and bytes are those that are told on the CPU."""

    def work(x, w):
        return F.layer_norm(F.gelu(x), (256,), w).sum(0)

    x, w = seen(64, 256), seen(256)
    here = gg.explain(work, x, w, arch="sm_90")
    there = gg.explain(work, x.detach().cpu().requires_grad_(), w.detach().cpu().requires_grad_())
    for k, t in zip(here.kernels, there.kernels, strict=True):
        assert (k.name, k.grid, k.block, k.source) == (t.name, t.grid, t.block, t.source)
        assert k.traffic == t.traffic
    assert [s.name for s in here.steps] == [s.name for s in there.steps]
    assert here.minimum == there.minimum


def test_values_are_those_of_a_plain_call():
    """Timing launches kernels again, also those that add to what they find, and changes nothing."""
    x = seen(4, 40000)  # longer rows than stay on chip: their sums gather in memory
    w = seen(40000)
    kept = {}

    def work(x, w):
        y = F.layer_norm(x, (40000,), w)
        kept["grads"] = gg.autograd.grad((y * y).sum(), (x, w))
        return y

    want = work(x, w), *kept["grads"]
    got = {}

    def again(x, w):
        got["y"] = work(x, w)

    gg.explain(again, x, w)
    for a, b in zip(want, (got["y"], *kept["grads"]), strict=True):
        assert a.equal(b)
    assert not isinstance(TARGETS[type(x._array)], Watch)


def test_a_step_in_a_function_is_one_step():
    """The kernel of an optimiser's step runs once, and an optimiser by itself steps a copy."""
    p, q = (gg.ones(1000, device="cuda") for _ in range(2))
    plain, watched = (gg.optim.SGD([t], lr=0.5) for t in (p, q))
    for t in (p, q):
        t.grad = gg.ones(1000, device="cuda")
    plain.step()
    found = gg.explain(watched.step)
    assert [k.phase for k in found.kernels] == ["update"]
    assert q.equal(p)
    (kernel,) = gg.explain(watched).kernels
    assert kernel.seconds > 0
    assert q.equal(p)
