"""What ``save`` writes ``load`` gives back: the same values, types, sharing and bits."""

import argparse
import dataclasses
import enum
import gzip
import io
import math
import os
import pathlib
import struct
import subprocess
import sys
import threading
import tracemalloc
import types
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import gpugrad as gg
from gpugrad import dtypes
from gpugrad.errors import ArgumentError, NotSupportedError, SettingError
from gpugrad.io import save_file as save_to_file
from gpugrad.nn import Buffer, Parameter


def saved(obj: Any, **settings: Any) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    gg.save(obj, file, **settings)
    return file.getvalue()


def again(obj: Any, **settings: Any) -> Any:
    """An object that was saved and loaded."""
    return gg.load(io.BytesIO(saved(obj)), **settings)


def bits(array: Any) -> tuple[Any, ...]:
    """All there is to know about an array's elements."""
    return array.dtype.str, array.dtype.name, array.shape, array.tobytes()


def plain(value: Any) -> Any:
    """A value in which equal means the same type and the same bits, all the way down."""
    kind = type(value)
    if isinstance(value, gg.Tensor):
        held = (value.shape, value.dtype) if value.is_meta else bits(value.numpy(force=True))
        own = {k: plain(v) for k, v in vars(value).items() if not k.startswith("_")}
        return kind, held, value.requires_grad, str(value.device), own
    if kind is np.ndarray or isinstance(value, np.generic):
        return kind, bits(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, plain(value.real), plain(value.imag)
    if isinstance(value, dict):
        items = [(plain(k), plain(v)) for k, v in value.items()]
        return (
            kind,
            items,
            getattr(value, "default_factory", None),
            vars(value) if kind is (OrderedDict) else None,
        )
    if isinstance(value, list | tuple | deque):
        return kind, [plain(v) for v in value], getattr(value, "maxlen", None)
    if isinstance(value, set | frozenset):
        return kind, sorted((plain(v) for v in value), key=repr)
    if kind in (types.SimpleNamespace, argparse.Namespace):
        return kind, plain(vars(value))
    return kind, value


def tensor(values: Any, dtype: Any = None) -> gg.Tensor:
    return gg.tensor(values, dtype=dtype)


def parameter_with_a_note() -> Parameter:
    made = Parameter(gg.ones(2))
    made.note = {"lr": 0.1}
    return made


VALUES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "bools": lambda: [True, False],
    "ints": lambda: [0, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**5000],
    "floats": lambda: [0.0, -0.0, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan,
                       struct.unpack("<d", b"\x01\0\0\0\0\0\xf8\xff")[0]],
    "complex": lambda: [1 + 2j, complex(math.nan, -0.0), complex(0, math.inf)],
    "texts": lambda: ["", "a", "ä€𝄞", "\0", "\ud800", '"\\', "x" * 100_000],
    "bytes": lambda: [b"", b"\0\xff", bytearray(b"abc"), bytes(range(256))],
    "tuples": lambda: ((), (1,), (1, (2, [3]))),
    "sets": lambda: [set(), {1, "a", (2, b"x"), None}, frozenset({frozenset({1}), 2.5})],
    "dicts": lambda: {"a": 1, "": 2, "same": 3, 4: 5, (6, "b"): 7, None: 8, True: 9, 1.5: 10,
                      b"k": 11, gg.float32: 12, frozenset({1}): 13, gg.device("cpu"): 14},
    "dicts that look like descriptions": lambda: {"dict": {"tensor": "x"}, "same": 0},
    "orders": lambda: [OrderedDict([("b", 1), ("a", 2)]), {"b": 1, "a": 2}],
    "collections": lambda: [Counter("abca"), defaultdict(list, a=[1]), defaultdict(None, {1: 2}),
                            deque([1, 2], 3), deque([1])],
    "namespaces": lambda: [argparse.Namespace(lr=0.1, sizes=[1, 2]), types.SimpleNamespace(a=1)],
    "others": lambda: [range(3), range(9, 0, -2), slice(1, None, 2), ..., pathlib.Path("a/b")],
    "names": lambda: [*dtypes.ALL, *dtypes.EIGHTS, gg.device("cpu"), gg.device("cuda:1"),
                      gg.device("meta"), gg.Size([2, 0]), gg.channels_last, gg.strided],
    "a tensor": lambda: tensor([1.0, 2.0]),
    "every dtype": lambda: [tensor([0, 1, 3]).to(d) for d in (*dtypes.ALL, *dtypes.EIGHTS)],
    "special floats": lambda: [tensor([math.nan, math.inf, -0.0, 1e-45], d)
                               for d in dtypes.FLOATS],
    "0-d and empty": lambda: [tensor(3), tensor(2.5, gg.bfloat16), gg.zeros(0), gg.zeros(3, 0, 2),
                              gg.zeros(0, dtype=gg.bool)],
    "meta": lambda: gg.zeros(3, 4, dtype=gg.float16, device="meta"),
    "leaves": lambda: [gg.ones(2, requires_grad=True), Parameter(gg.ones(2)),
                       Parameter(gg.ones(2), False), Parameter(tensor([1]), False),
                       Buffer(gg.ones(1)), Buffer(gg.ones(1), persistent=False)],
    "attributes": parameter_with_a_note,
    "arrays": lambda: [np.arange(6).reshape(2, 3), np.array(2.5), np.zeros((0, 3), np.float16),
                       np.array([1 + 2j]), np.arange(3, dtype=">i4"), np.array(["a", "bc"]),
                       np.array([b"x"]), np.array(["2026-01-01"], "M8[D]"),
                       np.arange(3, dtype=np.uint64), np.ones(2, ml_dtypes.bfloat16)],
    "scalars": lambda: [np.float32(0.1), np.float64(0.1), np.int8(-3), np.bool_(True),
                        np.str_("ab"), np.complex64(1j), np.datetime64("2026-01-01"),
                        np.float64("nan")],
    "states of generators": lambda: [gg.get_rng_state(), np.random.RandomState(3).get_state()],
}  # fmt: skip


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_values_come_back_exactly(make: Callable[[], Any]) -> None:
    """Type for type and bit for bit; and what came back is saved as the same bytes."""
    value = make()
    found = again(value)
    assert plain(found) == plain(value)
    assert saved(found) == saved(value)
    mine: list[Any] = []  # counted after the value, so it shows that both sides count alike
    *_, one, other = again([value, mine, mine])
    assert one is other


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(),
    st.binary(), st.sampled_from(dtypes.ALL),
    arrays(st.sampled_from(["f4", "f8", "i2", "u1", "?", "c8"]), array_shapes(min_dims=0)),
    arrays(st.sampled_from(["f4", "i8"]), array_shapes(min_side=0)).map(gg.from_numpy),
)  # fmt: skip
KEYS = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda keys: st.tuples(keys, keys),
    max_leaves=3,
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4), st.sets(KEYS, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4).map(OrderedDict),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=80)
@given(NESTED)
def test_any_nesting_comes_back(value: Any) -> None:
    """Whatever the containers hold."""
    assert plain(again(value)) == plain(value)


def test_containers_may_be_deep() -> None:
    """As deep as the page says, wherever in a program that is."""
    value = deep(65)
    assert again(value) == value
    assert again({"a": (deep(60),)})["a"][0] == deep(60)


# ---- sharing -----------------------------------------------------------------------------------


def test_views_share_memory_again() -> None:
    """With their strides, and a write through one is seen by the others and by the tape."""
    x = gg.arange(12.0).reshape(3, 4)
    found = again({"row": x[1], "t": x.t(), "x": x, "last": x[:, 3], "wide": x[:1].expand(5, 4)})
    assert found["t"].stride() == (1, 4)
    assert found["wide"].stride() == (0, 1)
    assert found["row"].storage_offset() == 4
    kept = found["last"] * gg.ones(3, requires_grad=True)
    found["row"][3] = 100.0
    assert found["x"][1, 3] == found["t"][3, 1] == found["last"][1] == 100
    with pytest.raises(RuntimeError, match="test_checkpoint"):  # the version is shared as well
        kept.sum().backward()


def test_memory_is_written_once() -> None:
    """However many tensors lie in it; and what nothing sees is not written."""
    x = gg.zeros(1000)
    assert len(saved([x, x[1:], x.view(10, 100), x.t()])) < 4000 + 1500
    assert len(saved(gg.zeros(1000, 100)[:, 3])) < 4000 + 500
    assert len(saved(gg.zeros(1, 3).expand(10**9, 3))) < 500
    found = again([x[:600], x[400:]])
    found[0][500] = 1
    assert found[1][100] == 1


def test_a_column_alone_becomes_contiguous() -> None:
    """What lay between its elements is nobody's."""
    found = again(gg.arange(12.0).reshape(3, 4)[:, 1])
    assert found.tolist() == [1, 5, 9]
    assert found.stride() == (1,)


def test_channels_last_stays() -> None:
    """A dense order of dimensions is kept."""
    x = gg.randn(2, 3, 4, 5).to(memory_format=gg.channels_last)
    assert again(x).stride() == x.stride()
    assert again(x).equal(x)


def test_views_of_other_dtypes_and_arrays_share() -> None:
    """One memory seen as floats, as integers, and by NumPy from the end."""
    array = np.arange(6, dtype=np.float32)
    found = again([gg.from_numpy(array), array[::-1], gg.from_numpy(array.view(np.int32)[1:3])])
    found[1][5] = 7
    assert found[0][0] == 7
    assert found[2].tolist() == array.view(np.int32)[1:3].tolist()
    found[2][0] = 0
    assert found[0][1] == 0


def test_the_same_object_is_one_object_again() -> None:
    """Tensors, containers, and rings of them."""
    weight, names = Parameter(gg.ones(2)), ["a"]
    ring: dict[str, Any] = {"names": names, "pair": (names, weight), "w": weight}
    ring["me"] = ring
    ring["list"] = [ring]
    found = again(ring)
    assert found["me"] is found
    assert found["list"][0] is found
    assert found["names"] is found["pair"][0]
    assert found["w"] is found["pair"][1]
    assert isinstance(found["w"], Parameter)


def test_tied_weights_stay_tied() -> None:
    """Through a state dict, whose tensors are two objects over one memory."""
    model = gg.nn.Sequential(gg.nn.Linear(3, 3), gg.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = again(model.state_dict())
    state["0.weight"].zero_()
    assert not state["1.weight"].any()
    assert state._metadata == model.state_dict()._metadata


def test_a_shared_tuple_is_described_once() -> None:
    """Otherwise this would take 2**60 lines."""
    value: Any = ()
    for _ in range(50):
        value = (value, value)
    found = again(value)
    assert found[0] is found[1]


def test_the_same_object_gives_the_same_bytes() -> None:
    """In processes whose sets have other orders, too."""
    code = (
        "import sys, gpugrad as gg\n"
        "x = gg.arange(4.)\n"
        "gg.save({'s': {'a', 'b', ('c', 1), b'd'}, 'x': x, 'v': x[1:], 'f': frozenset('xyz')},"
        " sys.stdout.buffer)"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            check=True, capture_output=True,
        ).stdout
        for seed in ("1", "2")
    )  # fmt: skip
    assert first == second
    assert gg.load(io.BytesIO(first))["s"] == {"a", "b", ("c", 1), b"d"}


# ---- what others see ---------------------------------------------------------------------------


def test_the_library_reads_our_file(tmp_path: pathlib.Path) -> None:
    """Tensors have the names and shapes that one would expect."""
    from safetensors.numpy import load_file

    model = gg.nn.Linear(2, 3)
    optimizer = gg.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(gg.ones(1, 2)).sum().backward()
    optimizer.step()
    gg.save({"model": model.state_dict(), "opt": optimizer.state_dict(), 3: [gg.ones(())],
             "model.weight": gg.ones(4), "odd": np.array([1j])}, tmp_path / "c")  # fmt: skip
    found = load_file(tmp_path / "c")
    assert {name: a.shape for name, a in found.items()} == {
        "model.weight": (3, 2), "model.bias": (3,), "opt.state.0.momentum_buffer": (3, 2),
        "opt.state.1.momentum_buffer": (3,), "3.0": (), "model.weight#2": (4,), "odd": (16,),
    }  # fmt: skip
    np.testing.assert_array_equal(found["model.weight"], model.weight.numpy(force=True))


def test_a_plain_file_is_a_dict_of_tensors(tmp_path: pathlib.Path) -> None:
    """As the library and ``save_file`` write it."""
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3.0), "b": np.zeros((2, 0), np.int8)}, tmp_path / "a",
              {"format": "pt"})  # fmt: skip
    found = gg.load(tmp_path / "a")
    assert type(found) is dict
    assert plain(found["a"]) == plain(gg.arange(3.0, dtype=gg.float64))
    assert plain(found["b"]) == plain(gg.zeros(2, 0, dtype=gg.int8))
    save_to_file(found, tmp_path / "b")
    assert gg.load(tmp_path / "b")["a"].tolist() == [0, 1, 2]


# ---- files -------------------------------------------------------------------------------------


def test_paths_and_open_files(tmp_path: pathlib.Path) -> None:
    """Texts, paths, files; several objects in a row in one."""
    gg.save({"a": 1}, str(tmp_path / "a"))
    gg.save({"a": 2}, tmp_path / "b")
    assert [gg.load(tmp_path / "a"), gg.load(str(tmp_path / "b"))] == [{"a": 1}, {"a": 2}]
    with open(tmp_path / "c", "wb", buffering=0) as file:
        file.write(b"before")
        gg.save(gg.ones(2), file)
        gg.save([3], file)
    with open(tmp_path / "c", "rb") as file:
        assert file.read(6) == b"before"
        assert gg.load(file).tolist() == [1, 1]
        assert gg.load(file) == [3]


def test_what_can_only_be_read_once_is_read() -> None:
    """A pipe cannot seek."""
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb") as target:
        gg.save({"x": gg.ones(2)}, target)
        target.close()
        assert gg.load(source)["x"].tolist() == [1, 1]


def test_compressed_files_and_pipes_by_path(tmp_path: pathlib.Path) -> None:
    """They are read as a whole."""
    with gzip.open(tmp_path / "c.gz", "wb") as packed:
        gg.save({"x": gg.arange(3)}, packed)
    with gzip.open(tmp_path / "c.gz", "rb") as packed:
        assert gg.load(packed)["x"].tolist() == [0, 1, 2]
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=gg.save, args=([gg.ones(2)], tmp_path / "pipe"))
    writer.start()
    assert gg.load(tmp_path / "pipe")[0].tolist() == [1, 1]
    writer.join()


def test_what_is_no_file_is_refused(tmp_path: pathlib.Path) -> None:
    """By name, before anything is written."""
    with pytest.raises(ArgumentError, match=r"save: f must be a path or a file .* got int"):
        gg.save(1, 3)
    with pytest.raises(ArgumentError, match=r"load: f must be a path or a file .* got StringIO"):
        gg.load(io.StringIO())
    with open(tmp_path / "a", "w") as file, pytest.raises(ArgumentError, match="TextIOWrapper"):
        gg.save(1, file)
    with pytest.raises(SettingError, match="mmap=True needs a path"):
        gg.load(io.BytesIO(saved(1)), mmap=True)
    with pytest.raises(NotSupportedError, match="pickle_module"):
        gg.save(1, tmp_path / "a", pickle_module=types)
    with pytest.raises(NotSupportedError, match="pickle_module"):
        gg.load(tmp_path / "a", pickle_module=types)
    with pytest.raises(NotSupportedError, match="encoding"):
        gg.load(tmp_path / "a", encoding="latin1")


def test_pytorch_arguments_are_taken(tmp_path: pathlib.Path) -> None:
    """Those that would choose among pickles choose nothing."""
    gg.save([1], tmp_path / "a", pickle_protocol=4, _use_new_zipfile_serialization=False)
    assert (tmp_path / "a").read_bytes() == saved([1])
    assert gg.load(tmp_path / "a", weights_only=False) == [1]


def test_a_mapped_file_is_not_read(tmp_path: pathlib.Path) -> None:
    """Its pages are; and writes stay in memory."""
    gg.save({"x": gg.ones(1 << 20), "t": gg.ones(3, 4).t()}, tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    tracemalloc.start()
    found = gg.load(tmp_path / "a", mmap=True)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    found["x"][0] = 5
    assert found["x"][:2].tolist() == [5, 1]
    assert found["t"].stride() == (1, 4)
    del found
    assert (tmp_path / "a").read_bytes() == before


def test_memory_is_about_the_size_of_the_file(tmp_path: pathlib.Path) -> None:
    """Nothing is held twice, while saving or loading."""
    size = 16 << 20
    tensors = {str(i): gg.ones(size // 16) for i in range(4)}
    tracemalloc.start()
    gg.save(tensors, tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < size // 4
    found = gg.load(tmp_path / "a")
    assert size <= tracemalloc.get_traced_memory()[1] < 1.1 * size
    tracemalloc.stop()
    assert found["3"].equal(tensors["3"])


# ---- devices -----------------------------------------------------------------------------------


def on_a_gpu() -> io.BytesIO:
    """A file that was saved on ``cuda:7``."""
    from gpugrad.io import header

    file = io.BytesIO()
    text = '{"version":1,"value":{"tensor":"x","device":"cuda:7"}}'
    header.write(file, {"x": ("F32", (2,), np.arange(2, dtype="f4").view("u1"))}, {"gpugrad": text})
    file.seek(0)
    return file


@pytest.mark.parametrize(
    "where",
    ["cpu", gg.device("cpu"), {"cuda:7": "cpu"}, lambda data, name: data,
     lambda data, name: data.clone() if name == "cuda:7" else None],
    ids=["name", "device", "dict", "function", "function that looks"],
)  # fmt: skip
def test_map_location_leads_to_the_cpu(where: Any) -> None:
    """In each of PyTorch's ways."""
    assert gg.load(on_a_gpu(), map_location=where).tolist() == [0, 1]


@pytest.mark.parametrize("where", [None, "cuda:7", {"cuda:0": "cpu"}, lambda data, name: None])
def test_a_missing_device_is_named(where: Any) -> None:
    """Together with the way out."""
    if gg.cuda.is_available() and gg.cuda.device_count() > 7:
        pytest.skip("cuda:7 is there")
    with pytest.raises(RuntimeError, match=r"on cuda:7, .*map_location='cpu' loads"):
        gg.load(on_a_gpu(), map_location=where)


def test_map_location_may_be_meta() -> None:
    """Shapes without data; arrays of NumPy stay where they are."""
    found = again({"x": gg.ones(2, 3), "a": np.ones(2)}, map_location="meta")
    assert found["x"].is_meta
    assert found["x"].shape == (2, 3)
    assert found["a"].tolist() == [1, 1]


def test_a_bad_map_location_is_refused() -> None:
    """What it is, and what it gives."""
    with pytest.raises(ArgumentError, match=r"map_location must be a device, .* got list"):
        again(gg.ones(1), map_location=["cpu"])
    with pytest.raises(RuntimeError, match="unknown device type 'cup'"):
        again(gg.ones(1), map_location="cup")
    with pytest.raises(ArgumentError, match="the 8 bytes that it was given"):
        again(gg.ones(2), map_location=lambda data, name: gg.ones(2))
    with pytest.raises(SettingError, match=r"map_location raised ValueError\('mine'\)"):
        again(gg.ones(2), map_location=raises)


def raises(data: Any, name: str) -> Any:
    raise ValueError("mine")


# ---- what cannot be saved ----------------------------------------------------------------------


class Colour(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Config:
    lr: float = 0.1


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - an untyped one, as scripts have


def hiding() -> Any:
    made = gg.ones(1)
    vars(made)["detach"] = 3
    return made


def of_a_subclass() -> Any:
    return type("Mine", (gg.Tensor,), {})([1.0])


def ring() -> Any:
    held: list[Any] = []
    held.append((held,))
    return held[0]


def deep(levels: int = 66) -> Any:
    held: list[Any] = []
    for _ in range(levels - 1):
        held = [held]
    return held


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a function": (lambda: {"model": {"fn": len}}, r"obj\['model'\]\['fn'\] is a builtin_fun.*acc"),
    "a module": (lambda: [gg.nn.Linear(1, 1)], r"obj\[0\] is a Linear, .* its state_dict\(\)"),
    "a whole model": (lambda: gg.nn.Linear(1, 1), r"obj is a Linear, .*; save its state_dict\(\)"),
    "an optimiser": (lambda: {1: gg.optim.SGD([gg.ones(1)], 0.1)}, r"obj\[1\] is a SGD.*_dict"),
    "a generator": (lambda: gg.Generator(), r"obj is a Generator, .* save its get_state\(\)"),
    "a class": (lambda: {"c": gg.nn.Linear}, r"obj\['c'\] is a type"),
    "an enum": (lambda: (Colour.RED,), r"obj\[0\] is a Colour, .* save int\(...\)"),
    "a dataclass": (lambda: Config(), r"obj is a Config, .* dataclasses.asdict"),
    "a named tuple": (lambda: Pair(1, 2), r"obj is a Pair, .* save tuple\(...\) of it"),
    "a tensor of one's own": (of_a_subclass, r"obj is a Mine, .* detach"),
    "a tensor that hides a method": (hiding, "attribute 'detach' that hides"),
    "objects in an array": (lambda: np.array([None]), r"obj is a NumPy array of object"),
    "records": (lambda: {"r": np.zeros(1, "i4,f4")}, r"obj\['r'\] is a NumPy array"),
    "a defaultdict": (lambda: defaultdict(lambda: 1), "obj is a defaultdict that calls"),
    "in an attribute": (lambda: argparse.Namespace(a=[len]), r"obj\.a\[0\] is a builtin"),
    "in a set": (lambda: [{len}], r"an element of obj\[0\] is a builtin"),
    "as a key": (lambda: {len: 1}, r"obj \(key number 0\) is a builtin"),
    "a tuple in itself": (ring, "tuple that holds itself"),
    "too deep": (deep, "more than 64 deep"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_data_is_refused_by_its_place(
    make: Callable[[], Any], message: str, tmp_path: pathlib.Path
) -> None:
    """With what to save instead; and nothing is written."""
    with pytest.raises((ArgumentError, SettingError), match=f"save: .*{message}"):
        gg.save(make(), tmp_path / "a")
    assert not os.listdir(tmp_path)


# ---- resuming ----------------------------------------------------------------------------------


def training() -> dict[str, Any]:
    gg.manual_seed(3)
    model = gg.nn.Sequential(gg.nn.Linear(4, 8), gg.nn.Dropout(0.3), gg.nn.Linear(8, 1))
    optimizer = gg.optim.AdamW(model.parameters(), 0.01)
    schedule = gg.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    return {"model": model, "optimizer": optimizer, "schedule": schedule}


def train(parts: dict[str, Any], steps: int) -> None:
    for _ in range(steps):
        loss = parts["model"](gg.randn(5, 4)).square().mean()
        parts["optimizer"].zero_grad()
        loss.backward()
        parts["optimizer"].step()
        parts["schedule"].step()


def test_training_goes_on_as_if_nothing_had_happened(tmp_path: pathlib.Path) -> None:
    """Weights are bit-identical to those of the run that was not interrupted."""
    whole = training()
    train(whole, 10)
    first = training()
    train(first, 4)
    state = {name: part.state_dict() for name, part in first.items()}
    gg.save({**state, "rng": gg.get_rng_state()}, tmp_path / "c")
    second = training()
    train(second, 1)  # it may have gone elsewhere
    found = gg.load(tmp_path / "c")
    for name, part in second.items():
        part.load_state_dict(found[name])
    gg.set_rng_state(found["rng"])
    train(second, 6)
    for a, b in zip(whole["model"].parameters(), second["model"].parameters(), strict=True):
        assert bits(a.numpy(force=True)) == bits(b.numpy(force=True))


def test_every_state_dict_can_be_saved() -> None:
    """Of optimisers, schedules, scalers and loaders, as they are."""
    optim = gg.optim
    weights = [Parameter(gg.randn(3, 2)), Parameter(gg.randn(2, 2))]
    optimizers = [
        kind(weights, lr=0.01)
        for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam,
                     optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.LBFGS, optim.Lion,
                     optim.Muon)
    ]  # fmt: skip

    def loss() -> Any:
        total = sum(w.square().sum() for w in weights)
        total.backward()
        return total

    for optimizer in optimizers:
        optimizer.step(loss)
    schedules = optim.lr_scheduler
    first = optimizers[0]
    loader = gg.utils.data.DataLoader(gg.arange(9), 2, shuffle=True)
    next(iter(loader))
    parts = [
        *optimizers, gg.amp.GradScaler(enabled=True, device="cpu"), loader,
        schedules.ReduceLROnPlateau(first), schedules.LambdaLR(first, lambda epoch: 0.5),
        schedules.SequentialLR(
            first, [schedules.StepLR(first, 2), schedules.ExponentialLR(first, 1)], [3]),
    ]  # fmt: skip
    for part in parts:
        state = part.state_dict()
        assert plain(again(state)) == plain(state), type(part)


def test_the_page_about_saving_is_true(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its example runs."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert os.listdir() == ["checkpoint.pt"]
