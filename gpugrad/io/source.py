"""Reading parts of a file into fresh arrays: an open path, or whatever can read and seek."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gpugrad.errors import ArgumentError, FileFormatError, SettingError
from gpugrad.io.files import named

#: A flat uint8 array.
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Source:
    """A file from a place onwards: its name for messages, its size, and its bytes.

    Args:
        file: open for reading bytes, and able to seek.
        name: what messages call it.
        path: set if it is a file of its own, which ends where its contents end.
        mapped: whether arrays may lie in the file's pages, which are then read when needed.
    """

    def __init__(self, file: Any, name: str, path: Path | None = None,
                 mapped: bool = False) -> None:  # fmt: skip
        self.file, self.name = file, name
        self.whole = path is not None
        with named(Path(name)):
            self._start = 0 if self.whole else file.tell()
            self.size = file.seek(0, os.SEEK_END) - self._start
        self.mapped = mapped
        self._map = np.asarray(np.memmap(file, np.uint8, "c")) if mapped and self.size else None

    def read(self, start: int, count: int) -> Bytes:
        """``count`` bytes from ``start``, in memory of their own or in the mapped file.

        Raises:
            FileFormatError: if the file does not have them.
        """
        if start < 0 or count < 0 or start + count > self.size:
            self.refuse(f"bytes {start} to {start + count} are wanted of {self.size}")
        if self._map is not None:
            return self._map[start : start + count]
        array = np.empty(count, np.uint8)
        left = memoryview(array.data)
        with named(Path(self.name)):
            self.file.seek(self._start + start)
        while left:
            with named(Path(self.name)):
                got = self._into(left)
            if not got:
                self.refuse(f"it ends {len(left)} bytes too early")
            left = left[got:]
        return array

    def _into(self, target: memoryview) -> int:
        if hasattr(self.file, "readinto"):
            return int(self.file.readinto(target))
        data = self.file.read(len(target))
        target[: len(data)] = data
        return len(data)

    def finish(self, used: int) -> None:
        """Leave an open file behind what was read, so that the next object can follow."""
        if not self.whole:
            self.file.seek(self._start + used)

    def refuse(self, what: str) -> NoReturn:
        """Raise FileFormatError that names the file."""
        raise FileFormatError(f"load: {self.name}: {what}")


@contextmanager
def opened(f: Any, mapped: bool = False) -> Iterator[Source]:
    """Open a path, or take an open file.

    Raises:
        ArgumentError: if it is neither; SettingError: if an open file should be mapped.
        OSError: if it cannot be read.
    """
    if isinstance(f, str | os.PathLike):
        path = Path(f)
        with named(path):
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed below
        with file:
            if file.seekable():
                yield Source(file, str(path), path, mapped)
            else:  # a pipe by its path
                yield Source(io.BytesIO(file.read()), str(path))
        return
    if not hasattr(f, "read") or isinstance(f, io.TextIOBase):
        raise ArgumentError(
            f"load: f must be a path or a file open for reading bytes, got {type(f).__name__}"
        )
    if mapped:
        raise SettingError("load: mmap=True needs a path, got an open file")
    name = str(getattr(f, "name", None) or f"<{type(f).__name__}>")
    yield Source(f if _has_an_end(f) else io.BytesIO(f.read()), name)


def _has_an_end(f: Any) -> bool:
    """Whether one can go to the end of a file and back: not in a pipe or a compressed file."""
    try:
        here = f.tell()
        f.seek(0, os.SEEK_END)
        f.seek(here)
    except (AttributeError, OSError, ValueError):
        return False
    return True


def shown(value: Any) -> str:
    """What a file has where something else should be, in few words.

    ``repr`` would follow whatever the file has nested, and some nests have no end.
    """
    if type(value) in (str, bytes):
        return f"{value[:80]!r}"
    if value is None or type(value) in (bool, float):
        return repr(value)
    if type(value) is int:
        return repr(value) if value.bit_length() < 256 else "a very long number"
    short = type(value) in (list, tuple) and len(value) <= 8
    if short and not any(isinstance(v, list | tuple) for v in value):
        return f"[{', '.join(map(shown, value))}]"
    return f"a {type(value).__name__}"
