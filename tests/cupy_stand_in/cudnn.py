"""A stand-in for ``cudnn`` (nvidia-cudnn-frontend 1.27 with cuDNN 9.19) over NumPy.

Graphs are believed word for word: operands are read and written at raw addresses by the dims and
strides of their descriptors, so a wrong one gives wrong values or leaves the device's memory.

It refuses what the library refuses, as the library does: steps out of order, changes to a graph
after it was validated, a uid used twice, sizes that do not fit, strides of another length, a
plan that was deselected, attention with heads that are no multiple of 8 or beyond 256, a damaged
file.  Where the library would silently be wrong, the test fails with AssertionError: a variant pack
that is not complete, addresses that are not aligned to 16 bytes or outside the device's memory, a
workspace that is too small, a handle of another device or stream, and anything but ``execute``
while a stream is captured.

Each graph has plans whose choice shows: one that is not deterministic and one that sums in 16 bits
(both raise when executed), one for float32 that rounds operands to TF32, and exact ones.
``runs`` tells what was executed, ``delays`` how many seconds a plan takes by its name, ``declines``
which graphs have no engine.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import pickle
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from cupy_stand_in.cudnn_maths import attended, attended_back, convolved, out_sizes
from cupy_stand_in.memory import DEVICES, blocks
from cupy_stand_in.streams import get_current_stream

data_type = enum.Enum("data_type", "NOT_SET HALF BFLOAT16 FLOAT DOUBLE INT32 INT64 BOOLEAN")
numerical_note = enum.Enum(
    "numerical_note", "TENSOR_CORE DOWN_CONVERT_INPUTS REDUCED_PRECISION_REDUCTION NONDETERMINISTIC"
)
heur_mode = enum.Enum("heur_mode", "A B FALLBACK")
diagonal_alignment = enum.Enum("diagonal_alignment", "TOP_LEFT BOTTOM_RIGHT")
_TYPES = {data_type.HALF: np.dtype("f2"), data_type.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
          data_type.FLOAT: np.dtype("f4"), data_type.DOUBLE: np.dtype("f8")}  # fmt: skip
_N = numerical_note
#: Plans of every graph, best first: name, notes, bytes of workspace.
_PLANS = (
    ("racing", {_N.NONDETERMINISTIC, _N.TENSOR_CORE}, 0),
    ("narrow", {_N.REDUCED_PRECISION_REDUCTION, _N.TENSOR_CORE}, 0),
    ("rounding", {_N.TENSOR_CORE, _N.DOWN_CONVERT_INPUTS}, 1024),
    ("exact", set(), 1024),
    ("spare", set(), 0),
)
#: The port of a convolution that is computed.
_COMPUTED = {"fprop": "Y", "dgrad": "X", "wgrad": "W"}
_FORMAT = "stand-in 1"

#: Set by tests.
delays: dict[str, float] = {}
declines: list[Callable[[Any], bool]] = []
#: Every execution, newest last: (operation, plan, addresses by uid, workspace, stream).
runs: list[tuple[str, str, dict[int, int], int, int]] = []
#: Every graph that was planned, and every one that came from a file.
planned: list[Any] = []
restored: list[Any] = []


class cudnnGraphNotSupportedError(Exception):
    """As the binding raises it."""


def _quiet(what: str) -> None:
    assert not get_current_stream().is_capturing(), f"{what} while a stream is captured"


_numbers = itertools.count(77)
#: Handles by number: the device of each and its stream.
_handles: dict[int, list[int]] = {}


def create_handle() -> int:
    _quiet("a handle was made")
    number = next(_numbers)
    _handles[number] = [DEVICES.current, 0]
    return number


def set_stream(handle: int, stream: int) -> None:
    _handles[handle][1] = stream


def get_stream(handle: int) -> int:
    return _handles[handle][1]


def backend_version() -> int:
    return 91901


class Tensor:
    """What a graph knows of one tensor."""

    def __init__(self, graph: pygraph, virtual: bool) -> None:
        self.graph, self.virtual = graph, virtual
        self.uid: int | None = None
        self.dim: list[int] = []
        self.stride: list[int] = []
        self.data_type: Any = None

    def _set(self, **values: Any) -> Tensor:
        self.graph._mutable()
        self.__dict__.update(values)
        return self

    def set_output(self, value: bool) -> Tensor:
        return self._set(virtual=not value)

    def set_data_type(self, dtype: Any) -> Tensor:
        return self._set(data_type=dtype)

    def set_dim(self, dim: list[int]) -> Tensor:
        return self._set(dim=list(dim))

    def set_stride(self, stride: list[int]) -> Tensor:
        return self._set(stride=list(stride))

    def set_uid(self, uid: int) -> Tensor:
        if any(t.uid == uid for t in self.graph.tensors if t is not self):
            raise ValueError(f"uid {uid} is already user-assigned")
        return self._set(uid=uid)

    @property
    def told(self) -> tuple[Any, ...]:
        return (tuple(self.dim), tuple(self.stride), self.data_type.name)


class pygraph:
    """A graph of one operation."""

    def __init__(self, name: str = "", io_data_type: Any = None, intermediate_data_type: Any = None,
                 compute_data_type: Any = None, handle: int | None = None) -> None:  # fmt: skip
        self._types = (io_data_type, intermediate_data_type, compute_data_type)
        self._handle = handle
        self.tensors: list[Tensor] = []
        self.node: dict[str, Any] | None = None
        self._step = 0
        self._barred: set[Any] = set()
        self._built: list[int] = []
        self._told: Any = None

    # -- building ----------------------------------------------------------------------------

    def _mutable(self) -> None:
        if self._step:
            raise RuntimeError("the graph is frozen after lowering/planning")

    def _then(self, step: int, what: str) -> None:
        _quiet(what)
        if self._step != step - 1:
            raise RuntimeError(f"{what} after step {self._step}")
        self._step = step

    def tensor(self, dim: list[int], stride: list[int] | None = None, data_type: Any = None,
               uid: int = -1) -> Tensor:  # fmt: skip
        made = self._made(virtual=False)
        made._set(dim=list(dim), stride=list(stride or []), data_type=data_type)
        return made.set_uid(uid)

    def _made(self, virtual: bool = True) -> Tensor:
        self._mutable()
        self.tensors.append(Tensor(self, virtual))
        return self.tensors[-1]

    def _operation(self, kind: str, ports: dict[str, Tensor | None], outs: tuple[str, ...],
                   settings: dict[str, Any]) -> list[Tensor]:  # fmt: skip
        assert self.node is None, "one operation a graph here"
        made = [self._made() for _ in outs]
        given = {k: t for k, t in ports.items() if t is not None}
        self.node = {"kind": kind, "ports": given | dict(zip(outs, made, strict=True)),
                     "outs": outs, "settings": settings}  # fmt: skip
        return made

    def _convolution(self, kind: str, ports: dict[str, Tensor], out: str, pre_padding: list[int],
                     post_padding: list[int], stride: list[int],
                     dilation: list[int]) -> Tensor:  # fmt: skip
        settings = {"pre_padding": pre_padding, "post_padding": post_padding, "stride": stride,
                    "dilation": dilation}  # fmt: skip
        return self._operation(kind, ports, (out,), settings)[0]

    def conv_fprop(self, image: Tensor, weight: Tensor, **settings: Any) -> Tensor:
        return self._convolution("fprop", {"X": image, "W": weight}, "Y", **settings)

    def conv_dgrad(self, loss: Tensor, filter: Tensor, **settings: Any) -> Tensor:
        return self._convolution("dgrad", {"Y": loss, "W": filter}, "X", **settings)

    def conv_wgrad(self, image: Tensor, loss: Tensor, **settings: Any) -> Tensor:
        return self._convolution("wgrad", {"X": image, "Y": loss}, "W", **settings)

    def sdpa(self, q: Tensor, k: Tensor, v: Tensor, *, attn_scale: float, generate_stats: bool,
             bias: Tensor | None = None, diagonal_alignment: Any = diagonal_alignment.TOP_LEFT,
             diagonal_band_right_bound: int | None = None) -> list[Tensor]:  # fmt: skip
        assert generate_stats
        assert diagonal_alignment.name == "TOP_LEFT"
        settings = {"scale": attn_scale, "right": diagonal_band_right_bound}
        ports = {"q": q, "k": k, "v": v, "bias": bias}
        return self._operation("sdpa", ports, ("O", "Stats"), settings)

    def sdpa_backward(self, q: Tensor, k: Tensor, v: Tensor, o: Tensor, dO: Tensor,
                      stats: Tensor, *, attn_scale: float, bias: Tensor | None = None,
                      diagonal_alignment: Any = diagonal_alignment.TOP_LEFT,
                      diagonal_band_right_bound: int | None = None,
                      use_deterministic_algorithm: bool = False) -> list[Tensor]:  # fmt: skip
        settings = {"scale": attn_scale, "right": diagonal_band_right_bound,
                    "deterministic": use_deterministic_algorithm}  # fmt: skip
        ports = {"q": q, "k": k, "v": v, "O": o, "dO": dO, "Stats": stats, "bias": bias}
        return self._operation("sdpa_backward", ports, ("dQ", "dK", "dV"), settings)

    def validate(self) -> None:
        assert self.node is not None, "an empty graph"
        for t in self.tensors:
            if not t.dim or len(t.dim) != len(t.stride):
                raise ValueError(f"dims {t.dim} and strides {t.stride} of a tensor")
            assert not t.virtual, "a result was not made an output"
            assert t.uid is not None, "a tensor has no uid"
            assert t.data_type in _TYPES, f"a tensor is of {t.data_type}"
            if any(n > 1 and s < 1 for n, s in zip(t.dim, t.stride, strict=True)):
                raise cudnnGraphNotSupportedError(f"strides {t.stride} for {t.dim}")
        assert None not in self._types, "the graph's data types are not set"
        checks = {"fprop": _check_conv, "dgrad": _check_conv, "wgrad": _check_conv}
        checks.get(self.node["kind"], _check_attention)(self.node)
        self._then(1, "validate")

    def build_operation_graph(self) -> None:
        self._then(2, "build_operation_graph")

    def create_execution_plans(self, heuristics: list[Any]) -> None:
        assert heuristics
        assert all(isinstance(h, heur_mode) for h in heuristics)
        assert self._handle is not None
        assert _handles[self._handle][0] == DEVICES.current
        self._then(3, "create_execution_plans")
        assert self.node is not None
        if any(no(self.node) for no in declines):
            raise cudnnGraphNotSupportedError("No valid engine configs")
        planned.append(self)

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        self._barred |= set(notes)

    def check_support(self) -> None:
        self._then(4, "check_support")

    def get_execution_plan_count(self) -> int:
        return len(_PLANS)

    def build_plans(self) -> None:
        for index in range(len(_PLANS)):
            try:
                return self.build_plan_at_index(index)
            except cudnnGraphNotSupportedError:
                continue
        raise cudnnGraphNotSupportedError("no plan in the list could be built")

    def build_plan_at_index(self, index: int) -> None:
        _quiet("a plan was built")
        if self._step < 4:
            raise RuntimeError("build_plan_at_index before check_support")
        if _PLANS[index][1] & self._barred:
            raise cudnnGraphNotSupportedError("Deselecting execution plan")
        assert self.node is not None
        ports = {k: (t.uid, *t.told) for k, t in self.node["ports"].items()}
        self._told = (self.node["kind"], ports, self.node["settings"], index, DEVICES.current)
        self._built.append(index)

    # -- a plan ------------------------------------------------------------------------------

    def _plan(self) -> Any:
        if self._told is None:
            raise RuntimeError("Call build() first")
        return self._told

    def get_workspace_size(self) -> int:
        return int(_PLANS[self._plan()[3]][2])

    def serialize(self) -> list[int]:
        return list(pickle.dumps((_FORMAT, self._plan())))

    def deserialize(self, handle: int, data: list[int]) -> None:
        _quiet("a graph was read")
        try:
            version, told = pickle.loads(bytes(data))
        except Exception as error:
            _handles[handle][1] = -7  # the library leaves its own stream in a handle then
            raise RuntimeError(f"parse error: {error}") from None
        if version != _FORMAT or told[4] != DEVICES.current or handle not in _handles:
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM")
        self._told = told
        restored.append(self)

    def execute(self, pack: dict[int, int], workspace: int, handle: int | None = None) -> None:
        kind, ports, settings, index, device = self._plan()
        name, notes, room = _PLANS[index]
        assert handle is not None
        assert _handles[handle] == [DEVICES.current, get_current_stream().ptr]
        assert device == DEVICES.current
        assert set(pack) == {p[0] for p in ports.values()}, "the variant pack is not complete"
        assert all(type(a) is int and a and a % 16 == 0 for a in pack.values()), pack
        if room:
            _memory(workspace, room)[:] = 255
        if _N.NONDETERMINISTIC in notes or _N.REDUCED_PRECISION_REDUCTION in notes:
            raise RuntimeError(f"the plan {name!r} ran")
        arrays = {k: _array(pack[uid], *told) for k, (uid, *told) in ports.items()}
        if name == "rounding" and kind in _COMPUTED:
            arrays = {k: a if k == _COMPUTED[kind] else _to_tf32(a) for k, a in arrays.items()}
        _compute(kind, arrays, settings)
        runs.append((kind, name, dict(pack), workspace, get_current_stream().ptr))
        time.sleep(delays.get(name, 0))


def _check_conv(node: dict[str, Any]) -> None:
    x, w, y = (node["ports"][k] for k in "XWY")
    dims = len(x.dim) - 2
    if dims not in (2, 3) or any(len(s) != dims for s in node["settings"].values()):
        raise RuntimeError("CUDNN_STATUS_BAD_PARAM: spatial dimensions")
    if min(map(min, node["settings"].values())) < 0:
        raise RuntimeError("CUDNN_STATUS_BAD_PARAM: negative padding")
    groups, rest = divmod(x.dim[1], w.dim[1])
    wanted = [x.dim[0], w.dim[0], *out_sizes(node["settings"], x.dim[2:], w.dim[2:])]
    if rest or w.dim[0] % groups or y.dim != wanted:
        raise RuntimeError(f"CUDNN_STATUS_BAD_PARAM: {x.dim} and {w.dim} give {wanted}: {y.dim}")


def _check_attention(node: dict[str, Any]) -> None:
    ports = node["ports"]
    q, k, v, o, stats = (ports[n] for n in ("q", "k", "v", "O", "Stats"))
    if any(t.stride[-1] != 1 for n, t in ports.items() if n != "Stats"):
        raise cudnnGraphNotSupportedError("The stride for the last dimension should be 1")
    (b, h, rows, d), (heads, columns) = q.dim, k.dim[1:3]
    if h % heads or any(n % 8 or n > 256 for n in (d, v.dim[3])):
        raise cudnnGraphNotSupportedError("hidden_dim should be multiple of 8")
    if any(t.data_type not in (data_type.HALF, data_type.BFLOAT16) for t in (q, k, v, o)):
        raise cudnnGraphNotSupportedError("Unsupported mma core mode")
    fits = (k.dim == [b, heads, columns, d], v.dim[:3] == k.dim[:3],
            o.dim == [b, h, rows, v.dim[3]], stats.dim == [b, h, rows, 1],
            stats.data_type is data_type.FLOAT)  # fmt: skip
    if not all(fits):
        raise RuntimeError(f"CUDNN_STATUS_BAD_PARAM: {fits}")
    if "bias" in ports:
        bias = ports["bias"].dim
        if bias[0] not in (1, b) or bias[1] not in (1, h) or bias[2:] != [rows, columns]:
            raise RuntimeError(f"CUDNN_STATUS_BAD_PARAM: bias {bias}")
    if node["kind"] == "sdpa_backward":
        assert node["settings"]["deterministic"], "gradients of attention by atomics"
        if rows == columns == 1:
            raise cudnnGraphNotSupportedError("s_q = s_kv = 1 is not supported.")
        made = [ports[n].dim for n in ("dO", "dQ", "dK", "dV")]
        if made != [o.dim, q.dim, k.dim, v.dim]:
            raise RuntimeError(f"CUDNN_STATUS_BAD_PARAM: {made}")


def _memory(at: int, size: int) -> Any:
    """So many bytes of the current device."""
    for start, block in blocks.items():
        if start <= at and at + size <= start + block.size:
            assert block.device_id == DEVICES.current, "memory of another device"
            return np.frombuffer((ctypes.c_char * size).from_address(at), np.uint8)
    raise AssertionError(f"{size} bytes at {at:#x} are not memory of the device")


def _array(at: int, dim: Any, stride: Any, dtype: str) -> Any:
    kind = _TYPES[data_type[dtype]]
    span = 1 + sum((n - 1) * s for n, s in zip(dim, stride, strict=True))
    raw = _memory(at, span * kind.itemsize).view(kind)
    return np.lib.stride_tricks.as_strided(raw, dim, [s * kind.itemsize for s in stride])


def _to_tf32(x: Any) -> Any:
    """An operand with 10 bits of mantissa, if it is of float32."""
    if x.dtype != np.float32:
        return x
    return ((x.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def _compute(kind: str, a: dict[str, Any], settings: dict[str, Any]) -> None:
    with np.errstate(all="ignore"):
        if kind in _COMPUTED:
            convolved(kind, a["X"], a["W"], a["Y"], settings)
            return
        scale, right, bias = settings["scale"], settings["right"], a.get("bias")
        if kind == "sdpa":
            attended(a["q"], a["k"], a["v"], bias, scale, right, a["O"], a["Stats"])
        else:
            made = (a["dQ"], a["dK"], a["dV"])
            attended_back(a["q"], a["k"], a["v"], a["O"], a["dO"], a["Stats"], bias, scale, right,
                          made)  # fmt: skip


def install() -> None:
    """Put the module in place of the library for the rest of this process."""
    sys.modules["cudnn"] = module()


def module() -> types.ModuleType:
    """The module that programs import as ``cudnn``."""
    made = types.ModuleType("cudnn", __doc__)
    made.__dict__.update(
        __version__="1.27.0", data_type=data_type, numerical_note=numerical_note, pygraph=pygraph,
        heur_mode=heur_mode, diagonal_alignment=diagonal_alignment, create_handle=create_handle,
        set_stream=set_stream, get_stream=get_stream, backend_version=backend_version,
        cudnnGraphNotSupportedError=cudnnGraphNotSupportedError,
    )  # fmt: skip
    return made
