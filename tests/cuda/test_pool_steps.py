"""Steps of random size on a GPU: the pool finds room in what it has."""

import random

import gpugrad as gg

STEPS, LONGEST = 1000, 700
#: What the pool takes from the driver at once for blocks of up to 10 MiB.
SEGMENT = 20 << 20


def step(model, optimizer, length, width):
    """One training step on ``length`` rows, with attention over them and ``width`` features."""
    x = gg.randn(length, 64, device="cuda")
    y = model(x)
    scores = gg.softmax(y @ y.t(), -1) @ y
    loss = (scores * gg.randn(length, 1, device="cuda")).mean() + y[:, :width].exp().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def test_a_thousand_steps_of_random_size():
    """Once 500 steps have cut the pool's segments to pieces, a thousand more need at most one."""
    gg.manual_seed(0)
    sizes = random.Random(0)
    model = gg.nn.Sequential(gg.nn.Linear(64, 96), gg.nn.GELU(), gg.nn.LayerNorm(96),
                             gg.nn.Dropout(0.1), gg.nn.Linear(96, 32)).cuda()  # fmt: skip
    optimizer = gg.optim.AdamW(model.parameters(), lr=1e-3)
    gg.cuda.empty_cache()
    step(model, optimizer, LONGEST, 32)
    for _ in range(STEPS // 2):
        step(model, optimizer, sizes.randint(1, LONGEST), sizes.randint(1, 32))
    gg.cuda.synchronize()
    before, in_use = gg.cuda.memory_reserved(), gg.cuda.memory_allocated()
    for _ in range(STEPS):
        loss = step(model, optimizer, sizes.randint(1, LONGEST), sizes.randint(1, 32))
    assert loss.isfinite()
    del loss
    # A table that a kernel keeps for a size may be new; a block lost in each step would be 512 KB.
    assert gg.cuda.memory_allocated() - in_use < 64 << 10, gg.cuda.memory_summary()
    reserved, needed = gg.cuda.max_memory_reserved(), gg.cuda.max_memory_allocated()
    assert reserved - before <= SEGMENT, gg.cuda.memory_summary()
    assert reserved <= 2 * needed + (64 << 20), gg.cuda.memory_summary()  # as docs/memory.md says
