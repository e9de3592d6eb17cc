"""CIFAR-10 and CIFAR-100 from their Python batches: pickles, of which nothing is executed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gpugrad.datasets.files import missing, refuse
from gpugrad.datasets.images import LabelledImages, scaled
from gpugrad.datasets.npz import read_npz
from gpugrad.io.pickles import Draft, Machine, Recipe
from gpugrad.io.plain_names import PLAIN
from gpugrad.io.source import Source, opened
from gpugrad.tensor import Tensor

_NPZ = {True: (("x_train",), ("y_train",)), False: (("x_test",), ("y_test",))}


def read_batch(path: Path) -> dict[str, Any]:
    """The dict of a batch: strings, lists of numbers and NumPy arrays.

    Raises:
        FileFormatError: if it is damaged, or asks for anything else.
    """
    with opened(path) as source:
        machine = Machine(source, _finder(source), _no_id(source), lambda kind: False)
        batch = machine.run(io.BytesIO(source.read(0, source.size).tobytes()))
    if type(batch) is not dict:
        refuse(path, f"a batch is a dict, this is a {type(batch).__name__}")
    return {k.decode("latin-1") if type(k) is bytes else str(k): v for k, v in batch.items()}


def _finder(source: Source) -> Any:
    def find(module: str, name: str) -> Any:
        found = PLAIN.get(f"{module}.{name}")
        if found is None or not f"{module}.{name}".startswith(("numpy.", "_codecs.")):
            source.refuse(f"its pickle asks for {module}.{name}; a batch has arrays, lists, texts")
        return Recipe(_reconstruct) if name == "_reconstruct" else found

    return find


def _no_id(source: Source) -> Any:
    return lambda pid: source.refuse(f"its pickle has the persistent id {pid!r:.80}")


def _reconstruct(*args: Any) -> Draft:
    """An array to be filled; Python 2, which wrote the batches, had its bytes in a text."""
    draft: Draft = PLAIN["numpy.core.multiarray._reconstruct"].make(*args)

    def finish(state: Any) -> Any:
        *first, data = state
        return draft.finish((*first, data.encode("latin-1") if type(data) is str else data))

    return Draft(finish)


class CIFAR10(LabelledImages):
    """Small colour photographs, ten classes.

    ``data`` is uint8 of shape (N, 32, 32, 3); for the rest see the base class.  ``root`` is the
    folder ``cifar-10-batches-py`` or the one that it lies in, or an ``.npz`` with ``x_train,
    y_train, x_test, y_test``.
    """

    classes: Sequence[str] = (
        "airplane", "automobile", "bird", "cat", "deer",
        "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    _shape = (32, 32, 3)
    _source = " (data_batch_1 to data_batch_5 and test_batch)"
    _folder: ClassVar[str] = "cifar-10-batches-py"
    _files: ClassVar[dict[bool, tuple[str, ...]]] = {
        True: tuple(f"data_batch_{i}" for i in range(1, 6)),
        False: ("test_batch",),
    }
    _labels: ClassVar[str] = "labels"

    def _read(self) -> tuple[Path, Any, Any]:
        if self.root.suffix == ".npz" and self.root.is_file():
            data, targets = read_npz(self.root, _NPZ[self.train])
            return self.root, data, targets.reshape(-1)  # Keras keeps them as a column
        folder = self.root / self._folder
        folder = folder if folder.is_dir() else self.root
        paths = [folder / name for name in self._files[self.train]]
        if absent := [p.name for p in paths if not p.is_file()]:
            missing(type(self).__name__, folder, absent)
        parts = [self._part(path) for path in paths]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts))
        return folder, images, labels

    def _part(self, path: Path) -> tuple[Any, Any]:
        """Images and classes of one batch, whose pixels are planes of red, green and blue."""
        batch = read_batch(path)
        data, labels = batch.get("data"), batch.get(self._labels)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data)
            refuse(path, f"'data' is uint8 of shape (N, 3072), not {found}")
        if type(labels) is not list or not all(type(n) is int for n in labels):
            refuse(path, f"{self._labels!r} is a list of numbers, not {type(labels).__name__}")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), np.array(labels, np.int64)

    def _images(self, data: Tensor) -> Tensor:
        return scaled(data.permute(0, 3, 1, 2))


class CIFAR100(CIFAR10):
    """Small colour photographs, a hundred classes, which are named by their numbers.

    ``root`` is the folder ``cifar-100-python`` or the one that it lies in, or an ``.npz``.
    """

    classes = tuple(map(str, range(100)))
    _source = " (train and test of cifar-100-python)"
    _folder = "cifar-100-python"
    _files: ClassVar[dict[bool, tuple[str, ...]]] = {True: ("train",), False: ("test",)}
    _labels = "fine_labels"
