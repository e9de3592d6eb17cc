"""MNIST and the data sets made in its image: 28 x 28 grey pixels, ten classes.

Files are idx, packed or not, under the names of the original, or one ``.npz`` with all arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpugrad.datasets.files import first_of, missing, refuse
from gpugrad.datasets.idx import read_idx
from gpugrad.datasets.images import LabelledImages, scaled
from gpugrad.datasets.npz import read_npz
from gpugrad.tensor import Tensor

_PARTS = {True: "train", False: "t10k"}
_NPZ = {
    True: (("x_train", "train_images"), ("y_train", "train_labels")),
    False: (("x_test", "test_images"), ("y_test", "test_labels")),
}


class MNIST(LabelledImages):
    """Handwritten digits.  ``data`` is uint8 of shape (N, 28, 28); for the rest see the base class.

    ``root`` is a folder with ``train-images-idx3-ubyte`` and its three companions (each may end in
    ``.gz``, and may lie in ``raw/`` or ``MNIST/raw/``), one of these files, a folder with one
    ``.npz`` or that file, which has ``x_train, y_train, x_test, y_test``.
    """

    classes = (
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    )  # fmt: skip
    _shape = (28, 28)
    _source = " (train-images-idx3-ubyte.gz and its three companions, or one .npz)"

    def _read(self) -> tuple[Path, Any, Any]:
        root = self.root
        if root.suffix == ".npz" and root.is_file():
            return root, *read_npz(root, _NPZ[self.train])
        folders = [root, root / "raw", root / type(self).__name__ / "raw"]
        if root.is_file():
            folders = [root.parent]
            if not root.name.startswith(tuple(_PARTS.values())):
                refuse(root, "not the name of an idx file of MNIST; files end in .npz or begin "
                       "with train or t10k")  # fmt: skip
        found = [
            first_of(folders, self._names(kind, n)) for kind, n in (("images", 3), ("labels", 1))
        ]
        images, labels = found
        if images is None or labels is None:
            archives = sorted(root.glob("*.npz"))
            if images is None and labels is None and len(archives) == 1:
                return archives[0], *read_npz(archives[0], _NPZ[self.train])
            kind, rank = ("images", 3) if images is None else ("labels", 1)
            missing(type(self).__name__, root, [*self._names(kind, rank), "a single .npz"])
        return images, read_idx(images, 3), read_idx(labels, 1)

    def _names(self, kind: str, rank: int) -> Iterator[str]:
        """Names that a file of this part may have."""
        for dash in "-.":
            for end in ("", ".gz"):
                yield f"{_PARTS[self.train]}-{kind}{dash}idx{rank}-ubyte{end}"

    def _images(self, data: Tensor) -> Tensor:
        return scaled(data).unsqueeze(1)


class FashionMNIST(MNIST):
    """Articles of clothing, in files of MNIST's names."""

    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip


class KMNIST(MNIST):
    """Cursive Japanese characters, in files of MNIST's names."""

    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
