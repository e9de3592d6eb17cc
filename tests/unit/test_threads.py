"""Threads of one op: the number at start, the setting, and that BLAS follows it."""

import os
import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info

import gpugrad as gg
from gpugrad.errors import ArgumentError, SettingError


@pytest.fixture(autouse=True)
def put_back():
    before = gg.get_num_threads(), gg.get_num_interop_threads()
    yield
    gg.set_num_threads(before[0])
    gg.set_num_interop_threads(before[1])


def blas() -> set[int]:
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


@pytest.mark.parametrize("num", [1, 2])
def test_blas_follows(num: int) -> None:
    gg.set_num_threads(num)
    assert gg.get_num_threads() == num
    assert blas() == {num}


@pytest.mark.parametrize("set_", [gg.set_num_threads, gg.set_num_interop_threads])
def test_what_is_no_number_of_threads_is_refused(set_) -> None:
    with pytest.raises(SettingError, match=r"num is 0; accepted: 1, 2"):
        set_(0)
    for wrong in ("2", 2.0, True):
        with pytest.raises(ArgumentError, match="must be an int, got"):
            set_(wrong)


def test_between_ops_any_bound_holds() -> None:
    gg.set_num_interop_threads(3)
    assert gg.get_num_interop_threads() == 3


def test_the_number_at_start() -> None:
    """OMP_NUM_THREADS, else the cores of this process, which may be fewer than the machine's."""
    code = "import os, gpugrad.threads as t; print(t.get_num_threads(), t.cores())"
    code = code.replace("t.cores()", "len(os.sched_getaffinity(0))" if hasattr(
        os, "sched_getaffinity") else "os.cpu_count()")  # fmt: skip

    def at_start(value: str) -> list[str]:
        variables = {**os.environ, "OMP_NUM_THREADS": value}
        return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True,
                              text=True, check=True).stdout.split()  # fmt: skip

    assert at_start("3,2")[0] == "3"
    free, cores = at_start("0")
    assert free == cores
