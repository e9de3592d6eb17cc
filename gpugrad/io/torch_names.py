"""What names mean in a ``torch.save`` file: tensors, containers, numbers; the rest is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpugrad import dtypes, factory
from gpugrad.devices import Device
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.io.describe import may_be_set
from gpugrad.io.header import sizes
from gpugrad.io.pickles import Part, Recipe, Trusted
from gpugrad.io.plain_names import PLAIN
from gpugrad.io.source import Source, shown
from gpugrad.io.trusted import trusted
from gpugrad.io.values import STORED
from gpugrad.io.windows import Blocks, Window
from gpugrad.nn.parameter import Buffer, Parameter
from gpugrad.spec import Spec
from gpugrad.tensor import Size, Tensor, wrap


@dataclass(frozen=True, slots=True)
class StorageType(Part):
    """A class of PyTorch's storages: its dtype, or None for plain bytes."""

    dtype: DType | None


@dataclass(frozen=True, slots=True)
class Storage(Part):
    """A storage that the pickle refers to: bytes elsewhere in the file."""

    key: str
    dtype: DType | None
    location: str
    nbytes: int


_STORAGES = {
    "DoubleStorage": dtypes.float64, "FloatStorage": dtypes.float32, "HalfStorage": dtypes.float16,
    "BFloat16Storage": dtypes.bfloat16, "LongStorage": dtypes.int64, "IntStorage": dtypes.int32,
    "ShortStorage": dtypes.int16, "CharStorage": dtypes.int8, "ByteStorage": dtypes.uint8,
    "BoolStorage": dtypes.bool_,
}  # fmt: skip
#: Dtypes of PyTorch that gpugrad does not have; in files they also name storages.
_ABSENT = {
    "complex32", "complex64", "complex128", "uint16", "uint32", "uint64", "qint8", "quint8",
    "qint32", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "float8_e8m0fnu", "ComplexFloatStorage", "ComplexDoubleStorage", "QInt8Storage",
    "QUInt8Storage", "QInt32Storage",
}  # fmt: skip
_FORMATS = {
    f.name: f
    for f in (factory.contiguous_format, factory.preserve_format, factory.channels_last,
              factory.channels_last_3d, factory.strided)
}  # fmt: skip


class Names:
    """The meaning of globals and persistent ids in one file."""

    def __init__(self, source: Source, blocks: Blocks) -> None:
        self._source, self._blocks = source, blocks
        self.storages: dict[str, Storage] = {}
        self._known: dict[str, Any] = {
            **PLAIN,
            **{f"torch.{d.name}": d for d in STORED},
            **{f"torch.{name}": value for name, value in _FORMATS.items()},
            **{f"torch.{name}": StorageType(d) for name, d in _STORAGES.items()},
            "torch.storage.UntypedStorage": StorageType(None),
            "torch.Tensor": Tensor,
            "torch.nn.parameter.Parameter": Parameter,
            "torch.nn.parameter.Buffer": Buffer,
            "torch.Size": Recipe(lambda shape=(): Size(_whole(shape))),
            "torch.device": Recipe(_device),
            "torch.serialization._get_layout": Recipe(lambda name: _FORMATS[name.split(".")[-1]]),
            "torch._utils._rebuild_tensor": Recipe(self._tensor),
            "torch._utils._rebuild_tensor_v2": Recipe(self._tensor),
            "torch._utils._rebuild_tensor_v3": Recipe(self._tensor_of_dtype),
            "torch._utils._rebuild_meta_tensor_no_storage": Recipe(self._meta),
            "torch._utils._rebuild_parameter": Recipe(self._parameter),
            "torch._utils._rebuild_parameter_with_state": Recipe(self._parameter),
            "torch._tensor._rebuild_from_type_v2": Recipe(self._typed),
        }

    def find(self, module: str, name: str) -> Any:
        """What a global means.

        Raises:
            FileFormatError: for everything that is not listed, by its name.
        """
        full = f"{module}.{name}"
        if full in trusted():
            return Trusted(trusted()[full])
        if full in self._known:
            return self._known[full]
        if module == "torch" and name in _ABSENT:
            raise NotSupportedError(
                f"load: {self._source.name} holds a tensor of {full}, which gpugrad does not have; "
                f"known are {', '.join(d.name for d in STORED)}"
            )
        self._source.refuse(
            f"it asks for {full:.200}, which is code and no data, and is not run; if it is a whole "
            "module, save its state_dict() with PyTorch and load that; if you wrote the file "
            "yourself, gpugrad.serialization.add_safe_globals([...]) admits a class of yours"
        )

    def persistent(self, pid: Any) -> Storage:
        """The storage that a persistent id names.

        Raises:
            FileFormatError: if it is no storage, or two sizes are given for one.
        """
        if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage":
            self._source.refuse(f"it refers to {shown(pid)}, which is no storage of numbers")
        _, kind, key, location, count = pid[:5]
        right = type(kind) is StorageType and type(key) is str and type(location) is str
        if not right or type(count) is not int or count < 0 or any(pid[5:]):
            self._source.refuse(f"it refers to a storage by {shown(pid)}")
        found = Storage(key, kind.dtype, location, count * (kind.dtype or dtypes.uint8).itemsize)
        known = self.storages.setdefault(key, found)
        if known != found:
            self._source.refuse(f"it gives two descriptions of storage {shown(key)}")
        return found

    # ---- tensors -------------------------------------------------------------------------------

    def _tensor(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any = False,
        hooks: Any = None,
        metadata: Any = None,
    ) -> Tensor:
        return self._over(storage, offset, size, stride, requires_grad, None, metadata)

    def _tensor_of_dtype(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        return self._over(storage, offset, size, stride, requires_grad, dtype, metadata)

    def _over(self, storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any,
              dtype: Any, metadata: Any) -> Tensor:  # fmt: skip
        dtype = dtype or getattr(storage, "dtype", None)
        if type(storage) is not Storage or type(dtype) is not DType or metadata:
            self._source.refuse(f"it has a tensor of {shown(dtype)} over {shown(storage)}")
        shape, steps = _whole(size), _whole(stride)
        (start,) = _whole((offset,))
        window = Window(
            dtype.np, shape, tuple(s * dtype.itemsize for s in steps), start * dtype.itemsize
        )
        name = f"the tensor in storage {shown(storage.key)}"
        made = self._blocks.tensor(storage.key, name, dtype, window, storage.location)
        return self._leaf(made, requires_grad)

    def _meta(self, dtype: Any, size: Any, stride: Any, requires_grad: Any) -> Tensor:
        if type(dtype) is not DType:
            self._source.refuse(f"it has a tensor of {shown(dtype)}")
        return self._leaf(wrap(Spec(_whole(size), dtype)), requires_grad)

    def _leaf(self, made: Any, requires_grad: Any) -> Tensor:
        if not isinstance(made, Tensor) or (requires_grad is True and not made.is_floating_point()):
            self._source.refuse(f"it wants a gradient of {shown(made)}")
        return made.requires_grad_() if requires_grad is True else made

    def _parameter(self, data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Tensor:
        wanted = self._leaf(data, requires_grad).requires_grad
        return self._with_state(Parameter(data, wanted), state)

    def _typed(self, function: Any, kind: Any, args: Any, state: Any) -> Tensor:
        if type(function) is not Recipe or type(args) is not tuple:
            self._source.refuse(f"it makes a tensor by {shown(function)}")
        made = function.make(*args)
        if kind not in (Tensor, Parameter, Buffer) or not isinstance(made, Tensor):
            self._source.refuse(f"it has a tensor of the class {shown(kind)}")
        state = dict(state) if type(state) is dict else state
        if kind is Buffer or (type(state) is dict and state.pop("_is_buffer", False)):
            made = Buffer(made)
        return self._with_state(made, state)

    def _with_state(self, made: Tensor, state: Any) -> Tensor:
        """Set the attributes that the user had set on a tensor."""
        for name, value in state.items() if type(state) is dict else ():
            if type(name) is not str or not may_be_set(made, name):
                self._source.refuse(f"it sets the attribute {shown(name)} of a tensor")
            vars(made)[name] = value
        return made


def _whole(numbers: Any) -> tuple[int, ...]:
    """A tuple of sizes, strides or an offset: no number may be negative or overflow."""
    if type(numbers) not in (tuple, list, Size) or not sizes(list(numbers)):
        raise ValueError(f"{shown(numbers)} are no sizes")
    return tuple(numbers)


def _device(kind: Any, index: Any = None) -> Device:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError(f"{shown(kind)} is no device")
    return Device(kind, index)


__all__ = ["Names", "Storage", "StorageType"]
