"""``save`` and ``load``: any object of plain data and tensors in one safetensors file.

The tensors' elements are the file's entries, and the file's metadata says in JSON what the object
is made of (``describe``).  Nothing in the file is code.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpugrad.errors import ArgumentError, NotSupportedError, SettingError
from gpugrad.io import header
from gpugrad.io.describe import Describer
from gpugrad.io.files import named, replacing
from gpugrad.io.memory import store
from gpugrad.io.placing import Place, placer
from gpugrad.io.rebuild import Rebuilder
from gpugrad.io.safetensors import tensors_of
from gpugrad.io.source import Source, opened
from gpugrad.io.torch_file import load_rows, load_zip
from gpugrad.io.windows import Blocks

#: Where in the metadata the description is, and which version of it this module writes.
_KEY, _VERSION = "gpugrad", 1


def save(obj: Any, f: Any, pickle_module: Any = None, pickle_protocol: int = 2,
         _use_new_zipfile_serialization: bool = True,
         _disable_byteorder_record: bool = False) -> None:  # fmt: skip
    """Write an object to a file that ``load`` reads back exactly as it was.

    It may be made of tensors and parameters, NumPy arrays and scalars, numbers, texts, bytes,
    dtypes, devices, and of dicts, lists, tuples, sets and namespaces of these: whatever
    ``state_dict()`` gives.  Tensors that share memory share it again after loading, and an object
    that occurs twice is one object again.  The same object gives the same bytes.

    Args:
        obj: what to save.
        f: a path, which is replaced in one step or left as it was; or a file open for writing.
        pickle_module: nothing is pickled, so only None or ``pickle`` itself.
        pickle_protocol: taken and without effect, like the two behind it, for the same reason.

    Raises:
        ArgumentError: for what is no data (a function, a module), naming its place in ``obj``.
        OSError: if the file cannot be written; what was there before is still there.
    """
    if pickle_module is not None and pickle_module is not pickle:
        raise NotSupportedError(
            f"save: pickle_module {pickle_module!r} has no use, as nothing is pickled; save plain "
            "data such as a state_dict()"
        )
    arrays, metadata = _contents(obj)
    if isinstance(f, str | os.PathLike):
        with replacing(f) as temporary, named(Path(f)), open(temporary, "wb") as file:
            header.write(file, arrays, metadata)
        return
    if not hasattr(f, "write") or isinstance(f, io.TextIOBase):
        raise ArgumentError(
            f"save: f must be a path or a file open for writing bytes, got {type(f).__name__}"
        )
    header.write(f, arrays, metadata)


def _contents(obj: Any) -> tuple[dict[str, header.Stored], dict[str, str]]:
    """The entries and the metadata of an object's file."""
    describer = Describer()
    try:
        description = describer.describe(obj)
        arrays = store(describer.pieces)
        text = json.dumps({"version": _VERSION, "value": description}, separators=(",", ":"))
    except RecursionError:
        raise SettingError("save: the object is nested deeper than Python can follow") from None
    return arrays, {_KEY: text}


def load(f: Any, map_location: Any = None, pickle_module: Any = None, *,
         weights_only: bool | None = None, mmap: bool | None = None,
         **pickle_load_args: Any) -> Any:  # fmt: skip
    """Read what ``save`` wrote, any safetensors file (a dict of tensors), or a ``torch.save`` file.

    Args:
        f: a path, or a file open for reading bytes.
        map_location: where tensors go: a device, its name, a dict of names, or a function of
            (bytes, name); by default to the device that they were saved on.
        pickle_module: no pickle is ever run, so only None or ``pickle`` itself.
        weights_only: taken and without effect: a file can hold only data, and of a torch file only
            data is read, whatever this says.
        mmap: leave the elements in the file until they are used; writes stay in memory.

    Raises:
        FileFormatError: if the file is damaged, or asks for anything that is not data.
        OSError: if it cannot be read; DeviceError: if a tensor's device is not there.
    """
    if pickle_module is not None and pickle_module is not pickle:
        raise NotSupportedError(
            f"load: pickle_module {pickle_module!r} has no use, as no pickle is ever run"
        )
    if pickle_load_args:
        raise NotSupportedError(
            f"load: {', '.join(pickle_load_args)} would be for pickle, which is never run"
        )
    place = placer(map_location)
    with opened(f, bool(mmap)) as source:
        return _reader(source)(source, place)


def _reader(source: Source) -> Callable[[Source, Place], Any]:
    """Which kind of file it is, by its first bytes."""
    start = source.read(0, min(source.size, 9)).tobytes()
    if start[:4] == b"PK\3\4" and start[8:] != b"{":
        return load_zip
    if start[:1] == b"\x80" and start[8:] != b"{":
        return load_rows
    return _load_safetensors


def _load_safetensors(source: Source, place: Place) -> Any:
    found = header.read(source)
    blocks = Blocks(source, lambda name: source.read(*found.entries[name][2:]), place)
    if _KEY not in found.metadata:
        made: Any = tensors_of(source, found.entries, blocks)
    else:
        described = _described(source, found.metadata)
        try:
            made = Rebuilder(source, found.entries, blocks).build(described)
        except RecursionError:
            source.refuse("its description is nested deeper than Python can follow from here")
    source.finish(found.used)
    return made


def _described(source: Source, metadata: dict[str, str]) -> Any:
    described = header.parse_json(source, metadata[_KEY])
    if type(described) is not dict or described.keys() != {"version", "value"}:
        source.refuse("its description must have a version and a value")
    if described["version"] != _VERSION:
        source.refuse(
            f"its description is of version {described['version']!r:.80}, known is {_VERSION}; "
            "a newer gpugrad may read it"
        )
    return described["value"]


__all__ = ["load", "save"]
