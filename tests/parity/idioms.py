"""What training scripts do all day, printing what they see; run by ``test_idioms.py``.

``torch``, ``nn`` and ``F`` are put in from outside, PyTorch's or gpugrad's.
"""

import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F


def _fill(m):
    with torch.no_grad():
        for n, p in enumerate(m.parameters()):
            p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape) / (n + 1))


def accumulate():
    m = nn.Linear(3, 1)
    _fill(m)
    opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)
    for step in range(4):
        loss = m(torch.arange(6.0).reshape(2, 3) + step).pow(2).mean() / 2
        loss.backward()
        if (step + 1) % 2 == 0:
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            opt.step()
            opt.zero_grad(set_to_none=True)
    print(m.weight, m.bias.grad, f"{loss.item():.4f} {loss:.3f}")


def tying():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(4, 3)
            self.o = nn.Linear(3, 4, bias=False)
            self.o.weight = self.e.weight
            self.register_buffer("scale", torch.tensor(2.0))
            self.register_buffer("tmp", torch.ones(1), persistent=False)

        def forward(self, x):
            return self.o(self.e(x)) * self.scale

    m = Tied()
    _fill(m)
    m(torch.tensor([0, 1])).sum().backward()
    print(m, len(list(m.parameters())), list(m.state_dict()), m.e.weight.grad)
    print(m.load_state_dict({"scale": torch.tensor(3.0)}, strict=False))
    print(
        [n for n, _ in m.named_buffers()], m.o.weight is m.e.weight, copy.deepcopy(m).o.weight.grad
    )


def function():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, k):
            ctx.save_for_backward(x)
            ctx.k = k
            return x * x * k

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g * ctx.k if ctx.needs_input_grad[0] else None, None

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = Square.apply(x, 3)
    y.sum().backward()
    print(y, x.grad, y.grad_fn is not None)


def hooks():
    m = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    _fill(m)
    seen = []
    h = m[1].register_forward_hook(
        lambda mod, i, o: seen.append((type(mod).__name__, i[0].shape, o.tolist()))
    )
    g = m[0].weight.register_hook(lambda g: g * 2)
    m.apply(lambda layer: seen.append(layer.__class__.__name__))
    m(torch.ones(1, 2)).sum().backward()
    h.remove()
    g.remove()
    print(seen, m[0].weight.grad)


def ema():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    _fill(a)
    _fill(b)
    with torch.no_grad():
        b.weight.mul_(2)
        for p, q in zip(a.parameters(), b.parameters()):
            p.lerp_(q, 0.1)
            p.data.mul_(0.5).add_(q.data, alpha=0.5)
    print(a.weight, a.bias)


def amp():
    with torch.autocast("cpu", enabled=False):
        print(F.linear(torch.ones(2, 2), torch.ones(2, 2)).dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        print(F.linear(torch.ones(2, 2), torch.ones(2, 2)))


def inits():
    w = torch.empty(3, 4)
    print(
        nn.init.constant_(w, 2.0),
        nn.init.eye_(w),
        nn.init.zeros_(w),
        nn.init.ones_(w),
        nn.init.calculate_gain("leaky_relu", 0.2),
    )
    print(nn.init._calculate_fan_in_and_fan_out(torch.empty(4, 3, 2, 2)))
    torch.manual_seed(0)
    for f in (
        nn.init.xavier_uniform_,
        nn.init.xavier_normal_,
        nn.init.kaiming_uniform_,
        nn.init.kaiming_normal_,
        nn.init.orthogonal_,
        nn.init.trunc_normal_,
        nn.init.normal_,
    ):
        print(f(torch.empty(50, 40)).shape, f.__name__)


def masks():
    x = torch.arange(6.0).reshape(2, 3)
    x[x > 3] = -1
    x[0, [0, 2]] = torch.tensor([7.0, 8.0])
    print(x)
    print(
        torch.zeros(2, 3).scatter_(1, torch.tensor([[0], [2]]), 1.0),
        F.one_hot(torch.tensor([0, 2])),
        x[x > 0],
        x[None, ..., ::2].shape,
        x[:, None].shape,
        x[..., -1],
        x[1:, :2],
    )
    print(
        x.masked_fill(x < 0, float("-inf")),
        torch.where(x > 0, x, 0.0),
        x[torch.tensor([True, False])],
        (x > 0).nonzero(),
        x.bool().any(dim=1),
    )
    for i in ("x[5]", "x[:, 5]", "x[torch.tensor([9])]", "x[::-1]", "x[0,0,0]"):
        try:
            print(eval(i))
        except Exception as e:
            print(i, type(e).__mro__[-3].__name__, isinstance(e, (IndexError, ValueError)))


def shapes():
    s = torch.zeros(2, 3, 4).shape
    print(
        s,
        s[1:],
        (*s, 1),
        (*s[:-1], 5),
        s.numel(),
        len(s),
        tuple(s),
        s == (2, 3, 4),
        torch.Size([1, 2]),
        isinstance(s[:2], torch.Size),
        list(s),
        *s,
        f"{s}",
        s[-1],
        (1, *s),
        s * 2,
        hash(s) == hash((2, 3, 4)),
    )
    print(
        torch.einsum("bij,bjk->bik", torch.ones(1, 2, 2), torch.ones(1, 2, 3)),
        torch.einsum("ii", torch.eye(3)),
        torch.einsum("i,j->ij", torch.arange(2), torch.arange(3)),
    )
    x = torch.arange(4.0).reshape(1, 1, 4)
    for mode in ("constant", "reflect", "replicate", "circular"):
        print(F.pad(x, (1, 2), mode=mode))
    print(F.pad(x, (1, 1, 1, 0), value=9.0))


def vectors():
    m = nn.Linear(2, 2)
    _fill(m)
    v = nn.utils.parameters_to_vector(m.parameters())
    print(v)
    nn.utils.vector_to_parameters(v * 2, m.parameters())
    print(m.weight, sum(p.numel() for p in m.parameters() if p.requires_grad))
    t = torch.ones(2, dtype=torch.float64)
    print(
        t.new_tensor([1, 2]),
        t.new_zeros(2),
        t.new_full((1,), 3),
        t.new_ones((1, 2), dtype=torch.int),
        t.new_empty(0),
    )


def errors():
    def show(f):
        try:
            print(f())
        except Exception as e:
            print(next(c.__name__ for c in type(e).__mro__ if c.__module__ == "builtins"))

    w = torch.ones(2, requires_grad=True)
    show(lambda: w.add_(1))
    show(lambda: w.numpy())
    show(lambda: bool(torch.ones(2)))
    show(lambda: torch.ones(2).item())
    show(lambda: len(torch.tensor(1)))
    show(lambda: iter(torch.tensor(1)))
    show(lambda: (w * 2).backward())
    show(lambda: torch.ones(2) + torch.ones(3))
    show(lambda: torch.ones(2, 3) @ torch.ones(2, 3))
    show(lambda: torch.ones(2).view(3))
    show(lambda: nn.Linear(2, 2)(torch.ones(3)))
    show(lambda: torch.cat([torch.ones(2), torch.ones(1, 2)]))
    show(lambda: torch.tensor([1]).requires_grad_())
    show(lambda: torch.ones(2).squeeze(4))
    show(lambda: F.cross_entropy(torch.ones(2, 3), torch.tensor([0, 5])))
    show(lambda: torch.zeros(2)[0.5])
    show(lambda: nn.Linear(2, 2).load_state_dict({}))
    show(lambda: torch.ones(2).foo)
    show(lambda: float(torch.ones(2)))
    show(lambda: torch.ones(2, dtype=torch.int).mean())
    show(lambda: f"{torch.ones(2):.2f}")
    s = (w * 2).sum()
    s.backward()
    show(lambda: s.backward())


def printing():
    t = torch.tensor(3.14159)
    print(
        f"{t:.2f} {t} {t:8.3f}|{t!r}|{t:e}|",
        torch.tensor(3),
        f"{torch.tensor(3):d}",
        f"{torch.tensor(2):>5}",
        str(torch.ones(2)),
        torch.tensor(True),
    )
    torch.set_printoptions(precision=2, sci_mode=False)
    print(torch.tensor([1.23456, 1000.0]))
    torch.set_printoptions(profile="default")
    print(
        torch.tensor([1e-8, 1.0]),
        torch.rand(0),
        torch.zeros(2, 0),
        torch.arange(2000),
        torch.tensor([float("nan"), float("inf"), 1]),
        torch.ones(2, dtype=torch.half),
        torch.float32,
        torch.device("cuda:0"),
        torch.device("cpu"),
    )
    print(
        nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.BatchNorm2d(2),
            nn.MaxPool2d(2),
            nn.Dropout(0.1),
            nn.LSTM(2, 3, batch_first=True),
            nn.LayerNorm(3),
            nn.GELU(),
            nn.CrossEntropyLoss(),
            nn.AvgPool2d(2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Embedding(3, 2, padding_idx=0),
            nn.MultiheadAttention(4, 2),
        )
    )


def interop():
    a = np.zeros(3, dtype=np.float32)
    t = torch.from_numpy(a)
    t[0] = 5
    a[1] = 6
    print(a, t, np.asarray(t) is not None, np.sum(t.numpy()), np.array(t))
    print(
        len(t),
        [v.item() for v in t],
        bool(t[0] > 0),
        5.0 in t,
        9.0 in t,
        t.tolist(),
        int(t[0]),
        [1, 2, 3][torch.tensor(1)],
        range(torch.tensor(2)),
        sum(t),
        max(t),
        sorted(t.tolist()),
        t == 5,
        np.float32(2) * t,
        t * np.float64(2),
        2**t,
        10 - t,
        t // 2,
        -t % 4,
        abs(-t),
        divmod(7, 2),
    )
    print(
        torch.is_tensor(t),
        t.size(),
        t.size(0),
        t.dim(),
        t.type(),
        t.dtype == torch.float32,
        t.device,
        t.is_cuda,
        t.element_size(),
        t.stride(),
        t.is_leaf,
        t.requires_grad,
        t.grad,
        t.T.shape,
        t.view(-1, 1).expand(3, 2),
        t.float().double().long().dtype,
        t.to("cpu") is t,
        t.cpu() is t,
        t.to(torch.int64),
    )
    a, b = torch.ones(4).split(2)
    v, i = torch.tensor([3.0, 1.0]).max(0)
    print(
        a,
        b,
        v,
        i,
        torch.tensor([3.0, 1.0]).sort(),
        torch.topk(torch.arange(5.0), 2),
        [x.shape for x in torch.ones(5).chunk(2)],
    )
