"""``futures``: set once, waited for, followed; also between threads."""

import logging
import threading

import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, AutogradError, NotSupportedError
from gpugrad.futures import Future, collect_all, wait_all


def test_a_result_arrives_from_another_thread() -> None:
    future = Future()
    assert not future.done()
    with pytest.raises(AutogradError, match="not done"):
        future.value()
    worker = threading.Timer(0.01, lambda: future.set_result(gg.ones(2)))
    worker.start()
    assert future.wait().tolist() == [1, 1]
    worker.join()
    assert future.done()
    assert future.value() is future.wait()
    with pytest.raises(AutogradError, match="only once"):
        future.set_result(1)


def test_what_follows() -> None:
    """In order, before or after the result, chained; an exception goes down the chain."""
    future, seen = Future(), []
    future.add_done_callback(lambda f: seen.append(f.value()))
    second = future.then(lambda f: f.value() + 1).then(lambda f: f.value() * 10)
    future.add_done_callback(lambda f: seen.append("last"))
    future.set_result(1)
    assert seen == [1, "last"]
    assert second.wait() == 20
    assert future.then(lambda f: "late").value() == "late"
    failed = future.then(lambda f: 1 / 0)
    for waiting in (failed.wait, failed.value, failed.then(lambda f: f.wait()).wait):
        with pytest.raises(ZeroDivisionError):
            waiting()


def test_an_exception_is_raised_where_it_is_waited_for(caplog) -> None:
    future = Future()
    with caplog.at_level(logging.CRITICAL + 1):
        future.add_done_callback(lambda f: f.value())  # raises, is logged, stops nothing
        future.set_exception(KeyError("k"))
    with pytest.raises(KeyError):
        future.wait()
    with pytest.raises(ArgumentError, match="got str"):
        Future().set_exception("no exception")


def test_all_of_several() -> None:
    futures = [Future() for _ in range(50)]
    together = collect_all(futures)
    workers = [threading.Thread(target=f.set_result, args=(i,)) for i, f in enumerate(futures)]
    for w in workers:
        w.start()
    assert [f.value() for f in together.wait()] == list(range(50)) == wait_all(futures)
    for w in workers:
        w.join()
    assert collect_all([]).value() == []
    bad = [Future(), Future()]
    bad[0].set_exception(ValueError("first"))
    assert not collect_all(bad).done()
    bad[1].set_result(2)
    assert collect_all(bad).wait()[1].value() == 2
    with pytest.raises(ValueError, match="first"):
        wait_all(bad)


def test_devices_are_refused() -> None:
    assert gg.futures.Future(devices=[]).done() is False
    with pytest.raises(NotSupportedError, match="synchronize"):
        Future(devices=["cuda:0"])
