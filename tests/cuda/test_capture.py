"""Work that was captured in a CUDA graph, replayed on new data, is what runs eagerly.

gpugrad has no API of its own for that yet; the stream's own capture is used, with a private pool
for what is allocated meanwhile.  Nothing on these paths may be refused during capture.
"""

import pytest

import gpugrad as gg
from gpugrad.backends.memory import PrivatePool

F = gg.nn.functional


def features(*shape, dtype=gg.float32):
    """Random numbers on the device."""
    return gg.randn(*shape, device="cuda").to(dtype)


def half(*shape):
    """The same in bfloat16."""
    return features(*shape, dtype=gg.bfloat16)


CLASSES = [1, 0, 3, 2]
WORK = {
    "add": (lambda x: x * 2 + 1, [(4, 33)]),
    "gelu": (lambda x: F.gelu(x), [(4, 1000)]),
    "softmax": (lambda x: F.softmax(x, -1), [(5, 1025)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (64,), w, b), [(7, 64), (64,), (64,)]),
    "sum": (lambda x: x.sum(), [(4, 3000)]),
    "sum of columns": (lambda x: x.sum(0), [(300, 40)]),
    "cross_entropy": (lambda x: F.cross_entropy(x, constant(CLASSES)), [(4, 50)]),
    "matmul": (lambda a, b: a @ b, [(32, 48), (48, 16)]),
    "batched matmul": (lambda a, b: a @ b, [(3, 32, 48), (3, 48, 16)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(32, 48), (16, 48), (16,)]),
    "conv2d": (lambda x, w: F.conv2d(x, w, padding=1), [(2, 8, 9, 9), (16, 8, 3, 3)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), [(2, 8, 8, 8)]),
    "attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                  [(2, 2, 16, 64)] * 3),
    "embedding": (lambda w: F.embedding(constant(CLASSES), w), [(6, 20)]),
}  # fmt: skip
_constants = {}


def constant(values):
    """Integers on the device, made once: a copy from the host's own memory cannot be captured."""
    key = tuple(values)
    if key not in _constants:
        _constants[key] = gg.tensor(values, device="cuda")
    return _constants[key]


class Captured:
    """What ``fn`` gave the device to do, to be done again."""

    def __init__(self, fn, warm_up=3):
        self.stream, self.memory = gg.cuda.Stream(), PrivatePool()
        pool = gg.backends.cuda().pool(gg.cuda.current_device())
        gg.cuda.synchronize()
        with gg.cuda.stream(self.stream):
            for _ in range(warm_up):  # kernels are compiled and libraries asked before
                fn()
            self.stream.synchronize()
            with pool.private(self.memory):
                self.stream._raw.begin_capture()
                try:
                    self.outs = fn()
                finally:
                    self.graph = self.stream._raw.end_capture()

    def __call__(self):
        self.graph.launch(self.stream._raw)
        self.stream.synchronize()
        return self.outs


@pytest.mark.parametrize("draw", [features, half], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", WORK)
def test_a_replay_is_what_runs_eagerly(name, draw):
    """Forward and backward, on other data than was captured, to the bit."""
    fn, shapes = WORK[name]
    inputs = [draw(*s).requires_grad_() for s in shapes]
    g = draw(*fn(*inputs).shape)

    def both():
        out = fn(*inputs)
        return [out.detach(), *gg.autograd.grad([out], inputs, [g])]

    captured = Captured(both)
    for _ in range(2):
        with gg.no_grad():
            for t in (*inputs, g):
                t.copy_(draw(*t.shape))
        gg.cuda.synchronize()
        found = [t.tolist() for t in captured()]
        assert found == [t.tolist() for t in both()]
    captured.memory.release()


def test_other_work_leaves_a_graphs_memory_alone():
    """Replays go on while much is allocated and freed beside them."""
    x = features(1000)
    captured = Captured(lambda: [gg.exp(x * 0.1).cumsum(0)])
    want = captured()[0].tolist()
    for n in range(1, 40):
        gg.full((n * 1000,), float("nan"), device="cuda")
        assert captured()[0].tolist() == want
    captured.memory.release()


def test_a_training_step():
    """Forward, backward and update, captured once: the weights go where eager steps take them."""
    ends = []
    for capture in (False, True):
        gg.manual_seed(0)
        model = gg.nn.Sequential(gg.nn.Linear(20, 33), gg.nn.GELU(), gg.nn.Linear(33, 4)).cuda()
        optimizer = gg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, y = features(4, 20), constant(CLASSES)
        weights = list(model.parameters())
        for w in weights:
            w.grad = gg.zeros_like(w)

        def step(model=model, optimizer=optimizer, x=x, y=y, weights=weights):
            loss = F.cross_entropy(model(x), y)
            for w, g in zip(weights, gg.autograd.grad(loss, weights), strict=True):
                w.grad.copy_(g)
            optimizer.step()
            return [loss.detach()]

        if capture:  # three steps warm up; capturing does none
            replay = Captured(step)
            for _ in range(5):
                replay()
        else:
            for _ in range(8):
                step()
        ends.append([w.detach().tolist() for w in weights])
    assert ends[0] == ends[1]
