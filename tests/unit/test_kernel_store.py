"""Compiled code on disk: only what is exactly as it was written is there, and nothing is raised."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from gpugrad.backends import kept
from gpugrad.backends.kept import MAGIC, Store, write_whole
from gpugrad.config import config

ROOT = Path(__file__).parents[2]
CODE = bytes(range(40))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in a folder of its own."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path / "cache"))
    return Store("cuda", ".cubin")


def test_what_was_written_is_read(store: Store) -> None:
    """Also the empty string; nothing else is in the folder, and it is the user's alone."""
    assert store.read("a") is None
    store.write("a", CODE)
    store.write("b", b"")
    assert (store.read("a"), store.read("b"), store.read("c")) == (CODE, b"", None)
    assert sorted(p.name for p in store.folder.iterdir()) == ["a.cubin", "b.cubin"]
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_the_last_write_counts(store: Store) -> None:
    """A file that is there is replaced."""
    store.write("a", CODE)
    store.write("a", CODE[::-1])
    assert store.read("a") == CODE[::-1]


def test_every_cut_and_every_changed_byte_is_seen(store: Store) -> None:
    """No prefix of a file is taken for it, nor the file with one byte more or another one."""
    store.write("a", CODE)
    path = store.path("a")
    good = path.read_bytes()
    harmed = [good[:n] for n in range(len(good))] + [good + b"\0"]
    harmed += [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(len(good))]
    for data in harmed:
        path.write_bytes(data)
        assert store.read("a") is None
    path.write_bytes(good)
    assert store.read("a") == CODE


def test_a_file_under_another_name_is_not_taken(store: Store) -> None:
    """The name says what the code was made from, so it is part of what is checked."""
    store.write("a", CODE)
    os.rename(store.path("a"), store.path("b"))
    assert store.read("b") is None


def test_an_earlier_layout_is_not_read(store: Store) -> None:
    """Files of the version before look as if they were not there."""
    store.write("a", CODE)
    data = store.path("a").read_bytes()
    store.path("a").write_bytes(data.replace(MAGIC, b"gpugrad kernel 1\n"))
    assert store.read("a") is None


@pytest.mark.parametrize("place", ["/proc/nowhere", "a file"])
def test_a_folder_that_cannot_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept, and nothing is raised."""
    if place == "a file":
        (tmp_path / place).write_text("in the way")
        place = str(tmp_path / place)
    monkeypatch.setattr(config, "cache_dir", place)
    store = Store("cuda", ".cubin")
    store.write("a", CODE)
    assert store.read("a") is None


def _full(*args: Any, **settings: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


class _FullFile:
    """A file on a full disk: half of what is written arrives."""

    def __init__(self, handle: int, mode: str) -> None:
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._handle)

    def write(self, data: bytes) -> None:
        os.write(self._handle, data[: len(data) // 2])
        _full()


FULL = {"mkstemp": (kept.tempfile, _full), "fdopen": (kept.os, _FullFile),
        "replace": (kept.os, _full), "mkdir": (Path, _full)}  # fmt: skip


@pytest.mark.parametrize("step", FULL)
def test_a_full_disk(step: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the disk fills up, what was there stays whole and no part of a file is left."""
    store.write("a", CODE)
    with monkeypatch.context() as patch:
        patch.setattr(FULL[step][0], step, FULL[step][1])
        store.write("a", b"other")
        store.write("b", b"other")
        with pytest.raises(OSError, match="No space left"):
            write_whole(store.path("c"), b"other")
    assert (store.read("a"), store.read("b")) == (CODE, None)
    assert [p.name for p in store.folder.iterdir()] == ["a.cubin"]


def test_an_interruption_leaves_no_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a file is written comes through, and the temporary file is gone."""

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    store.write("a", CODE)
    monkeypatch.setattr(kept.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write("b", CODE)
    assert [p.name for p in store.folder.iterdir()] == ["a.cubin"]


WRITER = """
from gpugrad.backends.kept import Store
store = Store("cuda", ".cubin")
for i in range(150):
    store.write("a", bytes([i]) * 300_000)
"""


def test_readers_see_whole_files_while_processes_write(store: Store) -> None:
    """Two processes write other bytes under one name; a reader always finds one writer's file."""
    store.write("a", bytes(300_000))
    env = os.environ | {"GPUGRAD_CACHE_DIR": config.cache_dir, "PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER], env=env) for _ in range(2)]
    seen = set()
    while any(w.poll() is None for w in writers):
        data = store.read("a")
        assert data is not None
        assert data == data[:1] * 300_000
        seen.add(data[:1])
    assert [w.returncode for w in writers] == [0, 0]
    assert len(seen) > 2  # it read while they wrote
    assert store.read("a") == bytes([149]) * 300_000
    assert [p.name for p in store.folder.iterdir()] == ["a.cubin"]
