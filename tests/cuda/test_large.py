"""Tensors of more than 2^31 elements: what lies beyond is computed as what lies before it.

Each test compares the parts around and behind element 2^31 with the same op on copies of those
parts alone.  They need 24 to 60 GB of device memory, and are skipped where there is less.
"""

import pytest

import gpugrad as gg
from gpugrad.testing import assert_close

F = gg.nn.functional
#: Elements from here on have an offset that 32 bits with a sign do not hold.
BORDER = 1 << 31
#: Columns of matrices, and the rows that lie across the border.
WIDE = 1 << 14
TALL = BORDER // WIDE + 3


@pytest.fixture(autouse=True)
def _room():
    """Begin and end with an empty cache."""
    gg.cuda.empty_cache()
    need(24)
    yield
    gg.cuda.empty_cache()


def need(gigabytes):
    """Skip where the device has less memory left."""
    free = gg.cuda.mem_get_info()[0] / 1e9
    if free < gigabytes:
        pytest.skip(f"needs {gigabytes} GB of device memory, {free:.1f} GB are free")


def drawn(*shape, dtype=gg.float16, device="cuda"):
    """Random numbers, a block of an odd length over and over, so that no offset looks like another.

    They are written block by block, by copies that are far smaller than the border.
    """
    out = gg.empty(*shape, dtype=dtype, device=device)
    flat = out.view(-1)
    block = gg.randn(min(len(flat), 10_000_019), device=device).to(dtype)
    for start in range(0, len(flat), len(block)):
        part = flat[start : start + len(block)]
        part.copy_(block[: len(part)])
    return out


#: Rows of a matrix to look at: the first, those around the border, the last.
ROWS = [0, TALL // 2, TALL - 4, TALL - 3, TALL - 2, TALL - 1]


def rows(x):
    """Copies of ``ROWS``, each taken by itself."""
    return gg.stack([x[i].clone() for i in ROWS])


def same(found, want, **settings):
    """Values of a large and of a small call: bits, or within a tolerance where one is given."""
    assert_close(found, want, rtol=settings.get("rtol", 0), atol=settings.get("atol", 0))


ROWWISE = {
    "gelu": lambda x: F.gelu(x), "broadcast": lambda x: x * x[:1] + 1,
    "where": lambda x: gg.where(x > 0, x, 0.5 * x), "softmax": lambda x: F.softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, (WIDE,)), "row sums": lambda x: x.sum(-1),
    "cast": lambda x: x.to(gg.bfloat16).to(x.dtype),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWWISE)
def test_row_by_row(name):
    """Elementwise and row-wise work, forward and backward."""
    fn = ROWWISE[name]
    x = drawn(TALL, WIDE).requires_grad_()
    y = fn(x)
    small = rows(x.detach()).requires_grad_()
    want = fn(small)
    same(rows(y.detach()), want.detach(), rtol=2e-3, atol=1e-4)
    if name == "broadcast":  # the gradient of its first row adds up all rows
        return
    g = drawn(*y.shape)
    y.backward(g)
    want.backward(rows(g))
    del y, g
    same(rows(x.grad), small.grad, rtol=4e-3, atol=2e-3)


def test_a_vector():
    """One dimension that is longer than 32 bits can count."""
    x = drawn(BORDER + 4099)
    y = gg.exp(x * 0.5)
    for part in (slice(0, 999), slice(BORDER - 999, BORDER + 999), slice(-999, None)):
        same(y[part].clone(), gg.exp(x[part].clone() * 0.5), rtol=2e-3)
    del y
    x.fill_(1)
    assert float(x.sum(dtype=gg.float32)) == pytest.approx(BORDER + 4099, rel=1e-6)
    x[-1] = 7
    assert float(x.max()) == 7
    assert int(x.argmax()) == BORDER + 4098
    assert x[BORDER:].count_nonzero().item() == 4099


def test_columns():
    """Sums down the columns, and their gradients."""
    x = gg.ones(TALL, WIDE, dtype=gg.float16, device="cuda")
    x[TALL - 1] = 3
    found = x.sum(0, dtype=gg.float32)
    assert found.tolist() == [TALL + 2] * WIDE
    del found
    x.requires_grad_()
    x.sum(0, dtype=gg.float32).backward(gg.arange(WIDE, device="cuda").float())
    assert x.grad[TALL - 1].tolist() == gg.arange(WIDE).half().tolist()


def test_other_layouts():
    """Copies out of strided memory, and joined tensors."""
    x = drawn(TALL, WIDE)
    turned = x.t().contiguous()
    for i in ROWS:
        same(turned[:, i].clone(), x[i])
    del turned
    every = x[:, ::2].contiguous()
    same(rows(every), rows(x)[:, ::2].contiguous())
    del every
    both = gg.cat([x[: TALL // 2], x[TALL // 2 :]])
    same(rows(both), rows(x))


def test_picked_rows():
    """A table that is larger than the border: rows by number, and the gradient of each."""
    table = drawn(TALL, WIDE).requires_grad_()
    numbers = gg.tensor([*ROWS, TALL - 1], device="cuda")
    picked = F.embedding(numbers, table)
    same(picked.detach()[:-1], rows(table.detach()))
    picked.backward(gg.ones_like(picked))
    assert table.grad[TALL - 1].tolist() == [2] * WIDE
    assert table.grad[TALL - 2].tolist() == [1] * WIDE
    assert not table.grad[TALL - 5].any()
    same(gg.index_select(table.detach(), 0, numbers)[-1], table.detach()[TALL - 1])


def test_cross_entropy():
    """Scores of many rows: the loss of each, and their gradient."""
    scores = drawn(TALL, WIDE, dtype=gg.bfloat16).requires_grad_()
    classes = gg.arange(TALL, device="cuda") % WIDE
    loss = F.cross_entropy(scores, classes, reduction="none")
    small = rows(scores.detach()).requires_grad_()
    want = F.cross_entropy(small, classes[gg.tensor(ROWS, device="cuda")], reduction="none")
    same(loss.detach()[gg.tensor(ROWS, device="cuda")], want.detach(), rtol=1e-2)
    loss.sum().backward()
    want.sum().backward()
    same(rows(scores.grad), small.grad, rtol=1e-2, atol=1e-5)


def test_a_product():
    """A matrix product whose result is larger than the border."""
    a, b = drawn(TALL, 64), drawn(64, WIDE)
    y = a @ b
    same(rows(y), rows(a) @ b, rtol=2e-3, atol=2e-2)


def test_random_numbers():
    """Beyond the border other numbers are drawn; dropout's gradient has its forward's mask."""
    x = gg.ones(BORDER + 4099, dtype=gg.float16, device="cuda", requires_grad=True)
    y = F.dropout(x, 0.5)
    y.backward(gg.ones_like(y))
    tail, first = y.detach()[BORDER:].clone(), y.detach()[:4099].clone()
    assert set(tail.unique().tolist()) == {0, 2}
    assert 0.4 < float((tail == 0).float().mean()) < 0.6
    assert not gg.equal(tail, first)
    assert gg.equal(x.grad[BORDER:], tail)
    del x, y
    u = gg.rand(BORDER + 4099, device="cuda")
    assert u[BORDER:].unique().numel() > 4000
    assert not gg.equal(u[BORDER:].clone(), u[:4099].clone())


def test_pooled_images():
    """Images beyond the border are pooled as the first."""
    count = BORDER // (256 * 32 * 32) + 2
    x = drawn(count, 256, 32, 32).requires_grad_()
    y = F.max_pool2d(x, 2)
    y.backward(gg.ones_like(y))
    for i in (0, count - 2, count - 1):
        small = x.detach()[i : i + 1].clone().requires_grad_()
        want = F.max_pool2d(small, 2)
        want.backward(gg.ones_like(want))
        same(y.detach()[i], want.detach()[0])
        same(x.grad[i], small.grad[0])


def test_an_optimisers_step():
    """A parameter that is larger than the border: its last elements are updated as any."""
    need(60)
    w = drawn(BORDER + 4099, dtype=gg.float32).requires_grad_()
    w.grad = drawn(BORDER + 4099, dtype=gg.float32)
    small = w.detach()[-5000:].clone().requires_grad_()
    small.grad = w.grad[-5000:].clone()
    for weights in ([w], [small]):
        gg.optim.AdamW(weights, lr=0.1).step()
    same(w.detach()[-5000:].clone(), small.detach(), rtol=1e-6, atol=1e-7)
