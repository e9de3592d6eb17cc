"""``explain``: the call, its backward, and what must be read and written for them."""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import gpugrad.backends.nvidia.launch as loading
from gpugrad import backends
from gpugrad.autograd import grad
from gpugrad.autograd.function import FunctionNode
from gpugrad.backends.nvidia.compile import compiled_all
from gpugrad.devices import Device
from gpugrad.errors import ArgumentError
from gpugrad.explanation.report import Explanation, Kernel, Other
from gpugrad.explanation.timing import copy_bandwidth
from gpugrad.explanation.traffic import Traffic, distinct, root_of
from gpugrad.explanation.watching import Watch, arrays_of, watching
from gpugrad.func.tree import flatten
from gpugrad.functional_namespace import F
from gpugrad.modes import no_grad
from gpugrad.nn import Module
from gpugrad.op import registry
from gpugrad.optim import Optimizer
from gpugrad.tape import Leaf
from gpugrad.tensor import Tensor

#: What kernels are compiled for where there is no device.
ARCH = "sm_90"


def explain(fn: Any, *args: Any, backward: bool | None = None, arch: str | None = None,
            **kwargs: Any) -> Explanation:  # fmt: skip
    """Say for each kernel that a call runs on a CUDA device what it is and what it costs.

    With tensors on the CPU the call is computed there, by array code, while the choice of kernels,
    their grids and texts are those of a device; NVRTC compiles them, for which no GPU is needed.
    With tensors on a CUDA device each kernel runs and is timed.

    The whole process should do nothing else meanwhile: other threads' work would be noted, too.

    Args:
        fn: a function of tensors, a module, a fused function; or an optimiser, of which a copy
            makes a step, with gradients of zero where none has been computed.
        args, kwargs: what to call it with.
        backward: whether to run the gradients of the results, too; by default if one requires it
            and the call has not done so itself.  It changes no tensor's ``.grad``.
        arch: what to compile for, ``"sm_90"`` and its like; the device's own, or ``sm_90``.

    Raises:
        ArgumentError: for ``backward=True`` where no result requires a gradient.
        DeviceError: if cuda-core or NVRTC is missing; it says what mends that.
    """
    call, given = _given(fn, args, kwargs)
    device = _device(given)
    backend = None if device is None else backends.for_device(device)
    if isinstance(fn, Optimizer):
        with watching(Watch(backend, scratch=True)):
            call(*args, **kwargs)  # the first step makes what later ones remember
    watch = Watch(backend, scratch=isinstance(fn, Optimizer))
    with watching(watch):
        result = call(*args, **kwargs)
    outs = [v for v in flatten(result)[0] if isinstance(v, Tensor)]
    minimum = {"forward": _least(watch, given, outs)}
    smooth = [t for t in outs if t.requires_grad]
    if backward and not smooth:
        raise ArgumentError(
            f"explain: backward=True, but no result of {_name(fn)} requires a gradient; accepted: "
            "an argument or a parameter that does, in a differentiable function"
        )
    nodes = _graph(smooth)
    if smooth and (backward or (backward is None and not any(map(_spent, nodes)))):
        minimum["backward"] = _differentiate(watch, smooth, nodes)
    watch.forget()
    speed = None
    if backend is not None and device is not None:
        with backend.on(device):
            speed = copy_bandwidth(backend.library)
            arch = arch or loading.arch(backends.cuda().current())
    arch = arch or ARCH
    return Explanation(_name(fn), arch, tuple(_compiled(watch.steps, arch)), minimum, speed)


def _given(fn: Any, args: Any, kwargs: Any) -> tuple[Callable[..., Any], list[Tensor]]:
    """What to call, and the tensors that it is given: those of its module or optimiser, too."""
    given = [v for v in flatten((args, kwargs))[0] if isinstance(v, Tensor)]
    owner = getattr(fn, "__self__", fn)
    if isinstance(owner, Module):
        given += [*owner.parameters(), *owner.buffers()]
    if not isinstance(owner, Optimizer):
        return fn, given
    if owner is not fn:
        return fn, given + [p for group in owner.param_groups for p in group["params"]]
    twin = copy.deepcopy(owner)
    params = [p for group in twin.param_groups for p in group["params"]]
    if all(p.grad is None for p in params):
        for p in params:
            p.grad = F.zeros_like(p.detach())
    return twin.step, params


def _device(given: list[Tensor]) -> Device | None:
    """The CUDA device to watch: that of the arguments; without any, the current one if in use."""
    if given or not backends.cuda_loaded():
        return next((t.device for t in given if t.is_cuda), None)
    return Device("cuda", backends.cuda().current())


def _least(watch: Watch, given: list[Tensor], outs: list[Tensor]) -> int:
    """The bytes of what a call was given or read, and of results that are not among it."""
    address = watch.address
    read = [*arrays_of(given, watch.array_type), *watch.outside.values()]
    known = {address(root_of(a)) for a in read}
    results = [a for a in arrays_of(outs, watch.array_type) if address(root_of(a)) not in known]
    return distinct([*read, *results], address)


def _name(fn: Any) -> str:
    if isinstance(fn, Optimizer):
        return f"a step of {type(fn).__name__}"
    record = next((r for r in registry if r.public is fn), None)
    return record.name if record else getattr(fn, "__name__", None) or type(fn).__name__


def _differentiate(watch: Watch, outs: list[Tensor], nodes: list[Any]) -> int:
    """Run the gradients; the bytes of those that come and go and of what the rules read."""
    leaves = [t for n in nodes if isinstance(n, Leaf) and (t := n.variable) is not None]
    saved = [a for n in nodes for a in _saved(n, watch.array_type)]
    with no_grad():
        gs = [F.ones_like(t) for t in outs]
    watch.phase = "backward"
    with watching(watch):
        found = grad(outs, leaves, gs, allow_unused=True)
    added = _added(nodes)
    if added:
        watch.steps.append(Other("gradients added up", "backward", "array code (add)", added))
    return distinct([*arrays_of([*gs, *found], watch.array_type), *saved], watch.address)


def _graph(outs: Iterable[Tensor]) -> list[Any]:
    """The nodes that the gradients of some tensors go through."""
    found: dict[int, Any] = {}
    stack: list[Any] = [t._node for t in outs]
    while stack:
        node = stack.pop()
        if node is not None and id(node) not in found:
            found[id(node)] = node
            stack.extend(node.edges)
    return list(found.values())


def _added(nodes: list[Any]) -> Traffic | None:
    """The traffic of adding up gradients where a result was used several times."""
    uses: Counter[tuple[Any, int]] = Counter()
    for n in nodes:
        uses.update((e, s) for e, s in zip(n.edges, n.slots or itertools.repeat(0)) if e)
    size = 0
    for (node, slot), count in uses.items():
        shape, dtype = (node.shape, node.dtype) if node.outs is None else node.outs[slot]
        if dtype is not None:
            size += 3 * (count - 1) * math.prod(shape) * dtype.itemsize  # two read, one written
    return Traffic(size, size) if size else None


def _spent(node: Any) -> bool:
    """Whether the call ran the gradients itself, so that nothing is kept for them any more."""
    if isinstance(node, FunctionNode):
        return node._values is None
    return not isinstance(node, Leaf) and bool(node.plan.kept) and node.saved is None


def _saved(node: Any, kind: type) -> list[Any]:
    """The arrays that a node keeps for its rule."""
    kept = node.unpack() if isinstance(node, FunctionNode) else getattr(node, "saved", None) or ()
    return [*arrays_of(kept, kind), *(a for a in kept if type(a) is kind)]


def _compiled(steps: list[Kernel | Other], arch: str) -> Iterable[Kernel | Other]:
    """The steps, with what the compiler says of each kernel."""
    texts = list(dict.fromkeys(s.helpers + s.source for s in steps if isinstance(s, Kernel)))
    built = dict(zip(texts, compiled_all(texts, arch), strict=True))
    for s in steps:
        if isinstance(s, Kernel):
            s = replace(s, usage=built[s.helpers + s.source].usage.get(s.symbol))
        yield s
