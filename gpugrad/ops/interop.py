"""Tensors over the memory of other libraries: NumPy, DLPack, buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import backends, dtypes
from gpugrad.devices import Device, default, place
from gpugrad.errors import ArgumentError, DeviceError
from gpugrad.op import function
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor, from_data, wrap


@function(method=False, samples=(), differentiable=False)
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor over the memory of a NumPy array: what is written to one is seen in the other.

    Of a subclass (``numpy.memmap`` and whatever is computed from one) it takes the plain array.

    Raises:
        ArgumentError: if it is no array, or may not be written.
    """
    if not isinstance(ndarray, np.ndarray):
        raise ArgumentError(f"from_numpy: takes a numpy.ndarray, got {type(ndarray).__name__}")
    dtypes.from_numpy(ndarray.dtype)
    if not ndarray.flags.writeable:
        raise ArgumentError(
            "from_numpy: the array is read-only, and a tensor over it could be written; "
            "use from_numpy(array.copy()) or tensor(array)"
        )
    return wrap(ndarray.view(np.ndarray))


@function(
    method=False,
    samples=[
        Sample(bytearray(b"\0\0\x80?" * 4), dtype=dtypes.float32),
        Sample(bytearray(9), dtype=dtypes.int16, count=2, offset=1),
    ],
    differentiable=False,
)
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


@function(
    method=False,
    samples=[
        Sample([1.5, 2.0]),
        Sample(A((2, 3))),
        Sample(A((2, 3)), dtype=dtypes.float64),
    ],
)
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of the data, sharing memory (and history) where dtype and device allow."""
    if not isinstance(data, Tensor):
        if type(data) is np.ndarray and data.flags.writeable:
            data = from_numpy(data)
            device = place(device)
        else:
            wanted = None if dtype is None else dtypes.as_dtype(dtype)
            return wrap(from_data(data, wanted, place(device)))
    device = default.device if device is None else device
    if dtype is None and device is None:
        return data
    return data.to(device=device, dtype=dtype)


@function(
    method=False,
    samples=[Sample([1, 2]), Sample(A((2, 3))), Sample(A((2, 3)), dtype=dtypes.float64, copy=True)],
)
def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor of a tensor, array, buffer, DLPack object or nested data.

    Args:
        copy: True: always; False: never, an error where it must be; None: where it must be.
    """
    shared = obj
    device = default.device if device is None else Device(device)
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
