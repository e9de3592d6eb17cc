"""NumPy arrays in pooled memory: dropped ones come back, views hold on, failures harm none."""

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import backends
from gpugrad.backends.memory import Arrays, Pool, host, report
from gpugrad.backends.memory.host import HostMemory, fill_host
from gpugrad.errors import OutOfMemoryError
from gpugrad.tape.engine import _SPARE, _own

F32 = np.dtype(np.float32)


def made_pool(**settings):
    return Pool(HostMemory, HostMemory.close, "host memory", fill=fill_host, **settings)


@pytest.fixture
def arrays():
    return Arrays(made_pool(), worth=64)


@pytest.mark.parametrize("dtype", [gg.float32, gg.bfloat16, gg.int64, gg.bool], ids=str)
def test_an_array_is_as_numpy_s(arrays, dtype):
    x = arrays.empty((3, 50), dtype.np)
    x[...] = 1
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((3, 50), dtype.np, True)
    assert x.flags.writeable
    assert x.flags.aligned
    assert x.ctypes.data % 64 == 0
    assert type(x) is np.ndarray
    assert x.astype(np.float64).sum() == 150


def test_small_and_empty_arrays_are_numpy_s_own(arrays):
    assert arrays.empty((2,), F32).base is None
    assert arrays.empty((0, 9), F32).shape == (0, 9)
    assert arrays.empty((), F32).shape == ()
    assert arrays.pool.allocations == 0


def test_a_dropped_array_comes_back_once_its_views_are_gone(arrays):
    pool = arrays.pool
    x = arrays.empty((100, 10), F32)
    x[...] = 7
    address, view = x.ctypes.data, x[10:].T.reshape(-1)[5:].view(np.int32)
    deep = x[2:][3:]
    del x
    assert pool.allocated > 0
    assert arrays.empty((1000,), F32).ctypes.data != address
    assert deep[0, 0] == 7
    del view
    assert pool.allocated > 0
    del deep
    assert pool.allocated == 0
    assert arrays.empty((1000,), F32).ctypes.data == address


def test_arrays_outlive_the_pool_s_cache(arrays):
    x = arrays.empty((10_000,), F32)
    x[...] = 3
    arrays.pool.empty_cache()
    assert x.sum() == 30_000
    del x
    assert arrays.pool.empty_cache() == 2 << 20


def test_the_process_has_a_pool():
    """Large results come from it, its numbers see them, and what it keeps is bounded."""
    before = host.POOL.allocated
    x = host.empty((1 << 20,), F32)
    assert host.POOL.allocated - before == 4 << 20
    assert host.empty((1000,), F32).base is None
    assert 1 << 26 <= host.POOL.cached_limit <= host.memory_of_machine() // 4
    del x
    assert host.POOL.allocated == before
    assert "host memory" in report.summary(host.POOL)


def test_a_failed_request_leaves_the_pool_usable():
    arrays = Arrays(made_pool(), worth=0)
    x = arrays.empty((100,), F32)
    with pytest.raises(OutOfMemoryError, match=r"out of host memory: asked for 3\.6 EiB|GiB"):
        arrays.empty((1 << 60,), F32)
    assert arrays.empty((200,), F32).size == 200
    assert x.size == 100


def test_memory_that_numpy_lacks_is_our_error():
    """One class for every device: what NumPy cannot allocate is an OutOfMemoryError too."""
    with pytest.raises(gg.OutOfMemoryError, match=r"^zeros"):
        gg.zeros(1 << 60)
    huge = gg.ones(1).expand(1 << 60)
    for name, op in (("exp", gg.exp), ("add", lambda x: x + 1), ("mul", lambda x: x * x)):
        with pytest.raises(gg.OutOfMemoryError, match=f"^{name}: Unable to allocate"):
            op(huge)
    x = gg.ones(1).expand(1 << 60).requires_grad_()
    with pytest.raises(gg.OutOfMemoryError, match=r"^backward: Unable to allocate"):
        x[3].backward()
    assert gg.cuda.OutOfMemoryError is gg.OutOfMemoryError


def test_poison_shows_memory_that_nobody_wrote():
    arrays = Arrays(made_pool(), worth=0)
    arrays.pool.poison()
    x = arrays.empty((100,), F32)
    assert np.isnan(x).all()
    x[...] = 1
    window = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_float * 100).from_address(x.ctypes.data))
    del x
    assert np.isnan(window).all()


def test_a_pooled_gradient_is_not_copied():
    """The tape takes over an array that nobody else has, also where a lease is its base."""
    arrays = Arrays(made_pool(), worth=0)
    held = [arrays.empty((4,), F32)]
    address = held[0].ctypes.data
    assert _own(held.pop(), _SPARE).ctypes.data == address
    kept = other = arrays.empty((4,), F32)
    assert _own(kept, _SPARE) is not other
    held = [kept[1:]]
    assert not np.shares_memory(_own(held.pop(), _SPARE), kept)


def test_threads():
    arrays = Arrays(made_pool(), worth=0)
    errors = []

    def work(number):
        for i in range(300):
            x = arrays.empty((1000 + i % 7 * 5000,), F32)
            x[...] = number
            if not (x == number).all():
                errors.append((number, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert arrays.pool.allocated == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_its_own():
    """Even while another thread of the parent holds the lock; the parent's numbers stay."""
    code = """
import os, threading, numpy as np
from gpugrad.backends.memory import host
x = host.empty((1 << 18,), np.dtype('f4')); x[...] = 1
entered, leave = threading.Event(), threading.Event()
def hold():
    with host.POOL.lock:
        entered.set(); leave.wait()
holder = threading.Thread(target=hold); holder.start(); entered.wait()
child = os.fork()
if child == 0:
    y = host.empty((1 << 18,), np.dtype('f4')); y[...] = 2
    x[...] = 5
    del y
    os._exit(0 if (x == 5).all() else 1)
leave.set(); holder.join()
assert os.waitpid(child, 0)[1] == 0
assert (x == 1).all()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


# ---- a training step whose allocations fail ------------------------------------------------------


@pytest.fixture
def pooled(monkeypatch):
    """Every array that the engine computes on the CPU lies in a pool of the test."""
    arrays = Arrays(made_pool(), worth=0)

    def moved(out):
        if type(out) in (tuple, list):
            return type(out)(moved(x) for x in out)
        if type(out) is not np.ndarray or out.base is not None or not out.size:
            return out
        copy = arrays.empty(out.shape, out.dtype)
        np.copyto(copy, out)
        return copy

    run = backends.numpy.quiet.run
    monkeypatch.setattr(backends.numpy.quiet, "run", lambda *a, **k: moved(run(*a, **k)))
    return arrays.pool


def training(steps=1, fail=None, pool=None):
    """Losses of a small model; with ``fail``, that allocation of the first step fails."""
    gg.manual_seed(0)
    model = gg.nn.Sequential(gg.nn.Linear(6, 8), gg.nn.GELU(), gg.nn.LayerNorm(8),
                             gg.nn.Linear(8, 3))  # fmt: skip
    optimizer = gg.optim.AdamW(model.parameters(), lr=0.1)
    x, y = gg.randn(5, 6), gg.tensor([0, 1, 2, 1, 0])

    def step():
        optimizer.zero_grad()
        loss = gg.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    if pool is not None:
        pool.fail_at(fail)
        try:
            step()
        finally:
            pool.fail_at(None)
    return [step() for _ in range(steps)]


def test_any_allocation_of_a_step_may_fail(pooled):
    """It says so in one class, nothing stays behind, and the next training is bit for bit right."""
    right = training(2)
    count = pooled.allocations
    right_again = training(2)
    assert right == right_again
    gc.collect()
    base = pooled.allocated
    assert count > 50
    nth = 0
    while True:
        nth += 1
        try:
            training(1, nth, pooled)
            break
        except OutOfMemoryError:
            pass
        assert pooled.allocated == base, f"allocation {nth} left something behind"
    assert pooled.failures == nth - 1 > 40
    assert training(2) == right
