"""The tensor: an array, its place on the tape, and what it shares with its views.

A tensor has few fields, because every op makes one: the array (or a ``Spec`` on the ``meta``
device), the node that made it (a ``Leaf`` for a leaf that wants a gradient, else None), which
output of that node it is, the storage it shares, and the view it is of a base.  Methods that are
ops come from the records and are attached by ``gpugrad.publish``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex, overload

import numpy as np

from gpugrad import backends, dtypes, tape
from gpugrad.config import config
from gpugrad.devices import CPU, META, Device
from gpugrad.dtypes import DType
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    DeviceError,
    DTypeError,
    SettingError,
    ShapeError,
)
from gpugrad.functional_namespace import F
from gpugrad.methods import TensorMethods
from gpugrad.modes import modes
from gpugrad.spec import Spec
from gpugrad.storage import InferenceStorage, Storage
from gpugrad.tape import Leaf

_new = object.__new__
_NDARRAY = np.ndarray


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple with ``numel``; its slices, sums and multiples are sizes."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements of a tensor of this shape."""
        return math.prod(self)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> Size: ...
    def __getitem__(self, index: Any, /) -> Any:
        found = tuple.__getitem__(self, index)
        return found if type(found) is int else Size(found) if type(index) is slice else found

    def __add__(self, other: Any) -> Any:
        return Size((*self, *other)) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: Any) -> Any:
        return Size(tuple.__mul__(self, times))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"gpugrad.Size({list(self)})"


class View:
    """How a tensor looks at its base: the view ops from the base to it, as plain data."""

    __slots__ = ("base", "chain", "recorded")

    def __init__(self, base: Tensor, chain: tuple[tuple[str, dict[str, Any], int], ...],
                 recorded: bool) -> None:  # fmt: skip
        self.base = base
        #: whether it was made while recording: only then does it take part in its base's history
        self.recorded = recorded
        #: (op's key, settings, which output) from the base onwards
        self.chain = chain


class Tensor(TensorMethods):
    """An n-dimensional array of one dtype on one device, which may record what is done with it.

    ``Tensor(data)`` makes a float tensor of nested data; ``Tensor(2, 3)`` an uninitialised one
    (PyTorch's legacy constructor).  Prefer ``gpugrad.tensor``.
    """

    __slots__ = ("__dict__", "__weakref__", "_array", "_node", "_slot", "_storage", "_view")
    _array: Any
    _node: Any
    _slot: int
    _storage: Storage | None
    _view: View | None
    __array_priority__ = 1000  # NumPy's operators give way to ours
    __hash__ = object.__hash__

    def __init__(self, *data: Any) -> None:
        if len(data) == 1 and not isinstance(data[0], int):
            source = data[0]
            array = source._array if isinstance(source, Tensor) else np.array(source, dtype=object)
            if not isinstance(source, Tensor):
                array = np.array(source, dtype=config.default_dtype.np)
        else:
            array = np.zeros(data if data else (0,), dtype=config.default_dtype.np)
        self._array, self._node, self._slot = array, None, 0
        self._storage = self._view = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        TENSOR_TYPES.add(cls)

    # ---- what it is ------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """Sizes of the dimensions."""
        return Size(self._array.shape)

    @property
    def dtype(self) -> DType:
        """Element type."""
        d = self._array.dtype
        return d if type(d) is DType else dtypes.from_numpy(d)

    @property
    def device(self) -> Device:
        """Where the elements live."""
        array = self._array
        if type(array) is _NDARRAY:
            return CPU
        if type(array) is Spec:
            return META
        return backends.for_array(array).device_of(array)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        n: int = self._array.ndim
        return n

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to this tensor; setting it makes or unmakes a leaf."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise ArgumentError(f"requires_grad must be a bool, got {value!r}")
        self.requires_grad_(value)

    @property
    def is_leaf(self) -> bool:
        """Whether the user made it (or it needs no gradient), rather than a recorded op."""
        return self._node is None or type(self._node) is Leaf

    @property
    def grad_fn(self) -> Any:
        """The node that made this tensor; None for a leaf."""
        return None if self.is_leaf else self._node

    @property
    def output_nr(self) -> int:
        """Which output of ``grad_fn`` this tensor is."""
        return self._slot

    @property
    def grad(self) -> Tensor | None:
        """The gathered gradient of a leaf, or of a tensor with ``retain_grad()``; else None."""
        if type(self._node) is Leaf:
            return self._node.grad  # type: ignore[no-any-return]
        return self.__dict__.get("_grad")

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise ArgumentError(f"grad must be a Tensor or None, got {type(value).__name__}")
            for name in ("shape", "dtype", "device"):
                mine, other = getattr(self, name), getattr(value, name)
                if mine != other:
                    raise ShapeError(
                        f"a gradient has the {name} of its tensor: tensor {mine}, gradient {other}"
                    )
        if type(self._node) is Leaf:
            self._node.grad = value
        else:
            self.__dict__["_grad"] = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def data(self) -> Tensor:
        """The same memory without history.  Writes through it are counted (PyTorch's are not)."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise ArgumentError(f"data must be a Tensor, got {type(value).__name__}")
        self.storage_state().bump()
        self._array = value._array
        if type(self._node) is Leaf:
            self._node.shape, self._node.dtype = self._array.shape, self._array.dtype

    @property
    def _version(self) -> int:
        """How often this tensor's memory has been written to in place."""
        return 0 if self._storage is None else self._storage.version

    @property
    def _base(self) -> Tensor | None:
        """The tensor whose memory this one views; None if it is no view."""
        return None if self._view is None else self._view.base

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def is_meta(self) -> bool:
        """Whether it has shape and dtype only."""
        return type(self._array) is Spec

    is_sparse = False
    is_quantized = False
    names = None

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.itemsize

    def storage_state(self) -> Storage:
        """The state shared with every tensor of the same memory, made on first use."""
        if self._storage is None:
            self._storage = Storage()
            if self._node is not None:  # what kept the bare array finds the version through it
                self._node.storage = self._storage
        return self._storage

    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self._array.shape)

    nelement = numel

    def size(self, dim: int | None = None) -> Any:
        """Shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        from gpugrad.signature import wrap_dim

        return self._array.shape[wrap_dim("size", dim, self.ndim)]

    def dim(self) -> int:
        """Number of dimensions."""
        return self.ndim

    ndimension = dim

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.itemsize

    def get_device(self) -> int:
        """Ordinal of the CUDA device, -1 on the CPU."""
        return -1 if self.device.index is None else self.device.index

    def stride(self, dim: int | None = None) -> Any:
        """Steps between neighbours of each dimension, in elements."""
        self._need_data("stride")
        steps = tuple(s // self._array.dtype.itemsize for s in self._array.strides)
        if dim is None:
            return steps
        from gpugrad.signature import wrap_dim

        return steps[wrap_dim("stride", dim, self.ndim)]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether elements lie in row-major order (or in that of ``memory_format``)."""
        if type(self._array) is Spec:
            return True
        if getattr(memory_format, "name", "contiguous_format") == "channels_last":
            return self.ndim == 4 and bool(self._array.transpose(0, 2, 3, 1).flags.c_contiguous)
        return bool(self._array.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Always False: complex dtypes are not supported yet."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        """Whether it was made in ``inference_mode``."""
        return type(self._storage) is InferenceStorage

    def data_ptr(self) -> int:
        """Address of the first element."""
        self._need_data("data_ptr")
        array = self._array
        return int(array.ctypes.data if type(array) is _NDARRAY else array.data.ptr)

    def _need_data(self, what: str) -> None:
        if type(self._array) is Spec:
            raise DeviceError(f"{what}: a tensor on the meta device has a shape but no data")

    # ---- leaving gpugrad -------------------------------------------------------------------

    def item(self) -> Any:
        """The single element as a Python number.

        Raises:
            ShapeError: if there is not exactly one element.
        """
        self._need_data("item")
        if self.numel() != 1:
            raise ShapeError(
                f"item: only a tensor of one element becomes a Python number; "
                f"this one has shape {tuple(self.shape)}"
            )
        value = backends.for_array(self._array).to_numpy(self._array).reshape(())[()]
        return float(value) if self.dtype.foreign else value.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        self._need_data("tolist")
        array = backends.for_array(self._array).to_numpy(self._array)
        if self.dtype.foreign:
            array = array.astype(np.float32)
        return array.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The elements as a NumPy array that shares memory.

        Args:
            force: also detach, and copy to the host where needed.

        Raises:
            AutogradError: if it requires a gradient; DeviceError: if it is not on the CPU.
        """
        self._need_data("numpy")
        if not force:
            if self._node is not None:
                raise AutogradError(
                    "numpy: this tensor requires a gradient, which NumPy cannot record; "
                    "use tensor.detach().numpy()"
                )
            if type(self._array) is not _NDARRAY:
                raise DeviceError(
                    f"numpy: the tensor is on {self.device}, NumPy needs cpu; use tensor.cpu()"
                )
        return backends.for_array(self._array).to_numpy(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != np.dtype(dtype):
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **kwargs: Any) -> Any:
        self._need_data("__dlpack__")
        if self._node is not None:
            raise AutogradError("__dlpack__: the tensor requires a gradient; detach() it first")
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        self._need_data("__dlpack_device__")
        return self._array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> Any:
        if self.device.type != "cuda":
            raise AttributeError(f"__cuda_array_interface__: the tensor is on {self.device}")
        if self._node is not None:
            raise AttributeError("__cuda_array_interface__: requires a gradient; detach() it first")
        return self._array.__cuda_array_interface__

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ShapeError(
                f"the truth of a tensor of shape {tuple(self.shape)} is ambiguous; "
                "use .any() or .all()"
            )
        return bool(self.item())

    def __int__(self) -> int:
        return int(self._number("int"))

    def __float__(self) -> float:
        return float(self._number("float"))

    def _number(self, kind: str) -> Any:
        if self.numel() != 1:
            raise SettingError(
                f"{kind}: only a tensor of one element becomes a number; this one has shape "
                f"{tuple(self.shape)}"
            )
        return self.item()

    def __index__(self) -> int:
        if self.dtype.is_floating_point:
            raise ArgumentError(f"only integer tensors are indices, this one is {self.dtype}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        if self.ndim == 0 and (spec or type(self) is Tensor) and not self.is_meta:
            return format(self.item(), spec)
        if spec:
            raise ArgumentError(
                f"format: only a 0-d tensor takes a format such as {spec!r}; this one has shape "
                f"{tuple(self.shape)}"
            )
        return str(self)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise ArgumentError("len() of a 0-d tensor")
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise ArgumentError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, Tensor | int | float | np.generic):
            raise ArgumentError(f"in: value must be a number or a Tensor, got {value!r}")
        found: Any = self == value
        return bool(found.any())

    def __repr__(self) -> str:
        from gpugrad.printing import render

        return render(self)

    # ---- the tape --------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make this a leaf that gathers a gradient, or stop it from being one.

        Raises:
            AutogradError: on a tensor that a recorded op made; DTypeError: if it is not floating.
        """
        if not self.is_leaf:
            if requires_grad:
                return self
            raise AutogradError(
                "requires_grad can be switched off only for leaf tensors; use detach()"
            )
        if requires_grad and self._node is None:
            if not self.dtype.is_floating_point:
                raise DTypeError(
                    f"only floating tensors can require gradients, this one is {self.dtype}"
                )
            if self.is_inference():
                raise AutogradError("a tensor made in inference_mode cannot require a gradient")
            # One that was switched off comes back as the leaf of the graphs recorded before.
            leaf = self.__dict__.pop("_leaf", None)
            if leaf is None or (leaf.shape, leaf.dtype) != (self._array.shape, self._array.dtype):
                leaf = Leaf(self)
            leaf.grad = self.__dict__.pop("_grad", None)
            self._node = leaf
        elif not requires_grad and self._node is not None:
            self.__dict__["_leaf"], self.__dict__["_grad"] = self._node, self._node.grad
            self._node = None
        return self

    def detach(self) -> Tensor:
        """The same memory without history."""
        return wrap(self._array, None, 0, None if self.is_meta else self.storage_state())

    def detach_(self) -> Tensor:
        """Drop this tensor's history, in place."""
        if self._view is not None:
            raise AutogradError("detach_: a view cannot be detached in place; use detach()")
        self._node, self._slot = None, 0
        return self

    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None,
                 create_graph: bool = False, inputs: Any = None) -> None:  # fmt: skip
        """Add the gradient of this tensor to ``.grad`` of the leaves it was made of.

        Args:
            gradient: gradient of this tensor; optional for a scalar.
            retain_graph: keep what the graph saved, so that backward can run again.
            create_graph: record the gradient itself (then the graph is retained, too).
            inputs: gather gradients only for these leaves.
        """
        from gpugrad.autograd.run import backward

        backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this non-leaf tensor in ``.grad`` at the next backward."""
        if self._node is None:
            raise AutogradError("retain_grad: the tensor does not require a gradient")
        if not self.is_leaf and not self.retains_grad:
            self.__dict__["_retains"] = self._gather()

    def _gather(self) -> tape.Handle:
        """Add what arrives at this tensor's place on the tape to its ``.grad``."""
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            tensor = me()
            if tensor is not None:
                held = tensor.__dict__.get("_grad")
                tensor.__dict__["_grad"] = held + g if held is not None else g.clone()

        return tape.add_tensor_hook(self._node, self._slot, keep, "retain")

    def _move_to(self, node: Any, slot: int) -> None:
        """Take another place on the tape, as a write does; ``retain_grad`` comes along."""
        self._node, self._slot = node, slot
        retained = self.__dict__.get("_retains")
        if retained is not None:
            retained.remove()
            self.__dict__["_retains"] = self._gather() if node is not None else None

    @property
    def retains_grad(self) -> bool:
        """Whether ``retain_grad`` was called on this non-leaf."""
        return self.__dict__.get("_retains") is not None

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> tape.Handle:
        """Call ``hook(grad)`` whenever this tensor's gradient is computed; a result replaces it."""
        if self._node is None:
            raise AutogradError("register_hook: the tensor does not require a gradient")
        _check_callable("register_hook", hook)
        return tape.add_tensor_hook(self._node, self._slot, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> tape.Handle:
        """Call ``hook(tensor)`` each time ``.grad`` of this leaf has been added to."""
        leaf = self._node
        if type(leaf) is not Leaf:
            raise AutogradError("post accumulate grad hooks are for leaves that require a gradient")
        _check_callable("register_post_accumulate_grad_hook", hook)
        if leaf.post_hooks is None:
            leaf.post_hooks = {}
        key = id(hook)
        hooks = leaf.post_hooks
        hooks[key] = hook
        return tape.Handle(lambda: hooks.pop(key, None) and None)

    # ---- copies ----------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]  # type: ignore[no-any-return]
        if not self.is_leaf:
            raise AutogradError(
                "deepcopy: only leaf tensors can be copied with their state; use detach().clone()"
            )
        array = self._array
        array = array if self.is_meta else backends.for_array(array).copy(array)
        result = wrap(array, None, 0, None, type(self))
        memo[id(self)] = result
        if self._node is not None:
            result.requires_grad_()
        if self.grad is not None:
            import copy

            result.grad = copy.deepcopy(self.grad, memo)
        for k, v in self.__dict__.items():
            if not k.startswith("_"):
                import copy

                result.__dict__[k] = copy.deepcopy(v, memo)
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf:
            raise AutogradError("pickle: only leaf tensors can be pickled; use detach()")
        state = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        data = self._array if self.is_meta else self.numpy(force=True)
        if self.is_meta:
            data = (tuple(self.shape), self.dtype)
        elif self.dtype.foreign:
            data = data.view(f"u{self.dtype.itemsize}")
        return (
            _rebuild,
            (type(self), data, self.dtype, self.device, self._node is not None, state),
        )


TENSOR_TYPES: set[type] = {Tensor}


def wrap(array: Any, node: Any = None, slot: int = 0, storage: Storage | None = None,
         cls: type[Tensor] = Tensor) -> Tensor:  # fmt: skip
    """Make a tensor of an array of a backend, without checks or copies."""
    t = _new(cls)
    t._array = array
    t._node = node
    t._slot = slot
    t._storage = storage
    t._view = None
    return t


F.wrap = wrap  # the tape makes tensors, and stands below them


def _rebuild(cls: type[Tensor], data: Any, dtype: DType, device: Device, requires_grad: bool,
             state: dict[str, Any]) -> Tensor:  # fmt: skip
    if device.type == "meta":
        array: Any = Spec(*data)
    else:
        host = data.view(dtype.np) if dtype.foreign else data
        array = backends.for_device(device).from_numpy(host, device)
    t = wrap(array, None, 0, None, cls)
    t.__dict__.update(state)
    return t.requires_grad_() if requires_grad else t


def from_data(data: Any, dtype: DType | None, device: Device) -> Any:
    """Copy nested numbers, arrays or tensors into a fresh array of a backend.

    Raises:
        SettingError: if rows differ in length; ArgumentError: if it is no data at all.
    """
    if isinstance(data, Tensor):
        host = data.numpy(force=True)
        host = host.copy()
    elif isinstance(data, np.ndarray | np.generic):
        host = np.array(data)
    elif isinstance(data, list | tuple) and any(isinstance(x, Tensor) for x in data):
        host = np.array([from_data(x, None, CPU) for x in data])
    else:
        host = _from_python(data)
    if dtype is None and host.dtype == np.float64 and not _holds_arrays(data):
        dtype = config.default_dtype
    target = dtypes.from_numpy(host.dtype) if dtype is None else dtype
    if device.type == "meta":
        return Spec(host.shape, target)
    if host.dtype != target.np:
        if not isinstance(data, Tensor | np.ndarray | np.generic):
            check_fits("tensor", host, target)
        host = backends.NUMPY.run(backends.NUMPY.xp.astype, host, target)
    return backends.for_device(device).from_numpy(host, device)


def check_fits(name: str, numbers: np.ndarray[Any, Any], dtype: DType) -> None:
    """Refuse Python numbers that an integer dtype cannot hold; unsigned ones wrap from below.

    Raises:
        SettingError: naming the dtype's range.
    """
    if dtype.category != dtypes.INTEGER or not numbers.size or numbers.dtype.kind == "b":
        return
    info = dtypes.iinfo(dtype)
    low = info.min if dtype.is_signed else -info.max
    if not (low <= numbers.min() and numbers.max() < info.max + 1):
        raise SettingError(
            f"{name}: numbers from {numbers.min()} to {numbers.max()} do not fit in {dtype.name}; "
            f"accepted: {info.min} to {info.max}"
        )


def _holds_arrays(data: Any) -> bool:
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, np.ndarray | np.generic | Tensor)


def _from_python(data: Any) -> np.ndarray[Any, Any]:
    try:
        host = np.array(data)
    except ValueError as error:
        raise SettingError(f"tensor: rows differ in length or depth: {error}") from None
    except OverflowError:
        raise SettingError(f"tensor: {data!r} does not fit in int64") from None
    if host.size == 0 and host.dtype == np.float64:
        return host
    if host.dtype.kind == "O" or host.dtype.kind in "US":
        raise ArgumentError(f"tensor: cannot make numbers of {type(data).__name__} {data!r:.60}")
    if host.dtype.kind == "c":
        raise DTypeError("tensor: complex tensors are not supported yet; use two real tensors")
    return host


def check_mode(tensor: Tensor) -> None:
    """Mark a result made under ``inference_mode``; a view of an ordinary tensor stays ordinary."""
    if modes.inference and tensor._storage is None:
        tensor._storage = InferenceStorage()


__all__ = ["TENSOR_TYPES", "Size", "Tensor", "View", "from_data", "wrap"]


def _check_callable(called: str, hook: Any) -> None:
    if not callable(hook):
        raise ArgumentError(f"{called}: hook must be callable, got {hook!r}")
