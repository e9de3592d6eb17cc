"""Files of ``torch.save``: a pickle that says what the object is, and the storages' bytes.

Since 1.6 such a file is a zip archive whose members are not compressed.  Before, it was a row of
pickles followed by the storages.  Neither pickle is run (``pickles``).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import GpugradError
from gpugrad.io.pickles import Machine
from gpugrad.io.placing import Place
from gpugrad.io.source import Bytes, Source, shown
from gpugrad.io.torch_names import Names, Storage
from gpugrad.io.trusted import trusted
from gpugrad.io.windows import Blocks

#: What the older files begin with.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_CHUNK = 1 << 16
#: Length of a member's own header, and where it has the lengths of its name and extra field.
_LOCAL, _LENGTHS = 30, 26


class Stream(io.RawIOBase):
    """A source as a file from which a pickle or a zip directory can be read."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0
        self._chunk, self._from = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._source.size)[whence])
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Up to ``size`` bytes; small ones from a chunk that was read before."""
        left = max(0, self._source.size - self._at)
        size = left if size is None or size < 0 else min(size, left)
        start = self._at - self._from
        if not 0 <= start <= len(self._chunk) - size:
            count = min(left, max(size, _CHUNK))
            self._chunk, self._from, start = (
                self._source.read(self._at, count).tobytes(),
                self._at,
                0,
            )
        self._at += size
        return self._chunk[start : start + size]

    def readline(self, size: int | None = -1) -> bytes:
        """A line, as names in a pickle are; a longer one than a chunk is cut."""
        start = self._at
        found = self.read(_CHUNK).partition(b"\n")
        line = found[0] + found[1]
        self._at = start + len(line)
        return line


def load_zip(source: Source, place: Place) -> Any:
    """The object in a zip file of ``torch.save``.

    Raises:
        FileFormatError: if the archive or the pickle is damaged, or asks for more than data.
    """
    members = _members(source)
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        source.refuse("is a zip archive, but none that torch.save made: it has no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        source.refuse("is a TorchScript archive, which holds code; save the module's state_dict()")
    order = members.get(f"{folder}byteorder")
    big = order is not None and _contents(source, order).tobytes() == b"big"

    def read(key: str) -> Bytes:
        storage = names.storages[key]
        member = members.get(f"{folder}data/{key}")
        if member is None or member.file_size != storage.nbytes:
            source.refuse(f"it does not have the {storage.nbytes} bytes of storage {shown(key)}")
        return _native(_contents(source, member), storage, big)

    names = Names(source, Blocks(source, read, place))
    program = io.BytesIO(_contents(source, members[pickles[0]]).tobytes())
    return _machine(source, names).run(program)


def _machine(source: Source, names: Names) -> Machine:
    return Machine(source, names.find, names.persistent, lambda kind: kind in trusted().values())


def _native(data: Bytes, storage: Storage, big: bool) -> Bytes:
    """Bytes in the order of this machine, which is little endian wherever NumPy has wheels."""
    if not big or storage.dtype is None or storage.dtype.itemsize == 1:
        return data
    return data.reshape(-1, storage.dtype.itemsize)[:, ::-1].reshape(-1)


def _members(source: Source) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive, if they are plain parts of the file and no more than it."""
    try:
        found = zipfile.ZipFile(Stream(source)).infolist()
    except GpugradError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, ValueError, LookupError, ArithmeticError,
            struct.error) as error:  # fmt: skip
        source.refuse(f"is a damaged zip archive: {error!s:.200}")
    for member in found:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            source.refuse(
                f"member {shown(member.filename)} is compressed, as torch.save never does"
            )
        if member.file_size != member.compress_size:
            source.refuse(f"member {shown(member.filename)} has two sizes")
    members = {m.filename: m for m in found}
    if len(members) != len(found) or sum(m.file_size for m in found) > source.size:
        source.refuse("is a damaged zip archive: its members repeat or overlap")
    return members


def _contents(source: Source, member: zipfile.ZipInfo) -> Bytes:
    local = source.read(member.header_offset, _LOCAL).tobytes()
    if local[:4] != b"PK\3\4":
        source.refuse(f"member {shown(member.filename)} is not where the archive says")
    start = member.header_offset + _LOCAL + sum(struct.unpack_from("<HH", local, _LENGTHS))
    data = source.read(start, member.file_size)
    if not source.mapped and member.CRC and zlib.crc32(data.data) != member.CRC:
        source.refuse(f"member {shown(member.filename)} is damaged: its checksum differs")
    return data


def load_rows(source: Source, place: Place) -> Any:
    """The object in a file of ``torch.save`` as it was before 1.6.

    The storages come last and only the pickle says how large they are, so the pickle is read twice:
    for that, and then for the tensors.

    Raises:
        FileFormatError: if it is no such file, is damaged, or asks for more than data.
    """
    stream = Stream(source)
    names = Names(source, Blocks(source, lambda key: np.empty(0, np.uint8), lambda *_: None))
    big = _system(source, names, stream).get("little_endian") is False
    begin = stream.tell()
    _machine(source, names).run(stream)
    keys = _machine(source, names).run(stream)
    if type(keys) is not list or any(type(k) is not str for k in keys):
        source.refuse("it has no list of its storages")
    places, end = _places(source, names.storages, keys, stream.tell())

    def read(key: str) -> Bytes:
        storage = names.storages[key]
        return _native(source.read(places[key], storage.nbytes), storage, big)

    stream.seek(begin)
    names = Names(source, Blocks(source, read, place))
    made = _machine(source, names).run(stream)
    source.finish(end)
    return made


def _system(source: Source, names: Names, stream: Stream) -> dict[Any, Any]:
    """What the file says of the machine that wrote it, behind the marks of the format."""
    for mark in (_MAGIC, _PROTOCOL):
        found = _machine(source, names).run(stream)
        if type(found) is not int or found != mark:
            source.refuse(
                "is a pickle, which may run anything, and none of torch.save's; write the data "
                "with gpugrad.save, torch.save or numpy.save"
            )
    system = _machine(source, names).run(stream)
    if type(system) is not dict:
        source.refuse("it does not say which machine wrote it")
    return system


def _places(source: Source, storages: dict[str, Storage], keys: list[str],
            at: int) -> tuple[dict[str, int], int]:  # fmt: skip
    """Where the bytes of each storage begin, and where the last end."""
    if sorted(keys) != sorted(storages):
        source.refuse("the list of its storages is not that of its pickle")
    places = {}
    for key in keys:
        storage = storages[key]
        size = (storage.dtype or dtypes.uint8).itemsize
        count = int.from_bytes(source.read(at, 8).tobytes(), "little")
        if count * size != storage.nbytes:
            source.refuse(
                f"storage {shown(key)} has {count} elements, not {storage.nbytes // size}"
            )
        places[key] = at + 8
        at += 8 + storage.nbytes
    return places, at


__all__ = ["load_rows", "load_zip"]
