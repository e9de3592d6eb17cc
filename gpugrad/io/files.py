"""Writing files so that a reader never meets half of one.

What is written goes to a temporary place beside its target and is moved there by ``os.replace``,
which the system does in one step.  If anything goes wrong before, the target is as it was; even a
killed process or a power cut leaves the old file or the new one, whole.

A killed process cannot tidy up.  Every writer therefore holds a lock on its temporary file, which
the system takes back when the process ends, and the next writer of the same target removes the
temporary files that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; its file takes ``path``'s place at the end.

    A link is followed.  What is no ordinary file (``/dev/null``, a pipe) is yielded itself, as it
    cannot be replaced.

    Raises:
        OSError: if the folder cannot be written; ``path`` is then as it was.
    """
    with named(Path(path)):
        target = Path(os.path.realpath(path))
        held = os.stat(target) if target.exists() else None
    if held is not None and not stat.S_ISREG(held.st_mode) and not stat.S_ISDIR(held.st_mode):
        yield target
        return
    prefix = f".{target.name[:80]}."
    with named(Path(path)):
        handle, temporary = _locked(target.parent, prefix)
    try:
        yield temporary
        with named(Path(path)):
            if held is not None:
                os.chmod(temporary, stat.S_IMODE(held.st_mode))
            os.fsync(handle)  # a full disk is noticed before the move
            os.replace(temporary, target)
            _settle(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)
    _sweep(target.parent, prefix)


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
            inner = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}-", dir=target))
        yield inner
        with named(target):
            written = sorted(p for p in inner.iterdir() if p.is_file())
            for p in written:
                _settle(p)
            for p in written:
                os.replace(p, target / p.name)
            _settle(target)
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
        if error.errno is None:  # raised by a library, with words of its own
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def _settle(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locked(folder: Path, prefix: str) -> tuple[int, Path]:
    """Make a fresh file and lock it, before a sweep of another process can take it away."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(6)}{_UNFINISHED}"
        # The mode is ordinary, less the umask: others may read what is saved.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if _lock(handle) and os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file unless somebody else has; where there are no locks, say so and go on."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _sweep(folder: Path, prefix: str) -> None:
    """Remove temporary files that processes left when they were killed."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.startswith(prefix) and entry.name.endswith(_UNFINISHED):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if the writer lives
        os.unlink(path)
    finally:
        os.close(handle)
