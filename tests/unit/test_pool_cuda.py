"""The memory pool as CuPy's allocator: over a stand-in for CuPy, and what CuPy itself allows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpugrad.backends.memory import Pool
from gpugrad.backends.memory.device import DevicePools

TESTS = Path(__file__).parents[1]


def test_over_two_stand_in_devices() -> None:
    """``tests/cupy_stand_in/over_pool.py``, in another process."""
    here = os.environ.get("PYTHONPATH")
    paths = [str(TESTS), str(TESTS.parent), *([here] if here else [])]
    code = (
        "import sys, cupy_stand_in, pytest; cupy_stand_in.install(2)\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', "
        f"{str(TESTS / 'cupy_stand_in' / 'over_pool.py')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, capture_output=True,
                          text=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout


class Memory:
    ptr = 1 << 20


def test_cupy_takes_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's own arrays and views, without a device: nobody looks into them."""
    cupy = pytest.importorskip("cupy")
    cuda = cupy.cuda
    monkeypatch.setattr(cuda, "get_current_stream", lambda: cuda.Stream.null)
    pools = DevicePools(cupy, 1)
    pool = pools._pools[0] = Pool(lambda size: Memory(), lambda memory: None)
    before = cuda.get_allocator()
    cuda.set_allocator(pools.malloc)
    try:
        x = cupy.ndarray((3, 1000), "float32")
        assert (x.data.ptr, pool.allocated) == (Memory.ptr, 12288)
        view = x[1:, 5:].T
        assert view.data.ptr == Memory.ptr + 4020
        del x
        assert pool.allocated == 12288
        del view
        assert pool.allocated == 0
        again = cupy.ndarray((2950,), "float32")
        assert again.data.mem.block.ptr == Memory.ptr
        assert cupy.ndarray((0, 3)).size == 0
        assert (pool.allocations, pool.gets) == (2, 1)
    finally:
        cuda.set_allocator(before)


@pytest.mark.cuda
def test_on_a_device() -> None:
    """CuPy's arrays come from the pool, a full device is told, and it works afterwards."""
    import gpugrad as gg

    cuda = gg.cuda
    pool = gg.backends.cuda().pool(cuda.current_device())
    x = gg.ones(1 << 20, device="cuda")
    assert cuda.memory_allocated() == pool.allocated >= 4 << 20
    _, total = cuda.mem_get_info()
    with pytest.raises(gg.OutOfMemoryError, match="asked for"):
        gg.empty(total, dtype=gg.uint8, device="cuda")
    pool.poison()
    try:
        assert gg.empty(1000, device="cuda").isnan().all()
    finally:
        pool.poison(False)
    stream = cuda.Stream()
    x.record_stream(stream)
    with cuda.stream(stream):
        y = x * 2
    del x
    cuda.synchronize()
    assert float(y.sum()) == 2 << 20
    gets = pool.gets
    for _ in range(100):
        gg.ones(1 << 20, device="cuda") * 3
    assert pool.gets <= gets + 1
