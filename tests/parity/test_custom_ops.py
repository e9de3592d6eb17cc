"""Custom ops: one program, run with PyTorch and with gpugrad."""

import numpy as np

import gpugrad as gg
from gpugrad.library import names

# Written for PyTorch; run with `torch` meaning either.  It appends what can be compared to `out`.
PROGRAM = """
import numpy as np
from typing import List, Optional, Tuple

Tensor = torch.Tensor
library = torch.library


def failing(fn):
    try:
        fn()
    except Exception as error:
        out.append(isinstance(error, RuntimeError))
    else:
        out.append("no error")


@library.custom_op("parity::sine", mutates_args=())
def sine(x: Tensor) -> Tensor:
    return torch.from_numpy(np.sin(x.cpu().numpy()))

def setup(ctx, inputs, output):
    (x,) = inputs
    ctx.save_for_backward(x)

def backward(ctx, grad):
    (x,) = ctx.saved_tensors
    return grad * x.cos()

sine.register_autograd(backward, setup_context=setup)

@library.register_fake("parity::sine")
def _(x):
    return torch.empty_like(x)

x = torch.arange(4, dtype=torch.float64).requires_grad_()
y = sine(x)
(g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
(h,) = torch.autograd.grad(g.sum(), x)
out += [y.detach(), g.detach(), h, torch.ops.parity.sine(x).detach()]
meta = sine(torch.empty(2, 3, device="meta"))
out += [tuple(meta.shape), str(meta.device)]
with torch.no_grad():
    out.append(sine(x).requires_grad)


@library.custom_op("parity::weighted", mutates_args=())
def weighted(ts: List[Tensor], ws: List[float], *, scale: float = 2.0
             ) -> Tuple[Tensor, Tensor]:
    return sum(t * w for t, w in zip(ts, ws)) * scale, ts[0] + 1

def setup(ctx, inputs, keyword_only_inputs, output):
    ctx.ws, ctx.scale = inputs[1], keyword_only_inputs["scale"]
    out.append((len(inputs), type(ctx.scale).__name__, len(output)))

def backward(ctx, g, h):
    return [g * w * ctx.scale + (h if i == 0 else 0) for i, w in enumerate(ctx.ws)], None

weighted.register_autograd(backward, setup_context=setup)
a, b = torch.ones(2, requires_grad=True), torch.ones(2)
p, q = weighted([a, b], [0.5, 3.0])
(p.sum() * 2 + q.sum()).backward()
out += [p.detach(), q.detach(), a.grad, b.grad]
p, q = weighted([a, b], [0.5, 3.0], scale=1)
p.sum().backward()  # q is not used: its gradient is zeros
out += [p.detach(), a.grad]


@library.custom_op("parity::sine_", mutates_args={"x"}, device_types="cpu")
def sine_(x: Tensor, y: Tensor) -> None:
    np.sin(y.numpy(), out=x.numpy())

z = torch.zeros(3)
view = z[1:]
before = z._version
out += [sine_(z, torch.ones(3)), z, z._version - before, view._version - before]
kept = torch.ones(3, requires_grad=True)
result = kept * z
sine_(z, torch.ones(3))
failing(lambda: result.sum().backward())  # z was written after it was saved


@library.custom_op("parity::devices", mutates_args=(), device_types="cuda")
def devices(x: Tensor) -> Tensor:
    return x.clone()

failing(lambda: devices(z))

@devices.register_kernel("cpu")
def _(x):
    return x + 5

out.append(devices(z))


@library.custom_op("parity::plain", mutates_args=())
def plain(x: Tensor, n: int = 2, shift: Optional[Tensor] = None) -> Tensor:
    return x.clone() * n if shift is None else x + shift

out += [plain(z, n=3), plain(x=z), plain(z, 1, torch.ones(3)), plain(kept).requires_grad]
failing(lambda: plain(kept).sum().backward())  # no gradient was registered
failing(lambda: plain(torch.empty(2, device="meta")))
failing(lambda: plain(3))
failing(lambda: plain())
failing(lambda: plain(z, n="a"))
failing(lambda: plain(z, 1, z, 4))
failing(lambda: plain(z, m=4))
plain.register_autograd(lambda ctx, g: (g, g, g, g))
failing(lambda: plain(kept).sum().backward())  # too many gradients
plain.register_autograd(lambda ctx, g: (g.new_ones(5), None, None))
failing(lambda: plain(kept).sum().backward())  # a wrong shape
plain.register_autograd(lambda ctx, g: (g * 7, None, None))
(g,) = torch.autograd.grad(plain(kept).sum(), kept)
out.append(g)


@library.custom_op("parity::alias", mutates_args=())
def alias(x: Tensor) -> Tensor:
    return x

@library.custom_op("parity::pair", mutates_args=())
def pair(x: Tensor) -> Tuple[Tensor, Tensor]:
    y = x + 1
    return y, y

failing(lambda: alias(z))
failing(lambda: pair(z))


@library.custom_op("parity::product", mutates_args=())
def product(x: Tensor, y: Tensor) -> Tensor:
    return x @ y

m, d = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.float64)
product.register_autocast("cpu", torch.bfloat16)
with torch.autocast("cpu", dtype=torch.bfloat16):
    out += [str(product(m, m).dtype).split(".")[1], str(product(d, d).dtype).split(".")[1]]
out.append(str(product(m, m).dtype).split(".")[1])


@library.custom_op("parity::wide", mutates_args=())
def wide(x: Tensor, y: Tensor) -> Tensor:
    return x @ y

with torch.autocast("cpu", dtype=torch.bfloat16):
    out.append(str(wide(m, m).dtype).split(".")[1])  # autocast acts on what is inside
    library.register_autocast("parity::wide", "cpu", torch.float32)
    out.append(str(wide(m, m).dtype).split(".")[1])  # and here it does not


@library.custom_op("parity::counted", mutates_args=())
def counted(x: Tensor) -> int:
    return x.numel()

@library.custom_op("parity::parts", mutates_args=())
def parts(x: Tensor, sizes: List[int]) -> List[Tensor]:
    return [p.clone() for p in x.split(sizes)]

def backward(ctx, grads):
    return torch.cat(grads), None

parts.register_autograd(backward)
w = torch.arange(5.0).requires_grad_()
found = parts(w, [2, 3])
(found[0].sum() + 3 * found[1].sum()).backward()
out += [counted(z), type(found).__name__, [tuple(f.shape) for f in found], w.grad]
"""


def run_program(torch):
    found = []
    exec(compile(PROGRAM, "program.py", "exec"), {"torch": torch, "out": found})
    return [v.tolist() if hasattr(v, "tolist") else v for v in found]


def test_a_program_written_for_pytorch_gives_the_same():
    """Values, gradients of two orders, versions, devices, autocast, and where it refuses."""
    import torch

    try:
        mine = run_program(gg)
    finally:
        for n in [n for n in names.registered if n.startswith("parity::")]:
            del names.registered[n]
    theirs = run_program(torch)
    assert "no error" not in theirs
    assert len(mine) == len(theirs)
    for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        if isinstance(b, list) and b and isinstance(b[0], float):
            np.testing.assert_allclose(a, b, rtol=1e-6, err_msg=str(i))
        else:
            assert a == b, i
