"""Questions about tensors and dtypes, defaults, and what has no complex counterpart here."""

from __future__ import annotations

from typing import Any

from gpugrad import backends, dtypes, printing
from gpugrad.devices import Device, default, place
from gpugrad.dtypes import DType
from gpugrad.errors import NotSupportedError
from gpugrad.op import function
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor

# ---- the default device ------------------------------------------------------------------------


@function(method=False, samples=(), differentiable=False)
def set_default_device(device: Any) -> None:
    """Make this thread's functions without ``device`` put their tensors there; None: the CPU."""
    default.device = None if device is None else Device(device)


@function(method=False, samples=(), differentiable=False)
def get_default_device() -> Device:
    """Where this thread's functions without ``device`` put their tensors."""
    found = place(None)
    if found.type == "cuda" and found.index is None:
        return Device("cuda", backends.cuda().current())
    return found


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


@function(samples=(), differentiable=False)
def is_nonzero(input: Tensor) -> bool:
    """Whether the single element is not zero."""
    return bool(input)


@function(samples=(), differentiable=False)
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return tuple(input.shape) == tuple(other.shape)


@function(home="Tensor", samples=[Sample(A((2, 3)))])
def to_dense(input: Tensor, dtype: Any = None) -> Tensor:
    """The tensor: every tensor is dense here."""
    return input if dtype is None else input.to(dtype)


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


function(method=False, samples=(), differentiable=False)(printing.set_printoptions)
