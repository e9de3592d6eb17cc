"""Run by ``test_checkpoint_files.py`` in a process of its own: saves that are killed, or fail.

It forks, so that gpugrad is imported once; every child does one thing and is waited for.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import gpugrad as gg
from gpugrad.io import replacing

SIZE = 200_000


def generation(number: int) -> dict[str, object]:
    return {"number": number, "x": gg.full((SIZE,), float(number)), "y": [gg.ones(3) * number]}


def is_whole(found: dict[str, object], known: tuple[int, ...]) -> bool:
    number = found["number"]
    x, (y,) = found["x"], found["y"]
    return number in known and bool((x == number).all()) and y.tolist() == [number] * 3


def child(work: Callable[[], None]) -> int:
    """Start ``work`` in a process; it ends with status 0 if it comes to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def kill(folder: Path, times: int) -> None:
    """Kill processes that save two generations in turn; look at the file after each.

    It goes on until some were killed before and some after their first save, and some meanwhile.
    """
    path = folder / "c"
    begin = time.perf_counter()
    gg.save(generation(1), path)
    moment = 3 * (time.perf_counter() - begin)
    chance = random.Random(0)
    now, changed, left, done = 1, set(), 0, 0
    while done < times or len(changed) < 2 or not left:
        assert done < 20 * times, f"after {done} kills: changed {changed}, unfinished {left}"
        before = len(leftovers(folder))
        pid = child(partial(save_for_ever, path, now))
        time.sleep(chance.uniform(0, moment))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the child ended by itself"
        found = gg.load(path)
        assert is_whole(found, (1, 2)), f"a damaged file: {found}"
        changed.add(found["number"] != now)
        now = found["number"]
        left += len(leftovers(folder)) > before
        done += 1
    gg.save(generation(3), path)
    assert is_whole(gg.load(path), (3,))
    assert not leftovers(folder), leftovers(folder)


def save_for_ever(path: Path, number: int) -> None:
    """Save the other generation, and so on."""
    while True:
        number = 3 - number
        gg.save(generation(number), path)


def alive(folder: Path) -> None:
    """The unfinished file of a process that still writes is left alone."""
    path = folder / "c"
    ready, done = os.pipe(), os.pipe()

    def work() -> None:
        os.close(done[1])  # so that the end of the parent is the end of the wait
        with replacing(path) as temporary:
            temporary.write_text("slow")
            os.write(ready[1], b"x")
            os.read(done[0], 1)

    pid = child(work)
    os.close(ready[1])
    assert os.read(ready[0], 1) == b"x"
    gg.save(generation(1), path)
    assert len(leftovers(folder)) == 1
    os.write(done[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    assert path.read_text() == "slow"
    assert not leftovers(folder)


def full(folder: Path) -> None:
    """A file may not grow: the error names it, the one before is whole."""
    path = folder / "c"
    gg.save(generation(1), path)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
        with pytest.raises(OSError, match=str(path)) as caught:
            gg.save(generation(2), path)
        assert caught.value.errno == errno.EFBIG

    assert os.waitpid(child(work), 0)[1] == 0
    assert is_whole(gg.load(path), (1,))
    assert not leftovers(folder)


def forbidden(folder: Path) -> None:
    """A folder that may not be written: the error names the file, the one before is whole."""
    gg.save(generation(1), folder / "c")
    os.chdir(folder)
    os.chmod(folder, 0o555)

    def work() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        with pytest.raises(PermissionError) as caught:
            gg.save(generation(2), "c")
        assert caught.value.filename == "c"

    assert os.waitpid(child(work), 0)[1] == 0
    os.chmod(folder, 0o755)
    assert is_whole(gg.load(folder / "c"), (1,))
    assert not leftovers(folder)


if __name__ == "__main__":
    what, where, *count = sys.argv[1:]
    globals()[what](Path(where), *map(int, count))
