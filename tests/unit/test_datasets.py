"""Readers: files made here read back exactly; damaged and hostile ones are refused by name."""

import gzip
import io
import math
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.datasets import CIFAR10, CIFAR100, KMNIST, MNIST, FashionMNIST, Text
from gpugrad.datasets.cifar import read_batch
from gpugrad.datasets.idx import read_idx
from gpugrad.errors import FileFormatError, IndexingError, NotSupportedError, SettingError
from gpugrad.utils.data import DataLoader, Subset

SHARED = Path(__file__).parents[3] / "shared" / "data"
RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (12, 28, 28), np.uint8), np.arange(12, dtype=np.uint8) % 10
TEST = RANDOM.integers(0, 256, (5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8)


def idx(array: Any) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_idx(folder: Path, packed: bool = False, dash: str = "-") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, (images, labels) in (("train", TRAIN), ("t10k", TEST)):
        for name, array in (("images", images), ("labels", labels)):
            data = idx(array)
            path = folder / f"{part}-{name}{dash}idx{array.ndim}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(data) if packed else data)
    return folder


def write_npz(path: Path, **names: str) -> Path:
    arrays = {"x_train": TRAIN[0], "y_train": TRAIN[1], "x_test": TEST[0], "y_test": TEST[1]}
    np.savez_compressed(path, **{names.get(k, k): v for k, v in arrays.items()})
    return path


# ---- what is read ----------------------------------------------------------------------------

PLACES: dict[str, Callable[[Path], Path]] = {
    "idx": write_idx,
    "idx.gz": lambda p: write_idx(p, packed=True),
    "a dot": lambda p: write_idx(p, dash="."),
    "raw": lambda p: write_idx(p / "raw").parent,
    "torchvision's folders": lambda p: write_idx(p / "MNIST" / "raw", packed=True).parents[1],
    "one idx file": lambda p: write_idx(p) / "train-images-idx3-ubyte",
    "npz": lambda p: write_npz(p / "any.npz"),
    "npz in a folder": lambda p: write_npz(p / "any.npz").parent,
    "other keys": lambda p: write_npz(p / "o.npz", x_train="train_images", y_train="train_labels",
                                      x_test="test_images", y_test="test_labels"),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_mnist_is_found_and_read(place: Callable[[Path], Path], tmp_path: Path) -> None:
    """From each form of its files, both parts, to the bit."""
    root = place(tmp_path)
    for train, (images, labels) in ((True, TRAIN), (False, TEST)):
        data = MNIST(root, train)
        assert (data.data.numpy() == images).all()
        assert data.data.dtype == gg.uint8
        assert data.targets.tolist() == labels.tolist()
        assert data.targets.dtype == gg.int64
        assert len(data) == len(images)
        assert f"{len(images)} images" in repr(data)


def test_samples_are_tensors_from_0_to_1(tmp_path: Path) -> None:
    """One by one, in a batch, through a subset, and with transforms."""
    root = write_idx(tmp_path)
    data = MNIST(root)
    image, target = data[3]
    assert image.shape == (1, 28, 28)
    assert image.dtype == gg.float32
    assert np.allclose(image.numpy()[0] * 255, TRAIN[0][3])
    assert type(target) is int
    assert data.class_to_idx[data.classes[target]] == target == 3
    images, targets = next(iter(DataLoader(data, 5)))
    assert gg.equal(images, gg.stack([data[i][0] for i in range(5)]))
    assert targets.tolist() == [0, 1, 2, 3, 4]
    seen: list[Any] = []
    list(DataLoader(Subset(data, [3, 1]), 2, collate_fn=seen.extend))
    assert [(type(t), t) for _, t in seen] == [(int, 3), (int, 1)]
    changed = MNIST(root, transform=lambda i: i.sum(), target_transform=lambda t: -t)
    images, targets = next(iter(DataLoader(changed, 2)))
    assert images.shape == (2,)
    assert targets.tolist() == [0, -1]


@pytest.mark.parametrize("kind", [FashionMNIST, KMNIST])
def test_relatives_of_mnist(kind: type[MNIST], tmp_path: Path) -> None:
    """Same files under a folder of their own name, other classes."""
    write_idx(tmp_path / kind.__name__ / "raw")
    assert kind(tmp_path).data.shape == (12, 28, 28)
    assert len(set(kind.classes)) == 10
    assert kind.classes != MNIST.classes


PIXELS = RANDOM.integers(0, 256, (4, 3072), np.uint8)


def cifar(folder: Path, dump: Callable[[Any], bytes], labels: str = "labels") -> Path:
    folder.mkdir(exist_ok=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "train", "test"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(
            dump({"data": PIXELS + i, labels: [0, 9, 3, i], "filenames": ["a"] * 4})
        )
    return folder


def python2(batch: dict[str, Any]) -> bytes:
    """The pickle that Python 2 wrote: the array's bytes are a text."""

    def text(s: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(s)) + s

    data = batch["data"]
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        b"(K\x01(K\x04M\x00\x0ctcnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(data.tobytes()) + b"tb"
    )  # fmt: skip
    key = next(k for k in batch if "labels" in k)
    numbers = b"(" + b"".join(b"K" + bytes([n]) for n in batch[key]) + b"l"
    return b"\x80\x02}(" + text(b"data") + array + text(key.encode()) + numbers + b"u."


@pytest.mark.parametrize("dump", [pickle.dumps, lambda b: pickle.dumps(b, 2), python2],
                         ids=["now", "protocol 2", "python 2"])  # fmt: skip
def test_cifar_is_read(dump: Callable[[Any], bytes], tmp_path: Path) -> None:
    """Pixels in the order height, width, colour; samples colour first; the batches in order."""
    folder = cifar(tmp_path / "cifar-10-batches-py", dump)
    for root in (folder, tmp_path):
        data = CIFAR10(root)
        assert data.data.shape == (20, 32, 32, 3)
        assert data.targets.tolist() == [n for i in range(5) for n in (0, 9, 3, i)]
        assert (data.data[6].numpy() == (PIXELS + 1)[2].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    image, target = data[6]
    assert np.allclose(image.numpy() * 255, (PIXELS + 1)[2].reshape(3, 32, 32))
    assert data.classes[target] == "cat"
    assert gg.equal(next(iter(DataLoader(data, 20)))[0][6], image)
    assert (
        CIFAR10(tmp_path, False).data[0].numpy().transpose(2, 0, 1).ravel() == PIXELS[0] + 5
    ).all()


def test_cifar_100_and_npz(tmp_path: Path) -> None:
    folder = cifar(tmp_path / "cifar-100-python", pickle.dumps, "fine_labels")
    assert CIFAR100(tmp_path).targets.tolist() == [0, 9, 3, 6]
    assert CIFAR100(folder, train=False).targets.tolist() == [0, 9, 3, 7]
    pictures = PIXELS.reshape(4, 32, 32, 3)
    np.savez(tmp_path / "c.npz", x_train=pictures, y_train=[[1], [2], [3], [4]])
    data = CIFAR10(tmp_path / "c.npz")
    assert (data.data.numpy() == pictures).all()
    assert data.targets.tolist() == [1, 2, 3, 4]


# ---- text ------------------------------------------------------------------------------------


def test_text_by_characters(tmp_path: Path) -> None:
    """Windows and their successors, over both parts, with one vocabulary."""
    (tmp_path / "t.txt").write_text("hello wörld" * 10, encoding="utf-8")
    train, rest = (Text(tmp_path / "t.txt", 4, part) for part in (True, False))
    assert train.vocabulary == rest.vocabulary == "".join(sorted(set("hello wörld")))
    assert train.vocab_size == 9
    assert (len(train.data), len(rest.data)) == (99, 11)
    assert (len(train), len(rest)) == (95, 7)
    x, y = train[6]
    assert (train.decode(x), train.decode(y)) == ("wörl", "örld")
    assert x.dtype == gg.int64
    assert train.decode(train.encode("low")) == "low"
    batch = next(iter(DataLoader(train, 3)))
    assert [train.decode(r) for r in batch[0]] == ["hell", "ello", "llo "]
    assert [train.decode(r) for r in batch[1]] == ["ello", "llo ", "lo w"]
    assert train.decode(train[-1][1]) == train.decode(train.data[-4:])
    with pytest.raises(IndexingError):
        train[95]
    with pytest.raises(SettingError, match="'x' is not in the vocabulary of 9"):
        train.encode("ox")
    given = Text(tmp_path / "t.txt", 4, vocabulary="zyx" + train.vocabulary[::-1])
    assert given.decode(given[0][0]) == "hell"


def test_text_by_bytes(tmp_path: Path) -> None:
    """Any file; 256 numbers."""
    (tmp_path / "t.bin").write_bytes(bytes(range(256)) * 2)
    data = Text(tmp_path / "t.bin", 300, level="byte", split=1.0)
    assert data.vocab_size == 256
    assert data[1][0].tolist()[254:258] == [255, 0, 1, 2]
    assert data.decode(data.encode("wörld")) == "wörld"


def test_text_of_a_folder(tmp_path: Path) -> None:
    """Files in order of their paths, as the pattern says."""
    (tmp_path / "b").mkdir()
    for name, text in (("c.txt", "cc"), ("a.txt", "aa"), ("b/a.txt", "bb"), ("x.md", "xx")):
        (tmp_path / name).write_text(text)
    data = Text(tmp_path, 2, split=1.0)
    assert data.decode(data.data) == "aabbcc"
    assert Text(tmp_path, 1, split=1.0, pattern="*.md").vocabulary == "x"


# ---- what is refused -------------------------------------------------------------------------

HEAD = bytes([0, 0, 8, 3])


def sizes(*n: int) -> bytes:
    return struct.pack(">3I", *n)


def npy_header(shape: Any, dtype: str = "|u1") -> bytes:
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def npy(shape: tuple[int, ...]) -> bytes:
    return npy_header(shape) + bytes(math.prod(shape))


def zipped(**entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def objects() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x_train=np.array([print], object), y_train=TRAIN[1])
    return stream.getvalue()


def corrupt() -> bytes:
    data = bytearray(
        zipped(x_train=npy_header((9, 28, 28)) + bytes(RANDOM.bytes(9 * 784)), y_train=b"")
    )
    data[1000] ^= 255
    return bytes(data)


BAD_IDX = {
    "nothing": (b"", "needs 4 bytes, the file has 0|4 bytes before the end of the magic"),
    "other magic": (b"\x89PNG" + bytes(99), r"begins with the bytes \[0, 0, 8, 3\]"),
    "labels for images": (idx(TRAIN[1]), r"with \[0, 0, 8, 1\]"),
    "floats": (bytes([0, 0, 13, 3]) + bytes(99), r"with \[0, 0, 13, 3\]"),
    "no sizes": (HEAD + bytes(5), "the sizes"),
    "too short": (idx(TRAIN[0])[:-1], "before the end of an array of shape|needs"),
    "too long": (idx(TRAIN[0]) + b"x", "bytes follow the end"),
    "a claim": (HEAD + sizes(2**31, 28, 28) + bytes(100), "claims|needs 1683627180032 bytes"),
    "a great claim": (HEAD + sizes(2**32 - 1, 2**32 - 1, 9) + bytes(9), "claims|needs"),
}  # fmt: skip
BAD_NPZ = {
    "nothing": (b"", "damaged npz"),
    "no zip": (b"PK" + bytes(99), "damaged npz"),
    "cut": (zipped(x_train=npy_header((0,)))[:-30], "damaged npz"),
    "other arrays": (zipped(a=b"", b=b""), "no array x_train or train_images in it; it has a, b"),
    "no npy": (zipped(x_train=b"123456789"), "damaged npz"),
    "a claim": (zipped(x_train=npy_header((10**6, 28, 28)) + bytes(50)), "claims shape .* 50 byte"),
    "a negative claim": (zipped(x_train=npy_header((-1, -50)) + bytes(50)), "damaged|shape"),
    "texts": (zipped(x_train=npy_header((2,), "<U1") + bytes(8)), "dtype <U1; numbers"),
    "objects": (objects(), "dtype object; numbers"),
    "a wrong bit": (corrupt(), "damaged npz"),
    "other shape": (zipped(x_train=npy((2, 5)), y_train=npy((2,))),
                    r"images are uint8 of shape \(N, 28, 28\), not uint8 \(2, 5\)"),
    "other count": (zipped(x_train=npy((1, 28, 28)), y_train=npy((2,))),
                    "there are 1 images, and their classes are uint8 of shape"),
    "no class": (zipped(x_train=npy((1, 28, 28)), y_train=npy((1,))[:-1] + b"\n"),
                 "classes are 0 to 9, found 10 to 10"),
}  # fmt: skip


def refused(path: Path, says: str, read: Callable[[], Any]) -> None:
    """FileFormatError with the file's name, and no memory to speak of."""
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=rf"{path.name}.*({says})"):
            read()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(("data", "says"), BAD_IDX.values(), ids=BAD_IDX)
def test_bad_idx_files(data: bytes, says: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("train-images-idx3-ubyte" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(data) if packed else data)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(TRAIN[1]))
    refused(path, says, lambda: MNIST(tmp_path))


@pytest.mark.parametrize(("data", "says"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz_files(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(data)
    refused(path, says, lambda: MNIST(path))


def test_damaged_packing(tmp_path: Path) -> None:
    """Cut, changed, and no gzip at all."""
    whole = gzip.compress(idx(TRAIN[0]))
    path = tmp_path / "x.gz"
    for data in (whole[:-9], whole[:2000] + b"?" + whole[2001:], idx(TRAIN[0])):
        path.write_bytes(data)
        refused(path, "damaged gzip|before the end", lambda: read_idx(path, 3))


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    """What unpacks to far more than it is claimed for, or claims more than packing can do."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(HEAD + sizes(1, 28, 28) + bytes(50_000_000), 9))
    refused(path, "bytes follow", lambda: read_idx(path, 3))
    path.write_bytes(gzip.compress(HEAD + sizes(60_000, 28, 28)))
    refused(path, "claims 47040000 bytes", lambda: read_idx(path, 3))


class Hostile:
    """Runs a command when a common unpickler reads it."""

    def __reduce__(self) -> Any:
        return exec, ("open('pwned', 'w').close()",)


PICKLES = {
    "a call": (pickle.dumps({"data": Hostile()}), "asks for builtins.exec"),
    "another call": (b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x00x\x85R.", "asks for numpy.load"),
    "a class": (pickle.dumps({"data": Path("x")}), "asks for pathlib"),
    "not a dict": (pickle.dumps([1, 2]), "a batch is a dict, this is a list"),
    "nothing": (b"", "damaged"),
    "cut": (pickle.dumps({"data": PIXELS})[:-100], "damaged"),
    "no pickle": (b"hello", "damaged|instruction"),
    "numbers for pixels": (pickle.dumps({"data": [1], "labels": [1]}), "'data' is uint8"),
    "floats": (pickle.dumps({"data": PIXELS * 1.0, "labels": [1]}), "not float64"),
    "no labels": (pickle.dumps({"data": PIXELS}), "'labels' is a list of numbers"),
    "a great array": (
        b"\x80\x02}(X\x04\x00\x00\x00datacnumpy\nndarray\n(I10000000000\ntRu.", "damaged|calls"
    ),
    "a great bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.", "damaged"),
    "a great memo": (b"\x80\x02}r\xff\xff\xff\xff.", "'data' is uint8"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "says"), PICKLES.values(), ids=PICKLES)
def test_bad_pickles(data: bytes, says: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Nothing in them runs."""
    monkeypatch.chdir(tmp_path)
    cifar(tmp_path, pickle.dumps)
    path = tmp_path / "test_batch"
    path.write_bytes(data)
    refused(path, says, lambda: CIFAR10(tmp_path, train=False))
    assert not (tmp_path / "pwned").exists()


def test_keys_of_a_batch_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(pickle.dumps({b"data": PIXELS, b"labels": [1]}, 2))
    assert set(read_batch(path)) == {"data", "labels"}


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_idx(tmp_path / "mnist")
    (tmp_path / "t.txt").write_text("abcdef")
    assert len(MNIST("~/mnist")) == 12
    assert len(Text("~/t.txt", 2, split=1)) == 4


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"MNIST: .*train-images-idx3-ubyte.gz.*npz"):
        MNIST(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(TRAIN[0]))
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte"):
        MNIST(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data_batch_1.*data_batch_5"):
        CIFAR10(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"\*\.txt"):
        Text(tmp_path, 4)
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        Text(tmp_path / "none.txt", 4)
    with pytest.raises(NotSupportedError, match=r"MNIST: gpugrad downloads nothing"):
        MNIST(tmp_path, download=True)


def test_bad_texts(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"abc\xff\xfe")
    with pytest.raises(FileFormatError, match=r"t\.txt: not UTF-8 at byte 3"):
        Text(path, 2)
    path.write_bytes(b"abcd")
    with pytest.raises(SettingError, match="has 3 characters in this part"):
        Text(path, 3)
    with pytest.raises(SettingError, match="'word'; accepted: 'char', 'byte'"):
        Text(path, 3, level="word")
    with pytest.raises(SettingError, match="split is 2"):
        Text(path, 3, split=2)


@pytest.mark.skipif(not (SHARED / "mnist.npz").exists(), reason="no MNIST beside the project")
def test_the_real_mnist() -> None:
    """Counts and mean, as published: 60,000 + 10,000 images, mean 0.1307."""
    train, test = MNIST(SHARED / "mnist.npz"), MNIST(SHARED / "mnist.npz", False)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert abs(train.data.numpy().mean() / 255 - 0.1307) < 1e-4
    assert np.bincount(train.targets.numpy()).tolist()[:3] == [5923, 6742, 5958]


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="no such device here")
def test_a_device_has_no_end() -> None:
    """So nobody reads it to its end."""
    with pytest.raises(FileFormatError, match="/dev/zero: this is a device"):
        Text("/dev/zero", 8)


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    """Rather than what was looked for in it."""
    with pytest.raises(FileNotFoundError, match="No such file"):
        MNIST(tmp_path / "nope.npz")
