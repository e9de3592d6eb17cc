"""Convolutions and their gradients through cuDNN, channels last inside.

An array that lies channels last already (``memory_format=channels_last``) goes in as it is, any
other by one copy; strides in the descriptor say so to cuDNN.  A result lies as PyTorch's: channels
last if an operand does.  One spatial dimension is two, the first of size 1.

Sums are in float32 for float16 and bfloat16; float32 operands are rounded to TF32 where
``backends.cudnn.allow_tf32`` permits it (it does by default, as in PyTorch).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.backends import cudnn as switches
from gpugrad.backends.additions.convolution import Pairs, Sizes, lies_last, out_sizes
from gpugrad.backends.nvidia.cudnn_plans import ALIGNMENT, DTYPES, plans_of

_HALVES = frozenset(d.np for d in dtypes.HALVES)
IMAGES, WEIGHT, RESULT = 1, 2, 3
#: Of each operation, the uids of the two operands and of what is computed.
OPERANDS = {"fprop": (IMAGES, WEIGHT, RESULT), "dgrad": (RESULT, WEIGHT, IMAGES),
            "wgrad": (IMAGES, RESULT, WEIGHT)}  # fmt: skip


@dataclass(frozen=True)
class Convolution:
    """One convolution (``"fprop"``) or gradient of one, in its input or its weight.

    ``images``, ``weight`` and ``result`` are the shapes of the input ``(n, c, *size)``, of
    ``(o, c / groups, *kernel)`` and of the result ``(n, o, *out)``, whichever of them is computed.
    """

    kind: str
    dtype: str
    images: Sizes
    weight: Sizes
    result: Sizes
    stride: Sizes
    padding: Pairs
    dilation: Sizes
    exact: bool

    def draw(self, cudnn: Any, graph: Any) -> None:
        """Put the operation into a graph."""
        dtype = getattr(cudnn.data_type, DTYPES[self.dtype])
        shapes = {IMAGES: self.images, WEIGHT: self.weight, RESULT: self.result}
        *given, target = OPERANDS[self.kind]
        operands = [
            graph.tensor(dim=list(shapes[uid]), stride=_strides(shapes[uid]), data_type=dtype,
                         uid=uid)
            for uid in given
        ]  # fmt: skip
        before, after = ([p[i] for p in self.padding] for i in (0, 1))
        made = getattr(graph, f"conv_{self.kind}")(
            *operands, pre_padding=before, post_padding=after, stride=list(self.stride),
            dilation=list(self.dilation),
        )  # fmt: skip
        made.set_output(True).set_uid(target).set_data_type(dtype)
        made.set_dim(list(shapes[target])).set_stride(_strides(shapes[target]))


def _strides(shape: Sizes) -> list[int]:
    """Elements from one to the next in each dimension of ``(n, c, *size)``, channels last."""
    _, c, *size = shape
    steps = [c]
    for s in reversed(size):
        steps.append(steps[-1] * s)
    return [steps[-1], 1, *reversed(steps[:-1])]


def _in_float32(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays of one dtype that computes 16-bit floats in float32 and rounds once."""

    @functools.wraps(fn)
    def run(*args: Any) -> Any:
        dtype = args[0].dtype
        if dtype not in _HALVES:
            return fn(*args)
        wide = (a.astype(np.float32) if getattr(a, "dtype", None) == dtype else a for a in args)
        return fn(*wide).astype(dtype)

    return run


def over(cupy: Any, own: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Convolutions of CuPy arrays: cuDNN's where it offers one, our own elsewhere.

    Args:
        cupy: the module ``cupy``.
        own: what to do elsewhere, by the same names and parameters.
    """
    plans = plans_of(cupy)
    own = {name: _in_float32(fn) for name, fn in own.items()}

    def last(x: Any) -> Any:
        """An array as ``(n, *size, c)`` in order in memory, where cuDNN's kernels can read it."""
        moved = x.transpose(0, *range(2, x.ndim), 1)
        if not moved.flags.c_contiguous:
            return cupy.ascontiguousarray(moved)
        return moved if moved.data.ptr % ALIGNMENT == 0 else moved.copy()

    def laid(y: Any, keep: bool) -> Any:
        """``(n, *size, c)`` as ``(n, c, *size)``, left channels last in memory or put in order."""
        y = y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))
        return y if keep else cupy.ascontiguousarray(y)

    def computed(kind: str, first: Any, second: Any, shapes: tuple[Sizes, Sizes, Sizes],
                 stride: Sizes, padding: Pairs, dilation: Sizes) -> Any:  # fmt: skip
        """The result channels last, ``(n, *size, c)``, or None if cuDNN has no plan for it."""
        dtype = str(first.dtype)
        dims = len(stride)
        if dtype not in DTYPES or dims not in (1, 2, 3) or any(0 in s for s in shapes):
            return None
        if any(p < 0 for pair in padding for p in pair):
            return None
        images, weight, result = shapes
        if dims == 1:
            images, weight, result = ((*s[:2], 1, s[2]) for s in shapes)
            stride, padding, dilation = (1, *stride), ((0, 0), *padding), (1, *dilation)
        wanted = Convolution(kind, dtype, images, weight, result, stride, padding, dilation,
                             exact=not switches.allow_tf32)  # fmt: skip
        plan = None if switches.benchmark else plans.find(wanted)
        if plan is None and not switches.benchmark:
            return None  # before anything is copied
        a, b = last(first), last(second)
        uids = OPERANDS[kind]
        n, c, *size = shapes[uids[2] - IMAGES]
        made = cupy.empty((n, *size, c), first.dtype)
        pack = dict(zip(uids, (a.data.ptr, b.data.ptr, made.data.ptr), strict=True))
        plan = plan or plans.find(wanted, pack)
        if plan is None:
            return None
        plans.run(plan, pack)
        return made

    def convolution(x: Any, w: Any, bias: Any, stride: Sizes, padding: Pairs, dilation: Sizes,
                    groups: int) -> Any:  # fmt: skip
        out = out_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
        shapes = (x.shape, w.shape, (x.shape[0], w.shape[0], *out))
        y = computed("fprop", x, w, shapes, stride, padding, dilation)
        if y is None:
            return own["convolution"](x, w, bias, stride, padding, dilation, groups)
        if bias is not None:
            cupy.add(y, bias, y)
        return laid(y, lies_last(x) or lies_last(w))

    def conv_input_grad(g: Any, w: Any, size: Sizes, stride: Sizes, padding: Pairs,
                        dilation: Sizes, groups: int) -> Any:  # fmt: skip
        shapes = ((g.shape[0], groups * w.shape[1], *size), w.shape, g.shape)
        x = computed("dgrad", g, w, shapes, stride, padding, dilation)
        if x is None:
            return own["conv_input_grad"](g, w, size, stride, padding, dilation, groups)
        return laid(x, lies_last(g) or lies_last(w))

    def conv_weight_grad(g: Any, x: Any, kernel: Sizes, stride: Sizes, padding: Pairs,
                         dilation: Sizes, groups: int) -> Any:  # fmt: skip
        shapes = (x.shape, (g.shape[1], x.shape[1] // groups, *kernel), g.shape)
        w = computed("wgrad", x, g, shapes, stride, padding, dilation)
        if w is None:
            return own["conv_weight_grad"](g, x, kernel, stride, padding, dilation, groups)
        return laid(w, False)

    return {"convolution": convolution, "conv_input_grad": conv_input_grad,
            "conv_weight_grad": conv_weight_grad}  # fmt: skip
