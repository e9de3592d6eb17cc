"""What the data sets of labelled images share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gpugrad import dtypes
from gpugrad.datasets.files import refuse
from gpugrad.errors import NotSupportedError
from gpugrad.tensor import Tensor, wrap
from gpugrad.utils.data.dataset import Gathering, Rows


class LabelledImages(Gathering[tuple[Any, Any]]):
    """Images with a class each: ``dataset[i]`` is ``(image, target)``.

    ``image`` is a float32 tensor of shape (channels, height, width) with values from 0 to 1,
    ``target`` an int.

    Args:
        root: the folder that has the files, or one of them.
        train: read the training part, else the test part.
        transform: applied to the image tensor.
        target_transform: applied to the target.
        download: False; files are never fetched.

    Attributes:
        data: all images as they are in the files, uint8.
        targets: all classes, int64 of shape (N,).
        classes: names of the classes.

    Raises:
        NotSupportedError: with ``download=True``.
        FileNotFoundError: naming what was looked for.
        FileFormatError: for damaged files, and those that hold something else.
    """

    classes: Sequence[str] = ()
    #: shape of one image in the files
    _shape: ClassVar[tuple[int, ...]]
    #: how the dimensions of ``data`` are brought to (N, channels, height, width)
    _source: ClassVar[str] = ""

    def __init__(
        self,
        root: Any,
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        name = type(self).__name__
        if download:
            raise NotSupportedError(
                f"{name}: gpugrad downloads nothing; put the files{self._source} into {root}"
            )
        self.root = Path(root).expanduser()
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        path, data, targets = self._read()
        self._check(path, data, targets)
        self.data = wrap(np.ascontiguousarray(data))
        self.targets = wrap(targets.astype(np.int64))

    def _read(self) -> tuple[Path, Any, Any]:
        """Where they are from (for messages), the images and the classes."""
        raise NotImplementedError

    def _check(self, path: Path, data: Any, targets: Any) -> None:
        if data.dtype != np.uint8 or data.shape[1:] != self._shape:
            wanted = ", ".join(["N", *map(str, self._shape)])
            refuse(path, f"images are uint8 of shape ({wanted}), not {data.dtype} {data.shape}")
        if targets.dtype.kind not in "iu" or targets.shape != data.shape[:1]:
            refuse(
                path,
                f"there are {len(data)} images, and their classes are {targets.dtype} of shape "
                f"{targets.shape}",
            )
        if targets.size and not 0 <= targets.min() <= targets.max() < len(self.classes):
            refuse(
                path,
                f"classes are 0 to {len(self.classes) - 1}, found {targets.min()} to "
                f"{targets.max()}",
            )

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Number of each class by name."""
        return {name: i for i, name in enumerate(self.classes)}

    def _images(self, data: Tensor) -> Tensor:
        """Images as they are in the files, (n, ...), as float32 of (n, channels, height, width)."""
        raise NotImplementedError

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        image: Any = self._images(self.data[index].unsqueeze(0))[0]
        target: Any = int(self.targets[index])
        return (
            image if self.transform is None else self.transform(image),
            target if self.target_transform is None else self.target_transform(target),
        )

    def __getitems__(self, indices: list[int]) -> Sequence[tuple[Any, Any]]:
        if self.transform is not None or self.target_transform is not None:
            return [self[i] for i in indices]
        columns = self._images(self.data[indices]), self.targets[indices]
        return Rows(columns, len(indices), lambda row: (row[0], int(row[1])))

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        part = "train" if self.train else "test"
        return f"{type(self).__name__}({str(self.root)!r}, {part}, {len(self)} images)"


def scaled(data: Tensor) -> Tensor:
    """Bytes as numbers from 0 to 1."""
    return data.to(dtypes.float32) / 255
