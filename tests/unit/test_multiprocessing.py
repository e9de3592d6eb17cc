"""``torch.multiprocessing``: Python's, with ``spawn``; tensors arrive as copies."""

import os
import time
from typing import Any

import pytest

import gpugrad as gg
from gpugrad import multiprocessing, nn
from gpugrad.errors import SettingError

# Python 3.12 and later warn of any fork beside threads, such as those of a BLAS.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def _send(i: int, tensor: Any, queue: Any) -> None:
    queue.put((i, tensor))


def _fail(i: int) -> None:
    if i == 1:
        raise ValueError("boom")
    time.sleep(60)


def _die(i: int) -> None:
    os._exit(3 + i)


def test_processes_get_copies_of_tensors() -> None:
    """Class, dtype and values arrive; each process has its number."""
    queue = multiprocessing.get_context("fork").SimpleQueue()
    given = nn.Parameter(gg.ones(2, dtype=gg.bfloat16))
    multiprocessing.spawn(_send, (given, queue), 2, start_method="fork")
    found = sorted((queue.get() for _ in range(2)), key=lambda pair: pair[0])
    assert [i for i, _ in found] == [0, 1]
    assert {(type(t), t.dtype, t.requires_grad, str(t.tolist())) for _, t in found} == {
        (nn.Parameter, gg.bfloat16, True, "[1.0, 1.0]")
    }


def test_what_a_process_raises_is_told_and_ends_the_others() -> None:
    """With its traceback; the sleeping neighbour is not waited for."""
    start = time.monotonic()
    with pytest.raises(multiprocessing.ProcessRaisedException, match=r"(?s)_fail.*boom") as caught:
        multiprocessing.spawn(_fail, nprocs=2, start_method="fork")
    assert caught.value.error_index == 1
    assert time.monotonic() - start < 30


def test_a_process_that_ends_by_itself_is_told() -> None:
    """With its exit code; ``join=False`` hands out what to wait for."""
    context = multiprocessing.spawn(_die, join=False, start_method="fork")
    assert len(context.pids()) == 1
    with pytest.raises(multiprocessing.ProcessExitedException, match="exit code 3") as caught:
        context.join()
    assert caught.value.exit_code == 3


def test_sharing_strategies_are_pytorchs() -> None:
    """The two names are taken, others are not; Python's own names are there."""
    multiprocessing.set_sharing_strategy("file_system")
    assert multiprocessing.get_sharing_strategy() == "file_system"
    with pytest.raises(SettingError, match="file_descriptor"):
        multiprocessing.set_sharing_strategy("pigeon")
    multiprocessing.set_sharing_strategy("file_descriptor")
    assert {multiprocessing.Process, multiprocessing.Queue, multiprocessing.set_start_method}
