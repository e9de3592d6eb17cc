"""Files of ``torch.save`` that ask for more than data: nothing in them is run."""

import argparse
import copyreg
import io
import os
import pickle
import struct
import tempfile
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.errors import ArgumentError, DeviceError, FileFormatError, NotSupportedError
from gpugrad.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)

#: Sixteen bytes, of which the storage "0" is made: the floats 0, 1, 2, 3.
FLOATS = np.arange(4, dtype="<f4").tobytes()


def archive(program: bytes, storage: bytes = FLOATS, **change: Any) -> bytes:
    """A file as ``torch.save`` would write it around a pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", change.pop("compression", zipfile.ZIP_STORED)) as made:
        made.writestr("archive/data.pkl", program)
        made.writestr("archive/byteorder", change.pop("byteorder", "little"))
        made.writestr("archive/data/0", storage)
        for name, data in change.items():
            made.writestr(f"archive/{name}", data)
    return file.getvalue()


def load(program: bytes, **change: Any) -> Any:
    return gg.load(io.BytesIO(archive(program, **change)))


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(function: bytes, *args: bytes) -> bytes:
    return function + tuple_of(*args) + b"R"


def storage(kind: str = "FloatStorage", count: int = 4, location: str = "cpu") -> bytes:
    return tuple_of(text("storage"), name("torch", kind), text("0"), text(location),
                    number(count)) + b"Q"  # fmt: skip


HOOKS = call(name("collections", "OrderedDict"))


def tensor(size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), offset: int = 0,
           held: bytes | None = None, grad: bytes = b"\x89") -> bytes:  # fmt: skip
    return call(
        name("torch._utils", "_rebuild_tensor_v2"), held or storage(), number(offset),
        tuple_of(*map(number, size)), tuple_of(*map(number, stride)), grad, HOOKS,
    )  # fmt: skip


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def test_a_file_made_by_hand_is_read() -> None:
    """What the tests below change is fine as it is."""
    assert load(program(tensor())).tolist() == [0, 1, 2, 3]
    assert load(program(tensor((2, 2), (1, 2)))).tolist() == [[0, 2], [1, 3]]
    assert load(program(tensor((3,), (0,), 1))).tolist() == [1, 1, 1]


def test_tensors_of_one_storage_share_it() -> None:
    """A write through one is seen by the other."""
    a, b = load(program(tuple_of(tensor(), tensor((2,), (1,), 2))))
    b[0] = 9
    assert a.tolist() == [0, 1, 9, 3]
    assert a._version == b._version == 1


def test_the_order_of_bytes_is_seen() -> None:
    """A file of a big-endian machine says so."""
    swapped = np.arange(4, dtype=">f4").tobytes()
    assert load(program(tensor()), storage=swapped, byteorder="big").tolist() == [0, 1, 2, 3]


class Ran(Exception):
    """Something in a file was run."""


def trap(*args: Any) -> None:
    raise Ran


class Mine:
    """A class of the user's, with everything that a pickle could call."""

    def __init__(self, *args: Any) -> None:
        self.made = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return trap, ()


HERE = Mine.__module__
#: What the system makes if a command is run after all.
MARK = Path(tempfile.gettempdir(), f"gpugrad-ran-{os.getpid()}")
SYSTEM = text(f"touch {MARK}")
HOSTILE: dict[str, tuple[bytes, str]] = {
    "os.system": (call(name("os", "system"), SYSTEM), "asks for os.system, which is code"),
    "posix.system": (call(name("posix", "system"), SYSTEM), "asks for posix.system"),
    "eval": (call(name("builtins", "eval"), text("1")), "asks for builtins.eval"),
    "exec of Python 2": (call(name("__builtin__", "exec"), text("1")), "asks for __builtin__.exec"),
    "getattr": (call(name("builtins", "getattr"), name("torch", "Size"), text("x")),
                "asks for builtins.getattr"),
    "import": (call(name("builtins", "__import__"), text("os")), "asks for builtins.__import__"),
    "a path of names": (text("torch") + text("os.system") + b"\x93", "asks for torch.os.system"),
    "a name below a known one": (text("collections") + text("OrderedDict.fromkeys") + b"\x93",
                                 "asks for collections.OrderedDict.fromkeys"),
    "a name that is a number": (number(1) + text("x") + b"\x93", "something that is no text"),
    "a name with a backslash": (name("os\\o", "system"), r"damaged|asks for"),
    "pickle.loads": (name("pickle", "loads"), "asks for pickle.loads"),
    "storage from bytes": (name("torch.storage", "_load_from_bytes"), "_load_from_bytes"),
    "a function of torch": (name("torch", "load"), "asks for torch.load"),
    "a module": (name("torch.nn.modules.linear", "Linear"), r"save its state_dict\(\) with PyT"),
    "INST": (b"(" + SYSTEM + b"ios\nsystem\n", "the instruction INST"),
    "OBJ": (b"(" + name("collections", "OrderedDict") + b"o", "the instruction OBJ"),
    "NEWOBJ": (name("collections", "OrderedDict") + b")\x81", "makes an object of"),
    "NEWOBJ_EX": (name("torch", "Tensor") + b")}\x92", "makes an object of"),
    "PERSID": (b"Pstorage\n", "the instruction PERSID"),
    "EXT1": (b"\x82\x01", "the instruction EXT1"),
    "NEXT_BUFFER": (b"\x97", "the instruction NEXT_BUFFER"),
    "a call of a number": (number(1) + b")R", "calls 1, which is no function"),
    "a call of a tensor": (tensor() + b")R", "which is no function"),
    "a call with a list": (name("collections", "OrderedDict") + b"]R", "calls"),
    "a chain of calls": (call(name("collections", "OrderedDict")) + b")R", "which is no function"),
    "state of a class": (name("torch", "Tensor") + b"}" + text("backward") + b"Nsb",
                         "changes the state of a type"),
    "state of a function": (name("torch._utils", "_rebuild_tensor_v2") + b"}b", "state of a Rec"),
    "state of a tensor": (tensor() + b"}" + text("_array") + b"Nsb", "changes the state of a Tens"),
    "state of a list": (b"]}b", "changes the state of a list"),
    "slots of a dict": (HOOKS + b"N}" + text("__class__") + b"Ns\x86b", "state of a OrderedDict"),
    "a dict that hides": (HOOKS + b"}" + text("items") + b"Nsb", "sets the attribute 'items'"),
    "a dict's magic": (HOOKS + b"}" + text("__reduce__") + b"Nsb", "attribute '__reduce__'"),
    "items of a tensor": (tensor() + number(0) + number(5) + b"s", "sets items of a Tensor"),
    "items of a list": (b"]" + number(0) + number(5) + b"s", "sets items of a list"),
    "appending to a tensor": (tensor() + number(0) + b"a", "appends to a Tensor"),
    "appending to an array": (b"\x8f" + number(0) + b"a", "appends to a set"),
    "adding to a list": (b"](" + number(0) + b"\x90", "adds elements to a list"),
    "odd items": (b"}(" + number(0) + b"u", "sets items of a dict"),
    "a class as data": (b"]" + name("torch", "Tensor") + b"a", "where data should be"),
    "a function as data": (b"}N" + name("torch", "Size") + b"s", "where data should be"),
    "a storage as data": (storage(), "where data should be"),
    "a huge bytearray": (call(name("builtins", "bytearray"), number(10**12)), "damaged"),
    "a huge list": (call(name("builtins", "list"), call(name("builtins", "range"),
                                                        number(10**12))), "damaged"),
    "a huge set": (call(name("builtins", "set"), call(name("builtins", "range"),
                                                      number(10**12))), "damaged"),
    "a long number": (call(name("builtins", "int"), text("9" * 99)), "only named"),
    "another encoding": (call(name("_codecs", "encode"), text("x"), text("bz2")), "damaged"),
    "a dtype of objects": (call(name("numpy", "dtype"), text("O8"), b"\x89", b"\x88"), "damaged"),
    "a dtype of records": (call(name("numpy", "dtype"), text("i4,i4"), b"\x89", b"\x88"), "dam"),
    "a factory that runs": (call(name("collections", "defaultdict"), name("torch", "device")),
                            "damaged"),
    "a layout that is a number": (call(name("torch.serialization", "_get_layout"), number(1)),
                                  "damaged"),
    "an id of something": (tuple_of(text("module"), text("x")) + b"Q", "which is no storage"),
    "an id that is a list": (b"]Q", "which is no storage"),
    "an unhashable key": (b"}]Ns", "damaged"),
    "nothing": (b"", "damaged"),
    "two results": (number(1) + number(2), "damaged"),
    "an empty stack": (b"0", "damaged"),
    "no mark": (b"t", "damaged"),
    "no memo": (b"h\x07", "damaged"),
    "an unknown instruction": (b"\xff", "damaged"),
    "a text longer than the file": (b"X\xff\xff\xff\x7f", "damaged"),
    "a number of a huge length": (b"\x8b\xff\xff\xff\x7f", "damaged"),
    "too many elements": (tensor((5,)), "reaches over bytes 0 to 20 of a block of 16"),
    "too far": (tensor((4,), (1,), 1), "reaches over bytes 4 to 20"),
    "far strides": (tensor((2,), (2**61,)), "reaches over"),
    "a negative stride": (tensor((2,), (-1,), 3), "damaged"),
    "a negative offset": (tensor((2,), (1,), -1), "damaged"),
    "a negative size": (tensor((-2,)), "damaged"),
    "a size that overflows": (tensor((2**62, 2**62), (0, 0)), "cannot be"),
    "fewer strides": (tensor((2, 2), (1,)), "2 dimensions and 1 strides"),
    "a storage of another size": (tensor(held=storage(count=2**40)), "does not have the 43980465"),
    "a storage of less": (tensor((1,), held=storage(count=1)), "does not have the 4 bytes"),
    "a negative storage": (tensor(held=storage(count=-1)), "refers to a storage by"),
    "one storage, two sizes": (tuple_of(tensor(), tensor(held=storage(count=2))), "two descrip"),
    "a tensor of no storage": (tensor(held=number(3)), "has a tensor of"),
    "a parameter of a number": (call(name("torch._utils", "_rebuild_parameter"), number(1), b"\x88",
                                     HOOKS), "wants a gradient of 1"),
    "a gradient of integers": (tensor(held=storage("IntStorage"), grad=b"\x88"), "wants a grad"),
    "a tensor of another class": (call(name("torch._tensor", "_rebuild_from_type_v2"),
                                       name("torch", "Size"), name("torch", "Tensor"), b")", b"}"),
                                  "a tensor of the class"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused(body: bytes, message: str) -> None:
    """By the name of what it asks for, in both of PyTorch's formats."""
    with pytest.raises(FileFormatError, match=f"load: <BytesIO>: .*{message}"):
        load(program(body))
    with pytest.raises(FileFormatError, match=f"load: <BytesIO>: .*({message}|stor)"):
        gg.load(io.BytesIO(rows(program(body))))
    assert not MARK.exists()


def rows(body: bytes, keys: Any = None) -> bytes:
    """A file as ``torch.save`` wrote it before 1.6."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    tail = pickle.dumps(["0"] if keys is None else keys, 2)
    return b"".join(pickle.dumps(h, 2) for h in head) + body + tail + struct.pack("<q", 4) + FLOATS


def test_the_older_format_is_read() -> None:
    """A row of pickles, then the storages; another object may follow."""
    old = storage()[:-2] + b"Nt" + b"Q"  # it has a part more
    file = io.BytesIO(rows(program(tensor(held=old))) + b"more")
    assert gg.load(file).tolist() == [0, 1, 2, 3]
    assert file.read() == b"more"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps([1, 2], 2), "is a pickle, which may run anything"),
        (pickle.dumps(np.arange(3), 2), "is a pickle, which may run anything"),
        (rows(program(tensor()), [["0"]]), "it has no list of its storages"),
        (pickle.dumps(Mine(), 2), f"asks for {HERE}.trap"),
        (rows(program(tensor()), []), "the list of its storages is not that"),
        (rows(program(tensor()), ["0", "1"]), "the list of its storages is not that"),
        (rows(program(tensor()))[:-1], "bytes .* are wanted of"),
    ],
    ids=[
        "another pickle",
        "an array's pickle",
        "a list for a storage",
        "a pickle that runs",
        "fewer storages",
        "more storages",
        "cut short",
    ],
)
def test_a_damaged_older_file_is_refused(data: bytes, message: str) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(FileFormatError, match=message):
        gg.load(io.BytesIO(data))


@pytest.mark.parametrize("level", [b"\x85", b"2\x86"], ids=["deep", "endless"])
def test_a_nest_is_refused_without_looking_into_it(level: bytes) -> None:
    """Neither 100,000 tuples in each other nor 2**1000 parts are put into a message."""
    nest = b")" + level * (100_000 if level == b"\x85" else 1000)
    for body, message in (
        (nest + b")R", "calls"), (nest + b"Q", "refers to"), (tensor(held=nest), "a tensor of"),
        (call(name("torch", "Size"), nest), "damaged"),
    ):  # fmt: skip
        with pytest.raises(FileFormatError, match=message):
            load(program(body))
        with pytest.raises(FileFormatError, match=message):
            gg.load(io.BytesIO(rows(program(body))))


def test_nothing_that_is_registered_is_run() -> None:
    """Python's own machine would look up an extension code."""
    copyreg.add_extension(HERE, "trap", 240)
    try:
        with pytest.raises(FileFormatError, match="EXT1"):
            load(program(b"\x82\xf0)R"))
    finally:
        copyreg.remove_extension(HERE, "trap", 240)


def test_a_key_that_takes_for_ever_to_hash_is_refused() -> None:
    """Each tuple holds the one before twice."""
    ladder = b")" + b"2\x86" * 60
    with pytest.raises(FileFormatError, match="more than 1000 parts"):
        load(program(b"}" + ladder + b"Ns"))
    deep = b")" + b"\x85" * 100_000
    with pytest.raises(FileFormatError, match="more than 1000 parts"):
        load(program(b"}" + deep + b"Ns"))


def test_dtypes_that_are_not_here_are_named() -> None:
    """They are data, but gpugrad has none of them."""
    with pytest.raises(NotSupportedError, match=r"of torch\.ComplexFloatStorage, which gpu"):
        load(program(tensor(held=storage("ComplexFloatStorage"))))


def test_a_device_that_is_not_here_is_named() -> None:
    """And map_location leads around it."""
    data = archive(program(tensor(held=storage(location="mps"))))
    with pytest.raises(RuntimeError, match=r"on mps, .*map_location='cpu'"):
        gg.load(io.BytesIO(data))
    assert gg.load(io.BytesIO(data), map_location="cpu").tolist() == [0, 1, 2, 3]


# ---- archives ----------------------------------------------------------------------------------


def overlapping() -> bytes:
    """Many members of the directory that are one in the file, so that they promise more than it."""
    more = {f"data/{i}": FLOATS * 100 for i in range(1, 4)}
    data = bytearray(archive(program(tensor()), **more))
    where = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]
    first = struct.unpack_from("<I", data, where[3] + 42)[0]
    for i in where[4:]:
        data[i + 42 : i + 46] = struct.pack("<I", first)
    begin, end = first + 30 + len("archive/data/1") + 1600, where[0]
    shorter = data[:begin] + data[end:]
    struct.pack_into("<I", shorter, len(shorter) - 6, begin)
    return bytes(shorter)


def twice() -> bytes:
    return archive(program(tensor()), **{"xata/0": b"x" * 16}).replace(b"xata/0", b"data/0")


def damaged() -> bytes:
    return archive(program(tensor())).replace(FLOATS, FLOATS[:-1] + b"x")


def huge() -> bytes:
    """A member that says it has four gigabytes."""
    data = bytearray(archive(program(tensor())))
    where = data.rindex(b"PK\1\2")
    data[where + 20 : where + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    return bytes(data)


ARCHIVES: dict[str, tuple[Any, str]] = {
    "compressed": (lambda: archive(program(tensor()), compression=zipfile.ZIP_DEFLATED),
                   "is compressed, as torch.save never does"),
    "damaged": (damaged, "is damaged: its checksum differs"),
    "huge": (huge, "its members repeat or overlap"),
    "overlapping": (overlapping, "its members repeat or overlap"),
    "one name twice": (twice, "its members repeat or overlap"),
    "no pickle": (lambda: archive(b"").replace(b"data.pkl", b"xata.pkl"), "it has no data.pkl"),
    "TorchScript": (lambda: archive(b"", **{"constants.pkl": ""}), "is a TorchScript archive"),
    "no storage": (lambda: archive(program(tensor())).replace(b"data/0", b"data/1"),
                   "does not have the 16 bytes of storage '0'"),
    "cut short": (lambda: archive(program(tensor()))[:-9], "damaged zip archive"),
    "only its beginning": (lambda: b"PK\3\4" + bytes(30), "damaged zip archive"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), ARCHIVES.values(), ids=ARCHIVES)
def test_a_hostile_archive_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    """Naming the file and the member."""
    data = make()
    with pytest.raises(FileFormatError, match=message):
        gg.load(io.BytesIO(data))
    (tmp_path / "c.pt").write_bytes(data)
    with pytest.raises(FileFormatError, match=f"{tmp_path / 'c.pt'}: .*{message}"):
        gg.load(tmp_path / "c.pt")


@pytest.mark.parametrize("make", [archive, rows], ids=["zip", "rows"])
def test_a_changed_byte_is_refused_or_harmless(make: Any) -> None:
    """Cut anywhere, changed anywhere: no other exception than the named ones."""
    dtype = call(name("numpy", "dtype"), text("f8"), b"\x89", b"\x88")
    dtype += tuple_of(number(3), text("<"), b"NNN", *map(number, (-1, -1, 0))) + b"b"
    zero = call(name("_codecs", "encode"), text("\0" * 8), text("latin1"))
    numbers = call(name("numpy.core.multiarray", "scalar"), dtype, zero)
    data = make(program(tuple_of(tensor(), numbers, b"}" + text("k") + number(2**70) + b"s")))
    read, scalar, rest = gg.load(io.BytesIO(data))
    assert (read.tolist(), scalar, rest) == ([0, 1, 2, 3], 0.0, {"k": 2**70})
    refused = 0
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 1 << i % 8
        for hostile in (data[:i], bytes(changed)):
            try:
                gg.load(io.BytesIO(hostile))
            except (FileFormatError, NotSupportedError, DeviceError):
                refused += 1
    assert refused > len(data)  # all that are cut short, and more


# ---- what the user declares safe ---------------------------------------------------------------


def of_mine() -> bytes:
    made = name(HERE, "Mine") + tuple_of(number(1)) + b"\x81"
    return program(made + b"}" + text("a") + number(2) + b"sb")


def namespace() -> bytes:
    return program(name("types", "SimpleNamespace") + b")\x81}" + text("lr") + number(3) + b"sb")


def test_the_arguments_of_a_script() -> None:
    """An ``argparse.Namespace`` is plain data; one that would be more is refused."""
    plain = namespace().replace(b"types\nSimpleNamespace", b"argparse\nNamespace")
    assert load(plain) == argparse.Namespace(lr=3)
    for bad in (text("__class__") + number(3), number(1) + number(3),
                text("a") + name("builtins", "int")):  # fmt: skip
        with pytest.raises(FileFormatError, match=r"a Namespace|where data should be"):
            load(program(name("argparse", "Namespace") + b")\x81}" + bad + b"sb"))
    with pytest.raises(FileFormatError):  # never completed
        load(program(name("argparse", "Namespace") + b")\x81"))


def test_a_class_can_be_declared_safe() -> None:
    """For a while, or until it is taken back; under its own name or another."""
    try:
        with safe_globals([types.SimpleNamespace]):
            assert get_safe_globals() == [types.SimpleNamespace]
            assert load(namespace()) == types.SimpleNamespace(lr=3)
        assert get_safe_globals() == []
        with pytest.raises(FileFormatError, match=r"asks for types\.SimpleNamespace"):
            load(namespace())
        add_safe_globals([(Mine, f"{HERE}.Mine"), trap])
        assert load(of_mine()).state == {"a": 2}
        with pytest.raises(Ran):
            load(program(name(HERE, "trap") + b")R"))
        add_safe_globals([(types.SimpleNamespace, "old.Name")])
        assert (types.SimpleNamespace, "old.Name") in get_safe_globals()
        assert load(namespace().replace(b"types\nSimpleNamespace", b"old\nName")).lr == 3
        clear_safe_globals()
        with pytest.raises(FileFormatError, match="asks for"):
            load(of_mine())
    finally:
        clear_safe_globals()
    with pytest.raises(ArgumentError, match="takes classes and functions"):
        add_safe_globals([3])  # type: ignore[list-item]


def test_containers_and_numbers_are_data() -> None:
    """Whatever Python's own pickles make of them, by each protocol."""
    value = {
        "l": [1, 2.5, None, True, 2**70, -1], "t": ((), (1,), (1, 2, 3, 4)), "s": {1, 2},
        "f": frozenset([1]), "o": OrderedDict(a=1), "c": Counter("aab"), "b": b"\0\xff",
        "d": defaultdict(list, a=[1]), "x": 1 + 2j, "ba": bytearray(b"x"), "r": range(3),
        "sl": slice(1, 2), "n": np.float32(0.5), "u": "ä" * 300, "e": ...,
        "a": np.arange(6, dtype=">i2").reshape(2, 3), "fo": np.asfortranarray(np.eye(2)),
    }  # fmt: skip
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        if protocol < 2:
            value.pop("e", None)
        found = load(pickle.dumps(value, protocol))
        for key, expected in value.items():
            assert type(found[key]) is type(expected), (protocol, key)
            if isinstance(expected, np.ndarray):
                assert found[key].dtype == expected.dtype
                np.testing.assert_array_equal(found[key], expected)
            else:
                assert found[key] == expected, (protocol, key)
