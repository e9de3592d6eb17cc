"""The threads that share a loop: each part is done once, and an error reaches the caller."""

import threading

import pytest

from gpugrad.backends.workers import workers

PARTS = [(i,) for i in range(40)]


def test_each_part_is_done_once():
    done = []
    workers.run(done.append, PARTS, 4)
    assert sorted(done) == [i for (i,) in PARTS]


def test_parts_run_side_by_side():
    # Each part waits for the other: one thread alone would wait for ever.
    both = threading.Barrier(2, timeout=20)
    workers.run(both.wait, [(), ()], 2)


@pytest.mark.parametrize("bad", range(3))
def test_an_error_in_any_thread_is_raised_after_all_parts(bad):
    together, done = threading.Barrier(3, timeout=20), []

    def part(i):
        together.wait()  # so that three threads take one part each
        if i == bad:
            raise IndexError(f"part {i}")
        done.append(i)

    for _ in range(3):  # the threads live on
        with pytest.raises(IndexError, match=f"part {bad}"):
            workers.run(part, [(0,), (1,), (2,)], 3)
    assert sorted(done) == sorted([i for i in range(3) if i != bad] * 3)
