"""What the readers share: finding files, refusing them by name, reading no more than is there."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NoReturn, Self

import numpy as np

from gpugrad.errors import FileFormatError
from gpugrad.io.files import named

#: Deflate cannot pack more than this many bytes into one.
DEFLATE_LIMIT = 1032
#: Bytes that one array may have; the largest of these data sets has a twentieth of it.
SIZE_LIMIT = 4 << 30


def refuse(path: Path, what: str) -> NoReturn:
    """Raise FileFormatError that names the file."""
    raise FileFormatError(f"{path}: {what}")


def missing(what: str, root: Path, looked_for: Iterable[str]) -> NoReturn:
    """Raise FileNotFoundError that says what was looked for and where."""
    if not root.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
    wanted = ", ".join(looked_for)
    raise FileNotFoundError(errno.ENOENT, f"{what}: nothing found of {wanted}", str(root))


def first_of(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first file there is of some names in some folders."""
    names = list(names)
    return next((f / n for f in folders for n in names if (f / n).is_file()), None)


def contents(path: Path) -> bytes:
    """The bytes of a file; not of a device, which may have no end."""
    with named(path):
        if path.is_char_device() or path.is_block_device():
            refuse(path, "this is a device; accepted: a file")
        return path.read_bytes()


def check_claim(path: Path, what: str, claimed: int, packed: int) -> None:
    """Raise if so many packed bytes cannot hold what is claimed, before memory is taken for it."""
    if claimed > min(packed * DEFLATE_LIMIT, SIZE_LIMIT):
        refuse(path, f"{what} claims {claimed} bytes, which its {packed} packed bytes cannot hold")


class Reader:
    """A file, packed with gzip if its name ends in ``.gz``, read in pieces of known size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.packed = path.suffix == ".gz"
        with named(path):
            self.size = os.stat(path).st_size
            self._file: IO[bytes] = gzip.open(path) if self.packed else open(path, "rb")  # type: ignore[assignment]  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def take(self, count: int, what: str) -> Any:
        """The next ``count`` bytes as a flat uint8 array.

        Raises:
            FileFormatError: if they are not there, or the packing is damaged.
        """
        if self.packed:
            check_claim(self.path, what, count, self.size)
        elif count > self.size:
            refuse(self.path, f"{what} needs {count} bytes, the file has {self.size}")
        found: Any = np.empty(count, np.uint8)
        rest = memoryview(found)
        while len(rest):
            got = self._into(rest)
            if not got:
                refuse(self.path, f"it ends {len(rest)} bytes before the end of {what}")
            rest = rest[got:]
        return found

    def end(self, what: str) -> None:
        """Raise if anything follows."""
        if self._into(memoryview(bytearray(1))):
            refuse(self.path, f"bytes follow the end of {what}")

    def _into(self, target: memoryview) -> int:
        try:
            with named(self.path):
                return self._file.readinto(target)  # type: ignore[attr-defined, no-any-return]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            refuse(self.path, f"damaged gzip file: {error}")
