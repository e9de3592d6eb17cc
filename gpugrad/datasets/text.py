"""Plain text as numbers of its characters or bytes, for language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.datasets.files import contents, missing, refuse
from gpugrad.errors import IndexingError, SettingError
from gpugrad.tensor import Tensor, wrap
from gpugrad.utils.data.dataset import Dataset, Rows


class Text(Dataset[tuple[Tensor, Tensor]]):
    """Windows of a text: ``dataset[i]`` is ``(input, target)``, int64 of shape (block_size,).

    ``target`` is ``input`` moved on by one character.  There is a window at every place.

    Args:
        root: a file, or a folder whose files are read in order of their paths.
        block_size: characters of a window.
        train: read the first part of the text, else the rest.
        level: ``"char"`` for characters of UTF-8, ``"byte"`` for bytes, of which there are 256.
        split: share of the text that is the first part.
        pattern: which files of a folder are read.
        vocabulary: the characters in order of their numbers; by default those of the whole text,
            sorted.

    Attributes:
        data: the numbers of this part, uint8 or int32.
        vocabulary: the characters in order of their numbers; empty for bytes.

    Raises:
        SettingError: if the part is too short for one window, or has characters that are not in
            the vocabulary; FileNotFoundError: if there is no file.
        FileFormatError: if a file is not UTF-8, naming the place.
    """

    def __init__(self, root: Any, block_size: int, train: bool = True, *, level: str = "char",
                 split: float = 0.9, pattern: str = "*.txt",
                 vocabulary: str | None = None) -> None:  # fmt: skip
        if level not in ("char", "byte"):
            raise SettingError(f"Text: level is {level!r}; accepted: 'char', 'byte'")
        if not 0 <= split <= 1:
            raise SettingError(f"Text: split is {split}; accepted: 0 to 1")
        self.root, self.block_size, self.train = Path(root).expanduser(), block_size, train
        raw = [(p, contents(p)) for p in self._paths(pattern)]
        if level == "byte":
            self.vocabulary = ""
            codes = np.frombuffer(b"".join(b for _, b in raw), np.uint8)
        else:
            text = "".join(_decoded(p, b) for p, b in raw)
            self.vocabulary = "".join(sorted(set(text))) if vocabulary is None else vocabulary
            codes = self._codes(text)
        cut = int(len(codes) * split)
        part = codes[:cut] if train else codes[cut:]
        if block_size < 1 or len(part) <= block_size:
            raise SettingError(
                f"Text: {self.root} has {len(part)} characters in this part; a window of "
                f"block_size={block_size} and the character behind it must fit"
            )
        self.data = wrap(part.copy())

    def _paths(self, pattern: str) -> list[Path]:
        if not self.root.is_dir():
            return [self.root]
        found = sorted(p for p in self.root.rglob(pattern) if p.is_file())
        return found or missing("Text", self.root, [pattern])

    def _codes(self, text: str) -> Any:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        known = np.frombuffer(self.vocabulary.encode("utf-32-le"), np.uint32)
        order = np.argsort(known)
        place = np.searchsorted(known, points, sorter=order).clip(0, max(len(known) - 1, 0))
        codes = order[place] if len(known) else place
        if len(points) and (not len(known) or (wrong := known[codes] != points).any()):
            odd = chr(points[wrong][0] if len(known) else points[0])
            raise SettingError(f"Text: {odd!r} is not in the vocabulary of {len(known)} characters")
        return codes.astype(np.uint8 if len(known) <= 256 else np.int32)

    @property
    def vocab_size(self) -> int:
        """How many numbers there are."""
        return len(self.vocabulary) or 256

    def encode(self, text: str) -> Tensor:
        """A text as numbers, int64 of shape (length,).

        Raises:
            SettingError: if a character is not in the vocabulary.
        """
        if not self.vocabulary:
            return wrap(np.frombuffer(text.encode(), np.uint8).astype(np.int64))
        return wrap(self._codes(text).astype(np.int64))

    def decode(self, codes: Any) -> str:
        """Numbers as a text; bytes that are no UTF-8 become the replacement character."""
        numbers = codes.tolist() if isinstance(codes, Tensor) else list(codes)
        if not self.vocabulary:
            return bytes(numbers).decode(errors="replace")
        return "".join(self.vocabulary[n] for n in numbers)

    def __len__(self) -> int:
        return len(self.data) - self.block_size

    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor]:
        (pair,) = self.__getitems__([index])
        return pair  # type: ignore[no-any-return]

    def __getitems__(self, indices: list[int]) -> Rows:
        starts = np.asarray(indices, np.int64)
        starts = np.where(starts < 0, starts + len(self), starts)
        if ((starts < 0) | (starts >= len(self))).any():
            raise IndexingError(f"Text: a window beyond the {len(self)} there are")
        window = self.data[wrap(starts[:, None] + np.arange(self.block_size + 1))]
        window = window.to(dtypes.int64)
        return Rows((window[:, :-1], window[:, 1:]), len(indices))


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = f"not UTF-8 at byte {error.start}: {error.reason}"
        refuse(path, f"{where}; accepted: UTF-8, or any bytes with level='byte'")
