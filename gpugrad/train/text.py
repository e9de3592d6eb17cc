"""The text that a language model is trained on."""

from __future__ import annotations

import copy
import sysconfig
import zlib
from pathlib import Path

from gpugrad.datasets import Text
from gpugrad.errors import SettingError

#: Of a text, so many characters at most are held out to measure on, and a tenth if that is less.
HELD_OUT = 1 << 17
#: Folders of the standard library that are left out: tests, and what is not part of it.
_SKIPPED = {"test", "tests", "idle_test", "__pycache__", "site-packages", "dist-packages"}


class StandardLibrary(Text):
    """The sources of Python's standard library on this machine, those that are plain ASCII.

    The order is fixed but mixed, by a checksum of the names, so that what is held out at the end
    is of the same kind as the rest.

    Args:
        context: characters of a window.

    Raises:
        SettingError: if there are none.
    """

    def __init__(self, context: int) -> None:
        super().__init__(sysconfig.get_path("stdlib"), context, split=1.0)

    def _paths(self, pattern: str) -> list[Path]:
        found = [
            path
            for path in self.root.rglob("*.py")
            if not _SKIPPED.intersection(path.relative_to(self.root).parts)
        ]
        names = {path: path.relative_to(self.root).as_posix() for path in found}
        found.sort(key=lambda path: (zlib.crc32(names[path].encode()), names[path]))
        plain = [path for path in found if path.read_bytes().isascii()]
        if not plain:
            raise SettingError(
                f"train chargpt: no sources of the standard library in {self.root}; "
                "give a text of your own with --text"
            )
        return plain


def load(path: str | None, context: int) -> Text:
    """A text from a file in UTF-8, or the standard library's sources.

    Raises:
        OSError: if it cannot be read; GpugradError: if it is too short, or not UTF-8.
    """
    return StandardLibrary(context) if path is None else Text(path, context, split=1.0)


def split(text: Text) -> tuple[Text, Text]:
    """The part to train on and the one held out, the end of the text.

    Raises:
        SettingError: if either is too short for one window.
    """
    total = len(text.data)
    held_out = min(total - int(0.9 * total), HELD_OUT)
    if held_out <= text.block_size:
        raise SettingError(
            f"train chargpt: {text.root} has {total} characters; a context of {text.block_size} "
            f"needs at least {10 * (text.block_size + 1)}"
        )
    parts = copy.copy(text), copy.copy(text)
    parts[0].data, parts[1].data = text.data[:-held_out], text.data[-held_out:]
    return parts


def contents(text: Text) -> str:
    """What tells a text from others."""
    checksum = zlib.crc32(text.vocabulary.encode(), zlib.crc32(text.data.numpy()))
    return f"{len(text.data):,} characters, CRC-32 {checksum:08x}"
