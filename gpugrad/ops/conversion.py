"""From one dtype, device or library to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import backends, dtypes, printing
from gpugrad.devices import CPU, Device
from gpugrad.dtypes import DType
from gpugrad.errors import ArgumentError, DeviceError, NotSupportedError
from gpugrad.factory import format_name, place
from gpugrad.op import function, registry
from gpugrad.ops.copying import move
from gpugrad.ops.shape import clone
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor, from_data, wrap

# ---- Tensor.to and its shorthands --------------------------------------------------------------


@function(home="Tensor", samples=[Sample(A((2, 3)), dtypes.float64), Sample(A((2, 3)), "cpu")])
def to(input: Tensor, *args: Any, dtype: Any = None, device: Any = None, other: Any = None,
       non_blocking: bool = False, copy: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor with a dtype and on a device, differentiably; itself if nothing changes.

    Called as ``to(dtype)``, ``to(device, dtype=None)`` or ``to(other)``, each followed by
    ``non_blocking=False, copy=False``.

    Args:
        copy: make a copy even if nothing changes.
        non_blocking: asks for what happens anyway: the host waits only where it reads.
    """
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    elif rest and _names_dtype(rest[0]):
        dtype = rest.pop(0)
    elif rest and not isinstance(rest[0], bool):
        device = rest.pop(0) if device is None else device
        if rest and not isinstance(rest[0], bool):
            dtype = rest.pop(0)
    if len(rest) > 2 or not all(isinstance(r, bool) for r in rest):
        raise ArgumentError(
            f"to: cannot read the arguments {args}; it is to(dtype), to(device, dtype) or to(other), "
            "then non_blocking, copy"
        )
    copy = rest[1] if len(rest) > 1 else copy
    if other is not None:
        device, dtype = other.device, other.dtype
    result = input if device is None else move(input, device)
    if dtype is not None and dtypes.as_dtype(dtype) is not result.dtype:
        result = registry["to"].public(result, dtypes.as_dtype(dtype))
    if memory_format is not None:
        name = format_name("to", memory_format, input.ndim)
        if name != "preserve_format":
            result = result.contiguous(memory_format=name)
    return clone(result) if copy and result is input else result


def _names_dtype(value: Any) -> bool:
    if isinstance(value, DType) or value in (float, int, bool):
        return True
    return isinstance(value, type | np.dtype)


def _shorthand(name: str, dtype: DType) -> None:
    @function(home="Tensor", name=name, samples=[Sample(A((2, 3), 0.0, 9.0))])
    def cast(input: Tensor, memory_format: Any = None) -> Tensor:
        """The tensor as another dtype; itself if it has that."""
        return input.to(dtype, memory_format=memory_format)

    cast.fn.__name__ = cast.fn.__qualname__ = name


for _name in ("float", "double", "half", "bfloat16", "long", "int", "short", "bool"):
    _shorthand(_name, dtypes.as_dtype(_name))
_shorthand("byte", dtypes.uint8)
_shorthand("char", dtypes.int8)


@function(home="Tensor", samples=[Sample(A((2, 3)), A((1,)))])
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype and on the device of another."""
    return input.to(other)


@function(home="Tensor", samples=[Sample(A((2, 3)))])
def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU; itself if it is there."""
    return input.to(CPU, memory_format=memory_format)


@function(home="Tensor", samples=())
def cuda(input: Tensor, device: Any = None, non_blocking: bool = False,
         memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor on a CUDA device (the current one by default)."""
    target = Device("cuda" if device is None else device)
    if target.type != "cuda":
        raise DeviceError(f"cuda: device must be a CUDA device, got {target}")
    return input.to(target, non_blocking=non_blocking, memory_format=memory_format)


@function(home="Tensor", samples=(), differentiable=False)
def pin_memory(input: Tensor, device: Any = None) -> Tensor:
    """A CPU tensor in page-locked memory, from which a GPU copies faster.

    Raises:
        DeviceError: if the tensor is not on the CPU, or no GPU answers.
    """
    if input.device is not CPU:
        raise DeviceError(f"pin_memory: takes a tensor on cpu, got one on {input.device}")
    pinned = backends.cuda().pin(input._array)  # type: ignore[attr-defined]
    return wrap(pinned)


@function(home="Tensor", samples=(), differentiable=False)
def is_pinned(input: Tensor, device: Any = None) -> bool:
    """Whether the tensor lies in page-locked memory."""
    base = getattr(input._array, "base", None)
    return type(base).__name__ == "PinnedMemoryPointer"


#: PyTorch's names of tensor classes, one per dtype.
TYPE_NAMES = {
    dtypes.float64: "DoubleTensor", dtypes.float32: "FloatTensor", dtypes.float16: "HalfTensor",
    dtypes.bfloat16: "BFloat16Tensor", dtypes.int64: "LongTensor", dtypes.int32: "IntTensor",
    dtypes.int16: "ShortTensor", dtypes.int8: "CharTensor", dtypes.uint8: "ByteTensor",
    dtypes.bool_: "BoolTensor",
}  # fmt: skip
_BY_TYPE_NAME = {v: k for k, v in TYPE_NAMES.items()}


@function(home="Tensor", name="type", samples=())
def type_(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """PyTorch's name of the tensor's type (``"torch.FloatTensor"``), or the tensor as a dtype.

    ``dtype`` may be a dtype, such a name, or a class like ``gpugrad.FloatTensor``.
    """
    if dtype is None:
        place = "cuda." if input.is_cuda else ""
        return f"torch.{place}{TYPE_NAMES[input.dtype]}"
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", "")
    parts = name.split(".")
    if parts[-1] in _BY_TYPE_NAME:
        result = input.to(_BY_TYPE_NAME[parts[-1]])
        if isinstance(dtype, str):
            result = move(result, "cuda" if "cuda" in parts else "cpu")
        return result
    return input.to(dtypes.as_dtype(dtype))


# ---- NumPy, DLPack, buffers --------------------------------------------------------------------


@function(method=False, samples=(), differentiable=False)
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor over the memory of a NumPy array: what is written to one is seen in the other.

    Raises:
        ArgumentError: if it is no array, or may not be written.
    """
    if type(ndarray) is not np.ndarray:
        raise ArgumentError(f"from_numpy: takes a numpy.ndarray, got {type(ndarray).__name__}")
    dtypes.from_numpy(ndarray.dtype)
    if not ndarray.flags.writeable:
        raise ArgumentError(
            "from_numpy: the array is read-only, and a tensor over it could be written; "
            "use from_numpy(array.copy()) or tensor(array)"
        )
    return wrap(ndarray)


@function(method=False, samples=[Sample(bytearray(b"\0\0\x80?" * 4), dtype=dtypes.float32), Sample(bytearray(9), dtype=dtypes.int16, count=2, offset=1)], differentiable=False)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A 1-d tensor over the memory of a Python buffer (a copy where the buffer is read-only)."""
    item = dtypes.as_dtype(dtype)
    room = memoryview(buffer).nbytes - offset
    if room <= 0 or count == 0:
        raise ArgumentError(f"frombuffer: nothing to read: {room} bytes behind offset {offset}")
    if count < 0 and room % item.itemsize:
        raise ArgumentError(
            f"frombuffer: {room} bytes are no whole number of {item.name} of {item.itemsize} bytes"
        )
    if count > 0 and count * item.itemsize > room:
        raise ArgumentError(f"frombuffer: {count} elements of {item.name} exceed {room} bytes")
    array = np.frombuffer(buffer, item.np, count, offset)
    t = wrap(array if array.flags.writeable else array.copy())
    return t.requires_grad_() if requires_grad else t


@function(method=False, samples=(), aliases=("utils.dlpack.from_dlpack",), differentiable=False)
def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor over the memory of another library's array, through DLPack."""
    if not hasattr(ext_tensor, "__dlpack__"):
        raise ArgumentError(
            f"from_dlpack: {type(ext_tensor).__name__} has no __dlpack__; a bare capsule is not "
            "accepted, pass the array itself"
        )
    kind = int(ext_tensor.__dlpack_device__()[0])
    if kind == 1:  # kDLCPU
        array = np.from_dlpack(ext_tensor)
        dtypes.from_numpy(array.dtype)
        return wrap(array if array.flags.writeable else array.copy())
    if kind in (2, 3, 13):  # CUDA memory, pinned host memory, managed memory
        return wrap(backends.cuda().library.from_dlpack(ext_tensor))
    raise DeviceError(f"from_dlpack: DLPack device type {kind} is neither CPU nor CUDA")


@function(method=False, samples=(), home="utils.dlpack", differentiable=False)
def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of the tensor's memory."""
    return tensor.__dlpack__()


@function(method=False, samples=[
    Sample([1.5, 2.0]), Sample(A((2, 3))), Sample(A((2, 3)), dtype=dtypes.float64),
])
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of the data, sharing memory (and history) where dtype and device allow."""
    if not isinstance(data, Tensor):
        if type(data) is np.ndarray and data.flags.writeable:
            data = from_numpy(data)
            device = place(device)
        else:
            wanted = None if dtype is None else dtypes.as_dtype(dtype)
            return wrap(from_data(data, wanted, place(device)))
    if dtype is None and device is None:
        return data
    return data.to(device=device, dtype=dtype)


@function(method=False, samples=[Sample([1, 2]), Sample(A((2, 3))), Sample(A((2, 3)), dtype=dtypes.float64, copy=True)])
def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor of a tensor, array, buffer, DLPack object or nested data.

    Args:
        copy: True: always; False: never, an error where it must be; None: where it must be.
    """
    shared = obj
    if not isinstance(obj, Tensor):
        if type(obj) is np.ndarray and obj.flags.writeable:
            shared = from_numpy(obj)
        elif hasattr(obj, "__dlpack__") and not isinstance(obj, np.ndarray | np.generic):
            shared = from_dlpack(obj)
        else:
            shared = None
    if shared is None:
        if copy is False:
            raise ArgumentError(f"asarray: a {type(obj).__name__} cannot be shared, only copied")
        result = as_tensor(obj, dtype, device)
    else:
        result = shared.to(device=device, dtype=dtype) if (dtype or device) else shared
        if copy is False and result is not shared:
            raise ArgumentError("asarray: this dtype or device needs a copy, and copy=False")
        if copy and result is shared:
            result = result.clone()
    if requires_grad:
        return result.detach().requires_grad_()
    return result.detach() if result.requires_grad and not isinstance(obj, Tensor) else result


# ---- questions about types ---------------------------------------------------------------------


@function(method=False, samples=(), differentiable=False)
def is_tensor(obj: Any) -> bool:
    """Whether an object is a tensor."""
    return isinstance(obj, Tensor)


@function(method=False, samples=(), differentiable=False)
def is_storage(obj: Any) -> bool:
    """Always False: memory has no object of its own here."""
    return False


@function(method=False, samples=(), differentiable=False)
def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is a float."""
    return input.is_floating_point()


@function(method=False, samples=(), differentiable=False)
def is_complex(input: Tensor) -> bool:
    """Always False: complex dtypes are not supported yet."""
    return input.is_complex()


@function(method=False, samples=(), differentiable=False)
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


@function(method=False, samples=(), differentiable=False)
def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype that arithmetic of two tensors or numbers has."""
    ranks: tuple[list[DType], ...] = ([], [], [])
    for x in (tensor1, tensor2):
        if isinstance(x, Tensor):
            ranks[0 if x.ndim else 1].append(x.dtype)
        else:
            ranks[2].append(dtypes.of_scalar(x))
    return dtypes.result_type(*ranks)


@function(method=False, samples=(), differentiable=False)
def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest dtype that both can become without losing their kind."""
    return dtypes.promote_types(dtypes.as_dtype(type1), dtypes.as_dtype(type2))


@function(method=False, samples=(), differentiable=False)
def can_cast(from_: Any, to: Any) -> bool:
    """Whether PyTorch's rules allow storing one dtype as another in place."""
    return dtypes.can_cast(dtypes.as_dtype(from_), dtypes.as_dtype(to))


@function(method=False, samples=[Sample(A((2, 3)))])
def real(input: Tensor) -> Tensor:
    """The input: nothing is complex here."""
    return input


@function(home="Tensor", attribute=True, name="real", samples=[Sample(A((2, 3)))])
def real_part(input: Tensor) -> Tensor:
    """The tensor: nothing is complex here."""
    return input


def _complex(name: str) -> None:
    @function(name=name, method=False, samples=(), differentiable=False)
    def refuse(*args: Any, **kwargs: Any) -> Tensor:
        """Not supported: complex dtypes do not exist yet."""
        raise NotSupportedError(
            f"{name}: complex tensors are not supported yet; keep real and imaginary parts as two "
            "real tensors"
        )


for _name in ("complex", "polar", "view_as_complex", "view_as_real", "imag"):
    _complex(_name)

function(printing.set_printoptions, method=False, samples=(), differentiable=False)

