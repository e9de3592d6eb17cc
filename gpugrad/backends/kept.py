"""Compiled code kept on disk: one folder and kind of file per compiler, shared by processes.

A file is trusted by its own checksum alone, so one that was cut short, changed, or put there under
another name reads as if it were not there.  Writing is by rename, which lets processes race: all of
them have the same bytes to write.  Where a folder cannot be written or the disk is full, the next
process compiles again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from gpugrad.config import config

#: How a file begins; the number goes up when what follows is laid out anew.
MAGIC = b"gpugrad kernel 2\n"
_DIGEST = 32


class Store:
    """The files of one compiler, below ``config.cache_dir``.

    Args:
        folder: name of the folder.
        suffix: how its files end.
    """

    def __init__(self, folder: str, suffix: str) -> None:
        self._folder, self._suffix = folder, suffix

    @property
    def folder(self) -> Path:
        """Where the files are; it need not be there yet."""
        return Path(config.cache_dir) / self._folder

    def path(self, name: str) -> Path:
        """Where the file of a name is, or would be."""
        return self.folder / f"{name}{self._suffix}"

    def read(self, name: str) -> bytes | None:
        """What was written under a name, or None if that is not there, or not any more."""
        try:
            data = self.path(name).read_bytes()
        except OSError:
            return None
        head, digest, kept = _parted(data)
        return kept if head == MAGIC and digest == _digest(name, kept) else None

    def write(self, name: str, kept: bytes) -> None:
        """Keep bytes under a name, if the folder and the disk let us."""
        try:
            write_whole(self.path(name), MAGIC + _digest(name, kept) + kept)
        except OSError:
            return


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that others see whole or not at all.

    Raises:
        OSError: if it cannot be written; nothing of it is left then.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _parted(data: bytes) -> tuple[bytes, bytes, bytes]:
    start = len(MAGIC) + _DIGEST
    return data[: len(MAGIC)], data[len(MAGIC) : start], data[start:]


def _digest(name: str, kept: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kept).digest()
