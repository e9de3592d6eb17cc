"""Writing one tensor into another, filling, and moving between devices."""

from __future__ import annotations

from typing import Any

from gpugrad import backends, dtypes
from gpugrad.devices import Device
from gpugrad.errors import DeviceError, NotSupportedError, ShapeError
from gpugrad.inplace import assign, check_overlap, check_writable, family_node, write
from gpugrad.modes import modes
from gpugrad.op import Array, function, op
from gpugrad.ops.indexing import as_value
from gpugrad.samples import A, Sample
from gpugrad.signature import broadcast_shapes
from gpugrad.spec import Spec
from gpugrad.tensor import Tensor

# ---- devices -----------------------------------------------------------------------------------


def _moved(input: Spec, *, device: str, source: str) -> Spec:
    if source == "meta" and device != "meta":
        raise DeviceError(
            f"to: a tensor on the meta device has no data to bring to {device}; make one there "
            "with empty_like(tensor, device=...)"
        )
    return Spec(input.shape, input.dtype)


@op(promotion=None, half="native", method=False, torch="", result=_moved,
    samples=[Sample(A((2, 3)), device="cpu", source="cpu")])  # fmt: skip
def to_device(xp, input: Array, *, device: str, source: str) -> Array:
    """The elements in fresh memory of another device.

    Args:
        device, source: names of where to and where from.
    """
    target = Device(device)
    if target.type == "meta":
        return Spec(input.shape, dtypes.from_numpy(input.dtype))
    if device == source:
        return xp.copy(input)
    return backends.for_device(target).from_numpy(backends.for_array(input).to_numpy(input), target)


@to_device.vjp
def _(xp, g, device, source):
    if device == "meta" or source == "meta":
        raise NotSupportedError("to: no gradient goes to or from the meta device")
    return xp.to_device(g, device=source, source=device)


def move(input: Tensor, device: Any) -> Tensor:
    """The tensor on a device: itself if it is there."""
    target = Device(device)
    if target.type == "cuda" and target.index is None:
        backend = backends.for_device(target)
        if input.device.type == "cuda":
            return input
        target = backend.device_of(backend.from_numpy(_PROBE, target))
    if input.device == target:
        return input
    return to_device(input, device=str(target), source=str(input.device))


_PROBE = backends.NUMPY.xp.zeros(0)


# ---- writing -----------------------------------------------------------------------------------


def _overwritten(input: Spec, src: Spec) -> Spec:
    if broadcast_shapes("copy_", input.shape, src.shape) != tuple(input.shape):
        raise ShapeError(
            f"copy_: src of shape {tuple(src.shape)} does not broadcast to the target's "
            f"{tuple(input.shape)}"
        )
    return Spec(input.shape, input.dtype)


@op(promotion=None, half="native", method=False, torch="", result=_overwritten,
    samples=[Sample(A((2, 3)), A((2, 3))), Sample(A((2, 3)), A((3,))),
             Sample(A((2, 3)), A(()))])  # fmt: skip
def overwrite(xp, input: Array, src: Array) -> Array:
    """``src`` in the shape and dtype of ``input``, none of whose values are left."""
    out = xp.empty_like(input)
    out[...] = src
    return out


@overwrite.vjp("input")
def _(xp, g):
    return xp.zeros_like(g)


@overwrite.vjp("src")
def _(xp, g):
    return g


@function(home="Tensor", name="copy_", differentiable=True, samples=())
def copy_(input: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write ``src`` into the tensor: broadcast, and converted to its dtype and device.

    ``non_blocking`` asks for what happens anyway: a copy is queued behind earlier work, and the
    host waits only where it reads.

    Raises:
        ShapeError: if ``src`` does not broadcast to the tensor's shape.
    """
    check_writable("copy_", input)
    src = as_value("copy_", src, input)
    check_overlap("copy_", input, src)
    if input.device != src.device and not input.is_meta:
        src = move(src, input.device)
    _overwritten(_spec(input), _spec(src))
    if modes.grad and (src._node is not None or family_node(input) is not None):
        src = src.detach() if input.is_meta else src.to(input.dtype)
        return assign("copy_", input, overwrite(input, src))
    if not input.is_meta:
        write(input, src._array)
    else:
        input.storage_state().bump()
    return input


def _spec(t: Tensor) -> Spec:
    return Spec(tuple(t.shape), t.dtype)


@function(home="Tensor", name="fill_", samples=())
def fill_(input: Tensor, value: Any) -> Tensor:
    """Write one number, or the element of a 0-d tensor, everywhere."""
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(
            f"fill_: value must be a number or a 0-d tensor, got shape {tuple(value.shape)}"
        )
    return copy_(input, as_value("fill_", value, input))


@function(home="Tensor", name="zero_", samples=())
def zero_(input: Tensor) -> Tensor:
    """Write zeros everywhere."""
    return fill_(input, 0)


@function(torch="", samples=[Sample(A((2, 3)), 1)])
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like the input with one number everywhere."""
    return fill_(input.clone(), value)


@function(home="Tensor", name="resize_", differentiable=False, samples=())
def resize_(input: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Change the shape in place; elements that stay keep their order, new ones are not set.

    Raises:
        AutogradError: if the tensor requires a gradient.
        NotSupportedError: if it shares its memory with a view and would need more.
    """
    from gpugrad.errors import AutogradError
    from gpugrad.factory import format_name
    from gpugrad.factory import sizes as read

    shape = read("resize_", sizes)
    if input.requires_grad:
        raise AutogradError("resize_: a tensor that requires a gradient cannot be resized")
    if format_name("resize_", memory_format, len(shape)) not in (
        "contiguous_format", "preserve_format",
    ):  # fmt: skip
        raise NotSupportedError("resize_: only contiguous layouts; call contiguous() afterwards")
    if input.is_meta:
        input._array = Spec(shape, input.dtype)
        return input
    array = input._array
    count = 1
    for s in shape:
        count *= s
    if not array.flags.c_contiguous or (count > array.size and input._view is not None):
        raise NotSupportedError(
            f"resize_: shape {tuple(input.shape)} to {shape}: only a contiguous tensor can be "
            "resized, and only one that is no view can grow; use reshape() or a new tensor"
        )
    flat = array.reshape(-1)
    if count > array.size:
        xp = backends.for_array(array).xp
        grown = xp.empty(count, dtype=array.dtype)
        grown[: array.size] = flat
        flat = grown
    input._array = flat[:count].reshape(shape)
    input.storage_state().bump()
    return input


@function(home="Tensor", name="resize_as_", differentiable=False, samples=())
def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """``resize_`` to the shape of another tensor."""
    return resize_(input, tuple(the_template.shape), memory_format=memory_format)
