"""Run by tests/unit/test_pool_cuda.py over two stand-in devices: CuPy's arrays in our pools."""

import gc
import threading

import cupy
import numpy as np
import pytest

import gpugrad as gg
from cupy_stand_in import memory
from cupy_stand_in.memory import taken, used
from cupy_stand_in.streams import STALLED
from gpugrad.backends.cupy import load
from gpugrad.backends.memory import PrivatePool
from gpugrad.errors import ArgumentError, DeviceError, SettingError
from gpugrad.tensor import wrap

cuda = gg.cuda
MIB = 1 << 20


def pool(index=0):
    return gg.backends.cuda().pool(index)


def nothing(size, device="cuda"):
    return gg.empty(size, dtype=gg.uint8, device=device)


class Job:
    """A small model, trained on one batch."""

    def __init__(self):
        gg.manual_seed(0)
        self.model = gg.nn.Sequential(gg.nn.Linear(6, 8), gg.nn.GELU(), gg.nn.LayerNorm(8),
                                      gg.nn.Dropout(0.1), gg.nn.Linear(8, 3)).cuda()  # fmt: skip
        self.optimizer = gg.optim.AdamW(self.model.parameters(), lr=0.1)
        self.x, self.y = gg.randn(5, 6).cuda(), gg.tensor([0, 1, 2, 1, 0]).cuda()

    def step(self):
        self.optimizer.zero_grad()
        loss = gg.nn.functional.cross_entropy(self.model(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def test_every_array_lies_in_the_pool_of_its_device():
    before = [pool(i).allocated for i in (0, 1)]
    x, y = nothing(3 * MIB), nothing(5 * MIB, "cuda:1")
    assert [pool(i).allocated - before[i] for i in (0, 1)] == [3 * MIB, 5 * MIB]
    assert cuda.memory_allocated("cuda:1") == pool(1).allocated
    view = y[10:].view(gg.int8)
    del y
    assert cuda.memory_allocated("cuda:1") == before[1] + 5 * MIB
    del view, x
    assert [pool(i).allocated for i in (0, 1)] == before
    assert nothing(0).numel() == 0
    assert pool().allocated == before[0]
    assert used[0] == pool().reserved  # nothing else is taken from the driver


def test_a_training_loop_asks_the_driver_for_nothing():
    job = Job()
    for _ in range(2):
        job.step()
    before = len(taken)
    for _ in range(20):
        job.step()
    assert len(taken) == before


def test_any_allocation_of_a_step_may_fail():
    """Forward, backward or update: one class, nothing left behind, and the next run is right."""
    first = Job()
    first.step()
    right = [first.step() for _ in range(2)]
    del first
    gc.collect()
    base = pool().allocated
    nth = 0
    while True:
        nth += 1
        job = Job()
        pool().fail_at(nth)
        try:
            job.step()
        except gg.cuda.OutOfMemoryError as error:
            text = str(error)
            assert "fail_at" in text
            assert "out of memory of cuda:0: asked for" in text
            assert "Largest holders:" in text
        else:
            break
        finally:
            pool().fail_at(None)
        del job
        assert pool().allocated == base, f"allocation {nth} left something behind"
    assert nth > 40
    again = Job()
    again.step()
    assert [again.step() for _ in range(2)] == right


def test_a_failed_step_may_be_taken_again():
    """The same model goes on: no gradient is half there, no graph is left."""
    plain, broken = Job(), Job()
    gg.manual_seed(7)
    right = [plain.step() for _ in range(3)]
    for nth in (1, 4, 7, 10, 13, 16):
        pool().fail_at(nth)
        try:
            with pytest.raises(gg.OutOfMemoryError):
                broken.model(broken.x).sum().backward()
        finally:
            pool().fail_at(None)
    gg.manual_seed(7)
    assert [broken.step() for _ in range(3)] == right


def test_poison_finds_what_is_read_before_it_was_written():
    pool().poison()
    try:
        x = gg.empty(100, device="cuda")
        assert x.isnan().all()
        Job().step()  # reads nothing that it did not write
        x.fill_(1)
        window = x._array
        address = x.data_ptr()
        del x, window
        y = gg.empty(100, device="cuda")
        assert y.data_ptr() == address
        assert y.isnan().all()
    finally:
        pool().poison(False)


def test_a_full_device(monkeypatch):
    """The cache is given back, the request is made again, and then the message says who has it."""
    cuda.empty_cache()
    total = 64 * MIB
    monkeypatch.setattr(memory, "TOTAL", total + used[0])  # products keep a workspace
    cuda.memory._record_memory_history()
    try:
        held = nothing(total // 2)
        del held
        kept = [nothing(total * 3 // 4)]  # only once the cached half is given back
        retries = cuda.memory_stats()["num_alloc_retries"]
        assert retries >= 1
        with pytest.raises(gg.OutOfMemoryError) as caught:
            nothing(total // 2)
        text = str(caught.value)
        assert text.startswith("empty: out of memory of cuda:0: asked for 32.0 MiB; ")
        assert f"48.0 MiB in 1 block: empty at {__file__}:" in text
        assert "MiB free" in text
        kept.clear()
        assert nothing(total // 2).numel() == total // 2
    finally:
        cuda.memory._record_memory_history(None)
        cuda.empty_cache()


def test_limits():
    cuda.empty_cache()
    cuda.set_memory_limit(pool().reserved + 30 * MIB)
    with pytest.raises(gg.OutOfMemoryError, match="limit"):
        nothing(40 * MIB)
    cuda.set_per_process_memory_fraction(1.0)
    nothing(40 * MIB)
    cuda.set_memory_limit(None)
    with pytest.raises(SettingError, match="0 or more"):
        cuda.set_memory_limit(-1)


def test_a_snapshot_says_who_has_what():
    """Blocks add up to segments, segments to what is reserved; ops and lines are named."""
    cuda.memory._record_memory_history()
    try:
        x = gg.ones(1000, device="cuda", requires_grad=True)
        y = gg.exp(x)
        y.sum().backward()
        holders = {b["holder"] for s in cuda.memory_snapshot() for b in s["blocks"]
                   if b["holder"] is not None}  # fmt: skip
        assert any(h.startswith(f"exp at {__file__}:") for h in holders)
        assert any(h.startswith("gradient of exp at") for h in holders), holders
        assert f"exp at {__file__}" in cuda.memory_summary()
        z = gg.ones(3, device="cuda", requires_grad=True)
        (z * 2 + z * 3).sum().backward()
        total = z.grad.data_ptr()  # made by the tape itself, which adds what came by two ways
        (who,) = [b["holder"] for s in cuda.memory_snapshot() for b in s["blocks"]
                  if b["address"] == total]  # fmt: skip
        assert who.startswith(f"gradient of mul at {__file__}:")
    finally:
        cuda.memory._record_memory_history(None)
    found = cuda.memory_snapshot()
    assert sum(s["total_size"] for s in found) == cuda.memory_reserved()
    assert all(sum(b["size"] for b in s["blocks"]) == s["total_size"] for s in found)
    assert all(b["holder"] is None for s in found for b in s["blocks"])
    with pytest.raises(SettingError, match="'state', 'all'"):
        cuda.memory._record_memory_history("some")


def test_streams_have_memory_of_their_own():
    s = cuda.Stream()
    with cuda.stream(s):
        x = nothing(MIB)
        address = x.data_ptr()
        del x
    assert nothing(MIB).data_ptr() != address
    with cuda.stream(s):
        assert nothing(MIB).data_ptr() == address


def test_record_stream():
    """Memory that another stream works on is not handed out before that work is done."""
    cuda.empty_cache()
    s = cuda.Stream()
    x = nothing(3 * MIB)
    address = x.data_ptr()
    x[5:].record_stream(s)
    STALLED.append(True)
    del x
    STALLED.clear()
    assert [kind for kind, _ in s._raw.log] == ["record"]
    y = nothing(3 * MIB)
    assert y.data_ptr() != address
    s.synchronize()
    assert nothing(3 * MIB).data_ptr() == address
    nothing(0).record_stream(s)
    with pytest.raises(DeviceError, match="record_stream: takes a tensor on cuda, got one on cpu"):
        gg.ones(1).record_stream(s)
    with pytest.raises(ArgumentError, match="got int"):
        y.record_stream(3)


def test_a_captured_graph_has_memory_of_its_own():
    graph = PrivatePool()
    with pool().private(graph):
        x = nothing(3 * MIB)
        address = x.data_ptr()
        del x
        assert nothing(3 * MIB).data_ptr() == address
    assert nothing(3 * MIB).data_ptr() != address
    graph.release()
    cuda.empty_cache()


def test_default_streams_of_threads_are_refused(monkeypatch):
    """They share an address, by which the pool would take them for one stream."""
    monkeypatch.setattr(cuda.default_stream()._raw, "ptr", 2)
    with pytest.raises(DeviceError, match="unset CUPY_CUDA_PER_THREAD_DEFAULT_STREAM"):
        load()


def test_pinned_memory_is_pooled():
    pinned = gg.backends.cuda().pools.pinned.pool
    x = gg.arange(6).reshape(2, 3).pin_memory()
    assert x.is_pinned()
    assert x[1:].is_pinned()
    assert (x.tolist(), pinned.allocated) == ([[0, 1, 2], [3, 4, 5]], 512)
    address = x.data_ptr()
    del x
    assert gg.ones(3).pin_memory().data_ptr() == address
    assert pinned.gets == 1


def test_threads_on_two_devices():
    errors = []

    def work(index):
        try:
            with cuda.device(index), cuda.stream(cuda.Stream()):
                for n in range(100):
                    x = gg.full((n + 1, 500), float(index), device="cuda")
                    assert x._array.get().max() == index
        except Exception as error:
            errors.append(error)

    before = [pool(i).allocated for i in (0, 1)]
    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    assert [pool(i).allocated for i in (0, 1)] == before


def test_memory_of_others_is_left_alone():
    class Told:
        def __init__(self, array):
            self.kept, self.__cuda_array_interface__ = array, array.__cuda_array_interface__

    told = Told(cupy.asarray(np.arange(4.0)))
    x = wrap(cupy.asarray(told))
    x.record_stream(cuda.Stream())
    assert x.tolist() == [0, 1, 2, 3]
