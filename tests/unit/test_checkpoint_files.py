"""A checkpoint is the old one or the new one, whole; what is none is refused in one line."""

import errno
import io
import json
import os
import subprocess
import sys
from collections import OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import DeviceError, FileFormatError, NotSupportedError
from gpugrad.io import header, load_file

NAMED = (FileFormatError, NotSupportedError, DeviceError)


@pytest.mark.parametrize(
    "what", [("kill", "40"), ("alive",), ("full",), ("forbidden",)], ids=lambda w: w[0]
)
def test_the_file_is_the_old_one_or_the_new_one(what: tuple[str, ...], tmp_path: Path) -> None:
    """Killed at any moment, on a full disk, in a folder that may not be written."""
    script = Path(__file__).with_name("saving_and_dying.py")
    env = {**os.environ, "PYTHONPATH": str(Path(gg.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, str(script), what[0], str(tmp_path), *what[1:]],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    """Whether it fails at describing or at writing."""
    gg.save([1], tmp_path / "c")
    with pytest.raises(TypeError, match=r"obj\[1\]"):
        gg.save([gg.ones(3), len], tmp_path / "c")
    assert gg.load(tmp_path / "c") == [1]
    assert os.listdir(tmp_path) == ["c"]


def test_missing_places_are_named(tmp_path: Path) -> None:
    """As the user wrote them."""
    for path in (tmp_path / "no" / "c", str(tmp_path / "no" / "c")):
        with pytest.raises(FileNotFoundError) as caught:
            gg.save(1, path)
        assert caught.value.filename == str(path)
        with pytest.raises(FileNotFoundError) as caught:
            gg.load(path)
        assert caught.value.filename == str(path)
    for use in (gg.load, lambda path: gg.save(1, path)):
        with pytest.raises(IsADirectoryError) as found:
            use(tmp_path)
        assert found.value.filename == str(tmp_path)
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_devices_are_written_not_replaced() -> None:
    """One that is always full says so, under its name."""
    with pytest.raises(OSError, match="/dev/full") as caught:
        gg.save([1], "/dev/full")
    assert caught.value.errno == errno.ENOSPC
    gg.save([1], "/dev/null")
    assert not os.path.isfile("/dev/null")


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    """The file that a link leads to is replaced, and may be read by whom it could before."""
    (tmp_path / "real").mkdir()
    gg.save([1], tmp_path / "real" / "c")
    os.chmod(tmp_path / "real" / "c", 0o640)
    os.symlink(tmp_path / "real" / "c", tmp_path / "latest")
    gg.save([2], tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert gg.load(tmp_path / "real" / "c") == [2]
    assert (tmp_path / "real" / "c").stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path / "real") == ["c"]


def test_long_names_can_be_saved(tmp_path: Path) -> None:
    """Though the temporary file beside it has a name of its own."""
    gg.save([1], tmp_path / ("ä" * 127))
    assert gg.load(tmp_path / ("ä" * 127)) == [1]


# ---- damage ------------------------------------------------------------------------------------


def some_file() -> bytes:
    """A small file in which most kinds occur."""
    x = gg.arange(6.0).reshape(2, 3)
    file = io.BytesIO()
    gg.save({"x": x, "t": x.t(), "p": gg.nn.Parameter(gg.ones(2)), "a": np.arange(3, dtype=">i2"),
             "n": [1, 2.5, None, float("nan"), (1,), {1}, b"a", 1j, 2**70, gg.float32, x],
             "m": gg.zeros(2, device="meta"), "o": OrderedDict(a=1), 3: deque([1], 2),
             "s": np.float32(1)}, file)  # fmt: skip
    return file.getvalue()


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    """At every length, from a path and from memory, naming the file."""
    data = some_file()
    for length in range(len(data)):
        with pytest.raises(FileFormatError, match="load: <BytesIO>: "):
            gg.load(io.BytesIO(data[:length]))
    for length in (0, 5, 9, len(data) - 1):
        (tmp_path / "c").write_bytes(data[:length])
        for mapped in (False, True):
            with pytest.raises(FileFormatError, match=f"load: {tmp_path / 'c'}: "):
                gg.load(tmp_path / "c", mmap=mapped)
    (tmp_path / "c").write_bytes(data + b"x")
    with pytest.raises(FileFormatError, match=f"the file ends at {len(data) + 1}"):
        gg.load(tmp_path / "c")


@pytest.mark.parametrize("change", [1, 2, 4, 8, 16, 32, 64, 128, 255])
def test_a_changed_byte_is_refused_or_harmless(change: int) -> None:
    """Wherever it is: no other exception, no warning, no crash."""
    data = some_file()
    refused = 0
    for i in range(len(data)):
        damaged = bytearray(data)
        damaged[i] ^= change
        try:
            gg.load(io.BytesIO(damaged))
        except NAMED:
            refused += 1
    assert len(data) // 2 < refused < len(data)  # elements of arrays have no wrong values


def described(value: Any, **entries: Any) -> bytes:
    """A file with one entry ``x`` of four floats, and any description."""
    file = io.BytesIO()
    text = value if isinstance(value, str) else json.dumps({"version": 1, "value": value})
    header.write(file, {"x": ("F32", (4,), np.zeros(16, np.uint8)), **entries}, {"gpugrad": text})
    return file.getvalue()


def window(**change: Any) -> dict[str, Any]:
    """The first two of the four floats; or something impossible."""
    return {"tensor": "x", "dtype": "F32", "shape": [2], "strides": [4], "offset": 0, **change}


def nested(depth: int, open: str, close: str) -> str:
    return '{"version":1,"value":' + open * depth + "1" + close * depth + "}"


DESCRIPTIONS: dict[str, tuple[Any, str]] = {
    "unknown kind": ({"lambda": "x"}, "a kind 'lambda'"),
    "no kind": ({}, "a kind ''"),
    "unknown detail": ({"tuple": [], "call": 1}, "of a tuple has 'call'"),
    "newer": ('{"version":2,"value":1}', "of version 2, known is 1"),
    "no version": ('{"value":1}', "must have a version"),
    "no object": ("[1]", "must have a version"),
    "no JSON": ("{", "damaged"),
    "NaN": ('{"version":1,"value":NaN}', "NaN is no JSON"),
    "a name twice": ('{"version":1,"value":{"dict":{"a":1,"a":2}}}', "'a' comes twice"),
    "a key twice": ({"dict": [[1, 2], [1, 3]]}, "key 1 comes twice"),
    "a key that is a list": ({"dict": [[[1], 2]]}, "unhashable"),
    "an element that is a list": ({"set": [[1]]}, "unhashable"),
    "half a pair": ({"dict": [[1]]}, "in place of a key and a value"),
    "a long number": ('{"version":1,"value":' + "1" * 10_000 + "}", "damaged"),
    "no hexadecimal": ({"int": "xyz"}, "damaged"),
    "too few bytes of a float": ({"float": "00"}, "damaged"),
    "not base64": ({"bytes": "a"}, "damaged"),
    "bytes of nothing": ({"bytes": 10**9}, "damaged"),
    "a range of nothing": ({"range": [1, 2, 0]}, "damaged"),
    "a huge range of floats": ({"range": [0.5]}, "damaged"),
    "a bad dtype": ({"dtype": "float128"}, "damaged"),
    "a bad device": ({"device": "gpu"}, "damaged"),
    "a bad Size": ({"Size": ["a"]}, "damaged"),
    "deep lists": (nested(100_000, "[", "]"), "too deep|deeper|more than 64 deep"),
    "deep tuples": (nested(90, '{"tuple":[', "]}"), "more than 64 deep"),
    "deep dicts": (nested(5000, '{"dict":', "}"), "too deep|deeper|more than 64 deep"),
    "itself": ({"tuple": [{"same": 0}]}, "object 0 of its description holds itself"),
    "something later": ([{"same": 3}], "refers to object 3 of 1"),
    "something negative": ([{"same": -1}], "refers to object -1"),
    "a missing tensor": ({"tensor": "y"}, "wants a tensor 'y'"),
    "a tensor without a name": ({"tensor": ["x"]}, r"\['x'\] in place of a str"),
    "too long": (window(shape=[5]), "reaches over bytes 0 to 20 of a block of 16"),
    "too far": (window(offset=12), "reaches over bytes 12 to 20"),
    "before the block": (window(offset=-4), "reaches over bytes -4 to 4"),
    "backwards": (window(strides=[-4]), "reaches over bytes -4 to 4"),
    "far strides": (window(strides=[2**62]), "reaches over"),
    "a huge shape": (window(shape=[2**62, 2**62]), "and 1 strides|reaches over"),
    "a huge shape of nothing": (
        window(shape=[2**62, 2**62, 0], strides=[4, 4, 4]), "cannot be|Maximum"),
    "a huge expanded shape": (
        window(shape=[2**62, 2**62], strides=[0, 0]), "cannot be"),
    "negative sizes": (window(shape=[-1]), "shape"),
    "a shape of texts": (window(shape=["2"]), "shape"),
    "65 dimensions": (window(shape=[1] * 65, strides=[0] * 65), "shape"),
    "strides of texts": (window(strides=["4"]), "strides"),
    "an offset of text": (window(offset="0"), "in place of a int"),
    "fewer strides": (window(strides=[]), "1 dimensions and 0 strides"),
    "objects": ({**window(), "dtype": "|O8"}, "no dtype"),
    "records": ({**window(), "dtype": "<i4,<f4"}, "no dtype"),
    "a dtype of nothing": ({**window(), "dtype": "|S0"}, "no dtype"),
    "a tensor of texts": (window(dtype="|S4"), "no gpugrad dtype"),
    "an integer that wants a gradient": (window(dtype="I32", requires_grad=True), "only floating"),
    "a gradient of text": (window(requires_grad="yes"), "in place of a bool"),
    "a private attribute": (window(attributes={"_array": 1}), "sets the attribute '_array'"),
    "an attribute that hides": (window(attributes={"backward": 1}), "sets the attribute 'backw"),
    "an attribute of a dict": (
        {"OrderedDict": {}, "attributes": {"__reduce__": 1}}, "sets the attribute '__reduce__'"),
    "a dict that hides": ({"OrderedDict": {}, "attributes": {"items": 1}}, "attribute 'items'"),
    "a namespace": ({"Namespace": {"__class__": 1}}, "sets the attribute '__class__'"),
    "a factory": ({"defaultdict": {}, "factory": "eval"}, "a defaultdict of 'eval'"),
    "a shrinking deque": ({"deque": [], "maxlen": -1}, "damaged"),
    "a scalar of objects": ({"scalar": ["|O8", "AAAAAAAAAAA="]}, "no dtype"),
    "a scalar too long": ({"scalar": ["<f4", "AAAAAAAAAAA="]}, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize(("value", "message"), DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_hostile_description_is_refused(value: Any, message: str) -> None:
    """By name, without making what it asks for."""
    with pytest.raises(FileFormatError, match=f"load: <BytesIO>: .*({message})"):
        gg.load(io.BytesIO(described(value)))


@pytest.mark.parametrize("depth", [100, 300, 900])
def test_a_nest_is_refused_without_looking_into_it(depth: int) -> None:
    """Whatever place it takes, in the description and in the frame around it."""
    nest: Any = 1
    for _ in range(depth):
        nest = [nest]
    for value in ({"tensor": nest}, {"Size": nest}, {"same": nest}, window(shape=nest),
                  {"dict": [nest]}, {"dtype": nest}, {"scalar": nest}):  # fmt: skip
        with pytest.raises(FileFormatError):
            gg.load(io.BytesIO(described(value)))
    for head in ({"a": nest}, {"a": entry(shape=nest)}, {"__metadata__": nest}):
        with pytest.raises(FileFormatError):
            gg.load(io.BytesIO(raw(head)))


def test_the_descriptions_above_are_refused_for_what_they_say() -> None:
    """The window that they change is fine as it is."""
    assert gg.load(io.BytesIO(described(window()))).tolist() == [0, 0]


def test_a_key_that_takes_for_ever_to_hash_is_refused() -> None:
    """Each tuple holds the one before twice: 2**60 parts in sixty lines."""
    ladder: Any = [{"tuple": []}]
    for i in range(60):
        ladder.append({"tuple": [{"same": i + 1}, {"same": i + 1}]})
    with pytest.raises(FileFormatError, match="a key has more than 1000 parts"):
        gg.load(io.BytesIO(described([*ladder, {"dict": [[{"same": 61}, 1]]}])))


def raw(head: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(code: Any = "F32", shape: Any = (1,), places: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": code, "shape": shape, "data_offsets": places}


FRAMES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it has 0 bytes"),
    "a text": (b"hello, this is no checkpoint", "not a safetensors file"),
    "a header longer than the file": (raw({}, length=10**6), "should take 1000000 bytes"),
    "a header longer than anything": (raw({}, length=2**64 - 1), "should take 1844"),
    "no JSON": (raw(b"{x"), "damaged"),
    "no UTF-8": (raw(b'{"\xff":1}'), "damaged"),
    "a list": (raw([]), "its header is a list"),
    "a name twice": (raw(b'{"a":1,"a":1}'), "'a' comes twice"),
    "deep": (raw(b'{"a":' * 100_000), "nested too deeply"),
    "a number as metadata": (raw({"__metadata__": {"a": 1}}), "texts by name"),
    "a tensor of nothing": (raw({"a": 1}), "tensor 'a' must have"),
    "a detail too many": (raw({"a": {**entry(), "x": 1}}, b"0000"), "tensor 'a' must have"),
    "a negative size": (raw({"a": entry(shape=(-1,))}, b"0000"), "is described by"),
    "a true size": (raw({"a": entry(shape=(True,))}, b"0000"), "is described by"),
    "a size that overflows": (raw({"a": entry(shape=(2**62, 4))}, b"0000"), "cannot lie in"),
    "a dtype that is a list": (raw({"a": entry([])}, b"0000"), "is described by"),
    "beyond the end": (raw({"a": entry(places=(0, 4))}, b""), "should end at byte"),
    "a hole": (raw({"a": entry(places=(4, 8))}, b"00000000"), "begins at byte 4, the one .* at 0"),
    "two in one place": (raw({"a": entry(), "b": entry()}, b"0000"), "byte 0, the one .* at 4"),
    "backwards": (raw({"a": entry(places=(4, 0))}, b"0000"), "cannot lie in bytes 4 to 0"),
    "a huge place": (raw({"a": entry(places=(0, 2**63))}, b"0000"), "is described by"),
    "more than the tensors": (raw({"a": entry()}, b"0000more"), "the file ends at"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "message"), FRAMES.values(), ids=FRAMES)
def test_a_hostile_frame_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    """By ``load`` and by ``load_file`` alike."""
    (tmp_path / "c").write_bytes(data)
    for read in (gg.load, load_file):
        with pytest.raises(FileFormatError, match=f"{tmp_path / 'c'}: .*{message}"):
            read(tmp_path / "c")


def test_dtypes_that_are_not_here_are_named() -> None:
    """They may be in a safetensors file, of course."""
    data = raw({"a": entry("F8_E8M0", (4,))}, b"0000")
    with pytest.raises(NotSupportedError, match="'a' has dtype 'F8_E8M0'; known are F64, F32"):
        gg.load(io.BytesIO(data))
