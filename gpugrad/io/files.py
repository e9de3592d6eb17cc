"""Writing files so that a reader never meets half of one.

What is written goes to a temporary place beside its target and is moved there by ``os.replace``,
which the system does in one step.  If anything goes wrong before, the target is as it was.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; its file takes ``path``'s place at the end.

    Raises:
        OSError: if the folder cannot be written; ``path`` is then as it was.
    """
    target = Path(path)
    with named(target):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with named(target):
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp lets nobody else read
            _settle(temporary)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def staged(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``; what lies there at the end moves up, file by file.

    ``folder`` is made with its parents where it is missing, and removed again if the block fails.
    Files of other names in it are left alone.

    Raises:
        OSError: if the folder cannot be made or written; nothing in it has changed then.
    """
    target = Path(folder)
    missing = [p for p in (target, *target.parents) if not p.exists()]
    inner: Path | None = None
    try:
        with named(target):
            target.mkdir(parents=True, exist_ok=True)
            inner = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target))
        yield inner
        with named(target):
            written = sorted(p for p in inner.iterdir() if p.is_file())
            for p in written:
                _settle(p)
            for p in written:
                os.replace(p, target / p.name)
        missing = []
    finally:
        if inner is not None:
            shutil.rmtree(inner, ignore_errors=True)
        for p in missing:  # the deepest comes first
            try:
                p.rmdir()
            except OSError:
                break  # something else is in it by now


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the system inside name ``path``, not a temporary file or nothing at all."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def _settle(path: Path) -> None:
    """Wait until the bytes are on the disk, so that a full one is noticed before the move."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
