"""``custom_op``: an op of Python functions, one per kind of device, with a gradient of its own.

A call checks its arguments against the type hints, picks the function of the device (on ``meta``
tensors the one that only knows shapes), runs it with recording off, and puts one node on the tape:
recorders, profilers and hooks see one op of that name.  ``Function`` does the tape's part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from gpugrad import backends
from gpugrad.amp import is_autocast_enabled
from gpugrad.autograd.function import Function, FunctionNode
from gpugrad.autograd.gradcheck import gradcheck
from gpugrad.dtypes import DType
from gpugrad.errors import (
    ArgumentError,
    GpugradError,
    NotSupportedError,
    RegistrationError,
    SettingError,
)
from gpugrad.library import names
from gpugrad.library.memory import Writes, check_writes
from gpugrad.library.on_tape import CustomFunction
from gpugrad.library.schema import Schema, schema_of
from gpugrad.library.values import (
    Call,
    cast_floats,
    filled,
    lead,
    listed,
    tensors_in,
    without_history,
)
from gpugrad.modes import _Switch, casting, modes
from gpugrad.tensor import Tensor

DEVICES = ("cpu", "cuda")


def custom_op(name: str, fn: Callable[..., Any] | None = None, /, *,
              mutates_args: str | Iterable[str], device_types: str | Sequence[str] | None = None,
              schema: str | None = None, tags: Any = None) -> Any:  # fmt: skip
    """Make an op of a function (a decorator), as ``torch.library.custom_op``.

    The function takes and returns tensors; it may compute with whatever it likes: NumPy, a kernel
    launch, another library.  It has type hints, sees tensors without recording, returns memory of
    its own (never an argument or a view of one), and writes into no argument that ``mutates_args``
    does not name.

    Args:
        name: ``"library::op"``; it is the op's name on the tape, in ``gpugrad.ops`` and in pickles.
        fn: the function.
        mutates_args: names of the arguments that it writes into, or ``"unknown"`` for all tensors.
        device_types: the devices it is for, ``"cpu"``, ``"cuda"`` or both; None for all that get no
            other by ``register_kernel``.
        schema, tags: not supported: the type hints say it.

    Returns:
        A ``CustomOpDef``, which is called like the function.

    Raises:
        RegistrationError: for a name that is taken, or type hints that are missing or not
            supported.
    """
    if schema is not None or tags is not None:
        raise NotSupportedError("custom_op: schema= and tags= are not supported; use type hints")

    def make(fn: Callable[..., Any]) -> CustomOpDef:
        names.check_free(name)
        op = CustomOpDef(name, fn, schema_of(name, fn, mutates_args))
        op.register_kernel(device_types, fn)
        names.add(op)
        return op

    return make if fn is None else make(fn)


class CustomOpDef:
    """A custom op.  Made by ``custom_op``; call it, or register more for it.

    Attributes:
        name: ``"library::op"``.
        schema: what it takes and returns.
    """

    # What recorders and messages ask of a record.
    outputs = ()
    half = "native"
    view = elementwise = False

    def __init__(self, name: str, fn: Callable[..., Any], schema: Schema) -> None:
        self.name, self.schema, self.module = name, schema, fn.__module__
        self.doc = self.__doc__ = fn.__doc__ or ""
        self._kernels: dict[str | None, Callable[..., Any]] = {}
        self._fake: Callable[..., Any] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., Any] | None = None
        self._autocast: dict[str, DType] = {}
        self._function: type[Function] = type(name, (CustomFunction,), {"op": self})

    def __repr__(self) -> str:
        return f"<custom op {self.schema}>"

    def __reduce__(self) -> Any:
        return (names.lookup, (self.name,))

    # ---- registration --------------------------------------------------------------------------

    def register_kernel(self, device_types: str | Sequence[str] | None,
                        fn: Callable[..., Any] | None = None, /) -> Any:  # fmt: skip
        """Give the op a function for a device (a decorator): ``"cpu"``, ``"cuda"``, or both.

        Raises:
            SettingError: for another device.
            RegistrationError: if the function does not take the op's arguments.
        """
        kinds = [device_types] if device_types is None or isinstance(device_types, str) else [
            *device_types
        ]  # fmt: skip
        for kind in kinds:
            if kind not in (None, *DEVICES):
                hint = "; for shapes alone there is register_fake" if kind == "meta" else ""
                raise SettingError(
                    f"{self.name}: device types are {', '.join(DEVICES)}, got {kind!r}{hint}"
                )

        def register(fn: Callable[..., Any]) -> Callable[..., Any]:
            self._check_takes(fn, "kernel")
            self._kernels.update(dict.fromkeys(kinds, fn))
            return fn

        return register if fn is None else register(fn)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Give the op its result rule (a decorator): run on ``meta`` tensors, it returns such.

        Raises:
            RegistrationError: if the function does not take the op's arguments.
        """
        self._check_takes(fn, "fake")
        self._fake = fn
        return fn

    def register_autograd(self, backward: Callable[..., Any], /, *,
                          setup_context: Callable[..., Any] | None = None,
                          check: Any = None) -> None:  # fmt: skip
        """Give the op its gradient.

        Args:
            backward: ``backward(ctx, *grads)`` returns a gradient, or None, per positional
                argument.  Made of ops, it can be differentiated again; where it is not, mark it
                with ``autograd.function.once_differentiable``.
            setup_context: ``setup_context(ctx, inputs, output)`` keeps what backward needs, by
                ``ctx.save_for_backward`` or as attributes; with keyword-only arguments
                ``setup_context(ctx, inputs, keyword_only_inputs, output)``.
            check: sample arguments, a tuple (or a dict by name) or a list of such: the gradient is
                compared with finite differences there.  Floating tensors must be float64; if some
                require a gradient only those are checked, else all.

        Raises:
            RegistrationError: if the op writes into arguments, or the gradient is not that of the
                differences; the message has both numbers, and the op stays as it was.
        """
        if self.schema.mutated:
            raise RegistrationError(
                f"{self.name} writes into {sorted(self.schema.mutated)}: such an op has no "
                "gradient; make one that returns its result, and give that a gradient"
            )
        before = self._backward, self._setup
        self._backward, self._setup = backward, setup_context
        try:
            self.check_gradient(check)
        except BaseException:
            self._backward, self._setup = before
            raise

    def register_autocast(self, device_type: str, cast_inputs: DType) -> None:
        """Let autocast of a device cast floating arguments (not float64) to a dtype.

        The op then runs with autocast off.  Without this, autocast leaves its arguments alone.

        Raises:
            SettingError: for a device or dtype that autocast does not have.
        """
        if device_type not in DEVICES:
            raise SettingError(
                f"{self.name}: autocast is for {', '.join(DEVICES)}, got {device_type!r}"
            )
        if not getattr(cast_inputs, "is_floating_point", False):
            raise SettingError(f"{self.name}: cast_inputs must be a float dtype, got {cast_inputs}")
        self._autocast[device_type] = cast_inputs

    def check_gradient(self, check: Any) -> None:
        """Compare the gradient with finite differences (see ``register_autograd``)."""
        if check is None:
            return
        for i, sample in enumerate([check] if isinstance(check, tuple | dict) else check):
            by_name = isinstance(sample, dict)
            values, named = self.schema.bind(() if by_name else sample, sample if by_name else {})
            tensors = list(tensors_in(values))
            chosen = any(t.requires_grad for t in tensors)
            inputs = [
                t.detach().clone().requires_grad_(
                    t.requires_grad if chosen else t.dtype.is_floating_point)
                for t in tensors
            ]  # fmt: skip

            def run(*given: Tensor, values: Any = values, named: Any = named) -> Any:
                return self(*filled(values, iter(given)), **named)

            try:
                if not any(t.requires_grad for t in tensors_in(listed(run(*inputs)))):
                    raise ArgumentError("no result carries a gradient")
                gradcheck(run, tuple(inputs))
            except (GpugradError, AssertionError) as error:
                raise RegistrationError(
                    f"{self.name}: its gradient is refused, checked with sample {i}: {error}"
                ) from error

    def _check_takes(self, fn: Callable[..., Any], what: str) -> None:
        try:
            signature = inspect.signature(fn)
        except ValueError:  # of a builtin
            return
        positional = [p.name for p in self.schema.parameters if not p.keyword_only]
        named = {p.name: None for p in self.schema.parameters if p.keyword_only}
        try:
            signature.bind(*positional, **named)
        except TypeError as error:
            raise RegistrationError(
                f"{self.name}: the {what} function {fn.__qualname__}{signature} does not take the "
                f"arguments of {self.schema}: {error}"
            ) from None

    # ---- calls ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values, named = self.schema.bind(args, kwargs)
        device = self._device(values, named)
        dtype = self._autocast.get(device)
        if dtype is not None and is_autocast_enabled(device):
            with casting():
                return self._call(Call(cast_floats(values, device, dtype), named, device))
        return self._call(Call(values, named, device))

    def _device(self, values: Sequence[Any], named: dict[str, Any]) -> str:
        """The kind of device of a call: that of its tensors, else of its device argument."""
        kinds = {t.device.type for t in tensors_in(values)}
        if not kinds:
            both = zip(self.schema.parameters, (*values, *named.values()), strict=True)
            kinds = {v.type for p, v in both if p.kind == "device" and v is not None}
        return next((k for k in ("meta", "cuda") if k in kinds), "cpu")

    def _call(self, call: Call) -> Any:
        if self.schema.mutated:
            check_writes(self.schema, call)
        if modes.clock is not None:
            modes.clock()
        self._apply(call)
        outs = tuple(tensors_in(listed(call.result)))
        node = next((t._node for t in outs if t._node is not None), None)
        if isinstance(node, FunctionNode):
            node.op = self
        for recorder in modes.recorders:
            recorder.record(self, tuple(call.values), call.named, outs)
        return call.result

    def _apply(self, call: Call) -> None:
        self._function.apply(call, *call.tensors)

    def compute(self, call: Call) -> None:
        """Run the function of the call's device; the result is left in ``call.result``.

        Raises:
            NotSupportedError: if there is none for the device.
            AutogradError: if it returned an argument's memory, or wrote into one undeclared.
        """
        fn = self._for(call.device)
        writes = Writes(self.schema, call)
        place = backends.cuda().on(lead(call)) if call.device == "cuda" else nullcontext()
        values = filled(call.values, map(without_history, call.tensors))
        with _Switch(grad=False, recorders=(), clock=None), place:
            result = fn(*values, **call.named)
        found = self.schema.check_result(result)
        call.result = found[0] if self.schema.one else found or None
        writes.settle()

    def _for(self, device: str) -> Callable[..., Any]:
        if device == "meta":
            if self._fake is None and self.schema.mutated and not self.schema.returns:
                return lambda *args, **kwargs: None
            found = self._fake
        else:
            found = self._kernels.get(device, self._kernels.get(None))
        if found is not None:
            return found
        if device == "meta":
            raise NotSupportedError(
                f"{self.name}: it does not know what comes out of meta tensors; say it with "
                "register_fake"
            )
        raise NotSupportedError(
            f"{self.name}: there is no kernel for tensors on {device} (there is one for "
            f'{", ".join(map(str, self._kernels))}); register one: @op.register_kernel("{device}")'
        )
