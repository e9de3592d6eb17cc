"""The memory pool over fakes: no two live blocks overlap, nothing is lost, and it stays small."""

import itertools
import random
import sys
import threading

import pytest

from gpugrad.backends.memory import Events, Pool, PrivatePool, report
from gpugrad.backends.memory.blocks import Arena
from gpugrad.backends.memory.sizes import MIB, SHARED, block_size, segment_size, told
from gpugrad.errors import OutOfMemoryError, SettingError


class Driver:
    """Addresses of a device of ``total`` bytes, and what is taken of them."""

    def __init__(self, total=1 << 50):
        self.total, self.used, self.next, self.log = total, 0, 512, []
        self.filled = []

    def get(self, size):
        self.log.append(size)
        if self.used + size > self.total:
            raise MemoryError
        self.used += size
        memory = Taken(self.next, size)
        self.next += size + 512 * random.Random(size).randrange(4)
        return memory

    def give_back(self, memory):
        assert not memory.back
        memory.back = True
        self.used -= memory.size

    def pool(self, **settings):
        return Pool(self.get, self.give_back, "fake memory", free=lambda: self.total - self.used,
                    fill=lambda *which: self.filled.append(which), **settings)  # fmt: skip


class Taken:
    def __init__(self, ptr, size):
        self.ptr, self.size, self.back = ptr, size, False


class Marks:
    """Events that are done when the test says so."""

    def __init__(self):
        self.recorded, self.passed = [], set()
        self.events = Events(self.record, self.passed.__contains__, self.passed.add)

    def record(self, stream):
        self.recorded.append((stream, len(self.recorded)))
        return self.recorded[-1]


class Oracle:
    """Knows every live block, and that no other may touch it."""

    def __init__(self, pool):
        self.pool, self.live = pool, {}

    def malloc(self, size, stream=0):
        block = self.pool.malloc(size, stream)
        assert block.size >= max(size, 1)
        assert block.ptr % 512 == 0
        self.live[block.ptr] = block
        return block

    def free(self, block):
        del self.live[block.ptr]
        self.pool.free(block)

    def check(self):
        """Live blocks are disjoint and inside memory that is taken; the numbers add up."""
        ordered = sorted(self.live.values(), key=lambda b: b.ptr)
        for a, b in itertools.pairwise(ordered):
            assert a.ptr + a.size <= b.ptr
        pool = self.pool
        assert pool.allocated == sum(b.size for b in ordered)
        found = report.snapshot(pool)
        assert sum(s["total_size"] for s in found) == pool.reserved
        assert sum(s["allocated_size"] for s in found) == pool.allocated
        for s in found:
            place = s["address"]
            for b in s["blocks"]:  # without a gap, in order
                assert b["address"] == place
                place += b["size"]
            assert place == s["address"] + s["total_size"]
        told_live = {b["address"] for s in found for b in s["blocks"]
                     if b["state"] == "active_allocated"}  # fmt: skip
        assert told_live == set(self.live)


@pytest.fixture
def driver():
    return Driver()


def test_waste_is_bounded():
    """By 511 bytes, 1/16 of the request or 2 MiB; and there are few sizes."""
    draw = random.Random(0)
    for size in [*range(1, 3000), *(int(2 ** draw.uniform(0, 40)) for _ in range(3000))]:
        got = block_size(size)
        assert got % 512 == 0
        assert 0 <= got - size < max(512, min(size / 16 + 1, 2 * MIB))
        assert block_size(got) == got
        assert got <= segment_size(got) < got + max(2 * MIB, SHARED[1][1])
    assert len({block_size(n) for n in range(1, MIB, 97)}) < 16 * 20


def test_memory_that_came_back_is_handed_out_again(driver):
    pool = driver.pool()
    first = pool.malloc(1000)
    pool.free(first)
    assert pool.malloc(700) is first
    assert pool.malloc(1000) is not first
    assert driver.log == [2 * MIB]


def test_a_block_is_cut_exactly_and_its_rest_is_used(driver):
    """Two blocks of one segment lie side by side, and the segment becomes whole again."""
    pool = driver.pool()
    a, b = pool.malloc(2 * MIB), pool.malloc(5 * MIB)
    assert (a.size, b.ptr, len(driver.log)) == (2 * MIB, a.ptr + 2 * MIB, 1)
    start = a.ptr
    pool.limit = 20 * MIB  # there is no other memory
    pool.free(b)
    pool.free(a)
    c, d = pool.malloc(10 * MIB), pool.malloc(7 * MIB)  # the rest, then what was merged
    assert (c.ptr, d.ptr, len(driver.log)) == (start + 7 * MIB, start, 1)


def test_a_small_block_does_not_hold_up_a_large_segment(driver):
    pool = driver.pool()
    small, large = pool.malloc(100), pool.malloc(64 * MIB)
    pool.free(large)
    assert pool.empty_cache() == 64 * MIB
    assert (pool.reserved, pool.allocated, driver.used) == (2 * MIB, small.size, 2 * MIB)


def test_a_block_cannot_be_freed_twice(driver):
    pool = driver.pool()
    block = pool.malloc(1)
    pool.free(block)
    with pytest.raises(SettingError, match="not in use"):
        pool.free(block)
    assert pool.allocated == 0


@pytest.mark.parametrize("seed", range(3))
def test_ten_thousand_random_steps(driver, seed):
    """What is held is at most twice the most that was in use, and 64 MiB; no block overlaps."""
    draw = random.Random(seed)
    pool = driver.pool()
    oracle = Oracle(pool)
    blocks = []
    for step in range(10_000):
        if blocks and draw.random() < (0.55 if len(blocks) > 100 else 0.4):
            oracle.free(blocks.pop(draw.randrange(len(blocks))))
        else:
            blocks.append(oracle.malloc(int(2 ** draw.uniform(0, 27)), draw.choice((0, 0, 7))))
        if step % 500 == 0:
            oracle.check()
        assert pool.reserved <= 2 * pool.peak_allocated + 64 * MIB
    oracle.check()
    for block in blocks:
        oracle.free(block)
    pool.empty_cache()
    assert pool.reserved == pool.allocated == driver.used == 0
    oracle.check()


def test_random_batches_do_not_make_it_grow(driver):
    """A training loop over batches of random length holds little more than it needs at once."""
    draw = random.Random(1)
    pool = driver.pool()
    weights = [pool.malloc(n) for n in (4 * MIB, 300_000, 5000)]
    for _ in range(10_000):
        length = draw.randrange(1, 512)
        kept = [pool.malloc(length * width) for width in (64, 4096, 1024, 16384)]
        for block in reversed(kept):
            pool.free(pool.malloc(block.requested))
            pool.free(block)
    assert pool.reserved <= pool.peak_allocated + 64 * MIB
    assert pool.gets < 20
    assert sum(b.size for b in weights) == pool.allocated


def test_steady_state_asks_the_driver_for_nothing(driver):
    pool = driver.pool()

    def step():
        blocks = [pool.malloc(n) for n in (10, 5000, 3 * MIB, 40 * MIB, 3 * MIB)]
        for block in blocks:
            pool.free(block)

    step()
    before = len(driver.log)
    for _ in range(1000):
        step()
    assert len(driver.log) == before


# ---- out of memory -----------------------------------------------------------------------------


def test_the_cache_is_given_back_before_a_request_fails(driver):
    """Memory of other sizes and streams is returned, then the request is tried once more."""
    driver.total = 100 * MIB
    pool = driver.pool()
    for stream in (0, 1):
        pool.free(pool.malloc(40 * MIB, stream))
    block = pool.malloc(90 * MIB)
    assert (block.size, driver.used, pool.retries, pool.failures) == (90 * MIB, 90 * MIB, 1, 0)
    pool.free(block)
    assert pool.malloc(99 * MIB + 1).size <= 100 * MIB  # smaller than the segment it would like


def test_out_of_memory_says_what_there_is(driver):
    driver.total = 100 * MIB
    pool = driver.pool()
    pool.record_holders(iter([f"op{i} at a.py:{i}" for i in range(100)]).__next__)
    held = [pool.malloc(n * MIB) for n in (30, 12, 14, 11, 13, 15)]
    asked = driver.log.copy()
    with pytest.raises(OutOfMemoryError) as caught:
        pool.malloc(60 * MIB)
    assert driver.log == [*asked, 60 * MIB, 60 * MIB]  # tried twice, not more
    text = str(caught.value)
    for part in ("asked for 60.0 MiB", "2.0 MiB free", "95.0 MiB in use", "3.0 MiB cached"):
        assert part in text, text
    assert [line.split()[-1] for line in text.splitlines()[2:]] == [
        f"a.py:{i}" for i in (0, 5, 2, 4, 1)
    ]
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, MemoryError)
    for block in held:
        pool.free(block)
    assert pool.malloc(100 * MIB).size == 100 * MIB  # usable, and nothing was lost
    assert pool.failures == 1


def test_holders_without_a_record_are_told_by_size(driver):
    driver.total = 50 * MIB
    pool = driver.pool()
    held = [pool.malloc(12 * MIB) for _ in range(3)]
    with pytest.raises(OutOfMemoryError, match=r"36\.0 MiB in 3 blocks: taken as 12\.0 MiB each"):
        pool.malloc(20 * MIB)
    assert len(held) == 3


def test_a_limit(driver):
    pool = driver.pool()
    pool.limit = 50 * MIB
    pool.free(pool.malloc(30 * MIB))
    a = pool.malloc(45 * MIB)
    with pytest.raises(OutOfMemoryError, match=r"limit 50\.0 MiB"):
        pool.malloc(12 * MIB)
    pool.limit = None
    assert pool.malloc(12 * MIB).ptr != a.ptr


def test_what_is_cached_is_bounded(driver):
    """Memory beyond the limit goes back as it is freed; live neighbours do not make it search."""
    pool = driver.pool(cached_limit=64 * MIB)
    blocks = [pool.malloc(16 * MIB) for _ in range(10)]
    for block in blocks:
        pool.free(block)
    assert pool.reserved <= 64 * MIB
    halves = [pool.malloc(8 * MIB) for _ in range(60)]
    for block in halves[::2]:  # each shares its segment with a live one: nothing can go back
        pool.free(block)
    returns = pool.returns
    merged = []
    for arena in pool.arenas.values():
        whole = arena.merge_ready
        arena.merge_ready = lambda whole=whole: merged.append(1) or whole()
    small = pool.malloc(100)
    for _ in range(100):
        pool.free(small)
        small = pool.malloc(100)
    assert len(merged) <= 4  # not once for each
    assert pool.returns <= returns + 1  # that of the small one, once
    for block in halves[1::2]:
        pool.free(block)
    assert pool.reserved <= 72 * MIB


# ---- streams -----------------------------------------------------------------------------------


def test_streams_do_not_share(driver):
    pool = driver.pool()
    a = pool.malloc(1000, 1)
    pool.free(a)
    assert pool.malloc(1000, 2) is not a
    assert pool.malloc(1000, 1) is a


def test_a_block_waits_for_other_streams(driver):
    """It is handed out when they have passed what they had to do when it was freed."""
    marks = Marks()
    pool = driver.pool(events=marks.events)
    block = pool.malloc(1000, 1)
    pool.record_stream(block, 2)
    pool.record_stream(block, 3)
    pool.record_stream(block, 1)  # its own
    assert marks.recorded == []
    pool.free(block)
    assert sorted(stream for stream, _ in marks.recorded) == [2, 3]
    assert pool.allocated == 0
    assert report.statistics(pool)["active_bytes.all.current"] == block.size
    other = pool.malloc(1000, 1)
    assert other is not block
    marks.passed.add(marks.recorded[0])
    assert pool.malloc(1000, 1) is not block
    marks.passed.add(marks.recorded[1])
    assert pool.malloc(1000, 1) is block
    pool.free(block)
    assert len(marks.recorded) == 2  # it belongs to one stream again
    assert pool.malloc(1000, 1) is block


def test_before_it_fails_it_waits_for_streams(driver):
    driver.total = 30 * MIB
    marks = Marks()
    pool = driver.pool(events=marks.events)
    block = pool.malloc(30 * MIB, 1)
    pool.record_stream(block, 2)
    pool.free(block)
    assert pool.malloc(28 * MIB).size == 28 * MIB
    assert marks.passed == set(marks.recorded) != set()


def test_a_pool_without_events_refuses_other_streams(driver):
    pool = driver.pool()
    with pytest.raises(SettingError, match="knows no streams"):
        pool.record_stream(pool.malloc(1), 2)


# ---- private pools -----------------------------------------------------------------------------


def test_a_private_pool_keeps_its_memory(driver):
    """What is freed during a capture is reused by the capture and by nobody else."""
    pool, graph = driver.pool(), PrivatePool()
    outside = pool.malloc(5 * MIB)
    pool.free(outside)
    with pool.private(graph):
        a = pool.malloc(5 * MIB)
        assert a is not outside
        pool.free(a)
        assert pool.malloc(5 * MIB) is a
        pool.free(a)
        found = []
        worker = threading.Thread(target=lambda: found.append(pool.malloc(5 * MIB)))
        worker.start()
        worker.join()
        assert found == [outside]
    assert pool.malloc(5 * MIB) is not a
    pool.empty_cache()
    with pool.private(graph):  # a second graph may share it
        assert pool.malloc(5 * MIB) is a
        pool.free(a)
    graph.release()
    before = pool.reserved
    pool.empty_cache()
    assert pool.reserved == before - 20 * MIB


def test_nothing_is_recorded_during_a_capture(driver):
    marks = Marks()
    pool = driver.pool(events=marks.events)
    block = pool.malloc(1000, 1)
    pool.record_stream(block, 2)
    pool.free(pool.malloc(64 * MIB))
    with pool.private(PrivatePool()):
        pool.free(block)
        pool.malloc(1000, 1)
        assert pool.empty_cache() == 0
        assert marks.recorded == []
        pool.limit = pool.reserved
        with pytest.raises(OutOfMemoryError, match="while a graph is captured"):
            pool.malloc(3 * MIB)
        pool.limit = None
    assert pool.malloc(1000, 1) is not block
    assert [stream for stream, _ in marks.recorded] == [2]


# ---- switches ----------------------------------------------------------------------------------


def test_poison_fills_fresh_and_freed_blocks(driver):
    marks = Marks()
    pool = driver.pool(events=marks.events)
    pool.poison()
    block = pool.malloc(1000, 5)
    assert driver.filled == [(block.ptr, block.size, 5)]
    pool.free(block)
    assert len(driver.filled) == 2
    assert pool.malloc(900, 5) is block
    pool.record_stream(block, 6)
    pool.free(block)
    assert len(driver.filled) == 3  # another stream may still read it
    marks.passed.update(marks.recorded)
    pool.malloc(1000, 5)
    assert len(driver.filled) == 5
    pool.poison(False)
    pool.free(block)
    assert len(driver.filled) == 5


def test_an_allocation_can_be_made_to_fail(driver):
    pool = driver.pool()
    pool.free(pool.malloc(10))
    pool.fail_at(3)
    pool.malloc(10)
    pool.malloc(10)
    with pytest.raises(OutOfMemoryError, match="asked for 10 bytes"):
        pool.malloc(10)
    pool.malloc(10)
    assert pool.failures == 1
    with pytest.raises(SettingError, match="accepted: 1, 2"):
        pool.fail_at(0)


def test_holders_are_recorded_while_wanted(driver):
    pool = driver.pool()
    pool.free(pool.malloc(10))
    pool.record_holders(lambda: "exp at a.py:1")
    block = pool.malloc(10)
    assert block.holder == "exp at a.py:1"
    assert "exp at a.py:1" in report.summary(pool)
    pool.record_holders(None)
    assert block.holder is None
    pool.free(block)
    assert pool.malloc(10).holder is None


# ---- numbers -----------------------------------------------------------------------------------


def test_statistics_and_peaks(driver):
    pool = driver.pool()
    a, b = pool.malloc(1000), pool.malloc(3 * MIB)
    pool.free(b)
    found = report.statistics(pool)
    assert found["allocated_bytes.all.current"] == a.size == 1024
    assert found["allocated_bytes.all.peak"] == a.size + b.size
    assert found["requested_bytes.all.current"] == 1000
    assert found["reserved_bytes.all.current"] == found["reserved_bytes.all.peak"] == 22 * MIB
    assert found["inactive_split_bytes.all.current"] == 2 * MIB - 1024
    assert [found[f"allocation.all.{k}"] for k in ("current", "allocated", "freed")] == [1, 2, 1]
    pool.reset_peaks()
    assert pool.peak_allocated == a.size
    pool.empty_cache()
    assert (pool.reserved, pool.peak_reserved) == (2 * MIB, 22 * MIB)
    assert "22.0 MiB" in report.summary(pool)
    assert [told(n) for n in (512, 1536, MIB, 3 << 30)] == [
        "512 bytes", "1.5 KiB", "1.0 MiB", "3.0 GiB",
    ]  # fmt: skip


# ---- other code in the middle ------------------------------------------------------------------


def test_threads():
    """Eight threads take, give and ask; in the end every byte is back."""
    driver = Driver()
    pool = driver.pool()
    errors = []

    def work(seed):
        draw, mine = random.Random(seed), []
        try:
            for _ in range(2000):
                if mine and draw.random() < 0.5:
                    block, mark = mine.pop(draw.randrange(len(mine)))
                    assert block.holder == mark
                    pool.free(block)
                else:
                    block = pool.malloc(draw.choice((100, 5000, 3 * MIB, 20 * MIB)), seed % 2)
                    assert block.holder is None or block.state == "live"
                    block.holder = (seed, len(mine))
                    mine.append((block, block.holder))
                if draw.random() < 0.002:
                    pool.empty_cache()
            for block, _ in mine:
                pool.free(block)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert pool.allocated == 0
    pool.empty_cache()
    assert pool.reserved == driver.used == 0


def test_a_finaliser_may_take_and_give_in_the_middle_of_a_search(driver):
    """The cyclic collector runs when it likes: here, whenever the driver is asked."""
    pool = driver.pool()
    oracle = Oracle(pool)
    pending = [oracle.malloc(30_000) for _ in range(40)]

    def disturb(size, get=driver.get):
        if pending:
            oracle.free(pending.pop())
            oracle.malloc(12_345)
            if len(pending) % 3 == 0:
                oracle.malloc(3 * MIB)  # searches while a search goes on
            pool.empty_cache()
        return get(size)

    pool._get = disturb
    for n in range(30):
        oracle.malloc((n % 5 + 1) * 11 * MIB)
        oracle.check()


def test_a_finaliser_may_run_while_blocks_are_merged(driver, monkeypatch):
    """Between two steps that belong together: a search of its own would find half of them done."""
    pool = driver.pool()
    oracle = Oracle(pool)
    join, running, disturbances = Arena._join, [], []

    def disturbed(block, after):
        join(block, after)
        if not running:
            running.append(True)
            oracle.malloc(2048 + 512 * len(oracle.live))
            running.pop()
            disturbances.append(after)

    monkeypatch.setattr(Arena, "_join", staticmethod(disturbed))
    monkeypatch.setattr(pool, "_affords", lambda wanted, segment: False)  # so it merges each time
    for n in range(1, 40):
        sizes = [30_000 + 1024 * k for k in range(10)]  # other neighbours each time
        blocks = [oracle.malloc(size) for size in (sizes if n % 2 else reversed(sizes))]
        for block in blocks:
            oracle.free(block)
        pool.empty_cache()
        oracle.malloc(n * 20_000)
        oracle.check()
    assert len(disturbances) > 40


def test_a_finaliser_may_run_before_a_block_is_handed_out(driver):
    """What it frees is not merged with a block that is on its way."""
    pool = driver.pool()
    oracle = Oracle(pool)
    neighbours = [oracle.malloc(30_000 + 512 * k) for k in range(30)]

    def site():
        if neighbours:
            oracle.free(neighbours.pop())
            pool.empty_cache()
        return "somebody"

    pool.record_holders(site)
    for n in range(25):
        oracle.malloc(5_000 + 512 * n)
        oracle.check()
