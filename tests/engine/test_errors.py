"""Misuse of the engine outside of ops: one clear error each, nothing half-done."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.autograd import Function, backward, functional, grad
from gpugrad.errors import (
    ArgumentError,
    AutogradError,
    DeviceError,
    DTypeError,
    GpugradError,
    NotSupportedError,
    SettingError,
    ShapeError,
    ViewError,
)

Refusal = tuple[Callable[[], Any], type[GpugradError], str]


def leaf(*shape: int) -> gg.Tensor:
    return gg.ones(*(shape or (3,)), requires_grad=True)


def doubled() -> gg.Tensor:
    return leaf() * 2


def custom(forward: Any = None, backward: Any = None) -> Any:
    """A ``Function`` that doubles, unless told otherwise."""

    class Custom(Function):
        pass

    Custom.forward = staticmethod(forward or (lambda ctx, a: a * 2))
    Custom.backward = staticmethod(backward or (lambda ctx, g: g * 2))
    return Custom


def hooked(hook: Any) -> None:
    x = leaf()
    x.register_hook(hook)
    x.sum().backward()


def filled(**kwargs: Any) -> gg.Tensor:
    return gg.ones(3, **kwargs)


def meta(*shape: int, **kwargs: Any) -> gg.Tensor:
    return gg.ones(*shape, device="meta", **kwargs)


def check(refusal: Refusal) -> None:
    call, kind, words = refusal
    with pytest.raises(GpugradError, match=words) as caught:
        call()
    assert type(caught.value) is kind


# ---- backward and grad -----------------------------------------------------------------------

BACKWARD: dict[str, Refusal] = {
    "integer gradient": (
        lambda: doubled().backward(filled(dtype=gg.int64)),
        DTypeError, "backward: the gradient must be floating, got.*int64"),
    "gradient elsewhere": (
        lambda: doubled().backward(meta(3)),
        DeviceError, "backward: a gradient on meta for an output on cpu"),
    "ndarray as gradient": (
        lambda: doubled().backward(np.ones(3, np.float32)),
        ArgumentError, "backward: gradients must be tensors or None, got ndarray"),
    "number as gradient": (
        lambda: doubled().sum().backward(1.0),
        ArgumentError, "backward: gradients must be tensors or None, got float"),
    "too many gradients": (
        lambda: backward([leaf().sum()], [gg.ones(()), gg.ones(())]),
        ArgumentError, "backward: 1 outputs but 2 gradients"),
    "text as output": (
        lambda: backward(["a"]),
        ArgumentError, "backward: outputs must be tensors, got str"),
    "text as inputs": (
        lambda: doubled().sum().backward(inputs="a"),
        ArgumentError, "backward: inputs must be tensors, got str"),
    "no inputs": (
        lambda: doubled().sum().backward(inputs=[]),
        ArgumentError, "backward: inputs is empty"),
    "meta output": (
        lambda: meta(3, requires_grad=True).sum().backward(),
        NotSupportedError, "backward: a tensor on the meta device has no data"),
    "grad of a number": (
        lambda: grad(3.0, leaf()), ArgumentError, "grad: outputs must be tensors, got float"),
    "grad for a text": (
        lambda: grad(leaf().sum(), "a"), ArgumentError, "grad: inputs must be tensors, got str"),
    "grad for a constant": (
        lambda: grad(leaf().sum(), gg.ones(3)),
        AutogradError, "grad: one of the inputs does not require a gradient"),
    "grad of many elements": (
        lambda: grad(doubled(), leaf()), AutogradError, r"grad:.*only for a scalar.*\(3,\)"),
    "grad through an integer": (
        lambda: grad(doubled().argmax(), leaf()),
        AutogradError, "grad: the tensor does not require a gradient: its dtype is.*int64"),
    "grad through a comparison": (
        lambda: (doubled() > 1).backward(gg.ones(3)),
        AutogradError, "does not require a gradient: its dtype is.*bool"),
    "batched": (
        lambda: grad(leaf().sum(), leaf(), is_grads_batched=True),
        AutogradError, "is_grads_batched is not supported; call grad once per row"),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKWARD)
def test_backward_says_what_it_cannot_start(name: str) -> None:
    check(BACKWARD[name])


@pytest.mark.parametrize("start", [filled(dtype=gg.int64), meta(3), gg.ones(2), "a"])
def test_a_refused_backward_leaves_the_graph_usable(start: Any) -> None:
    """Neither are gradients added nor is anything freed."""
    x = leaf()
    y = x.exp()
    with pytest.raises(GpugradError):
        y.backward(start)
    assert x.grad is None
    y.backward(gg.ones(3))
    np.testing.assert_allclose(x.grad.numpy(), np.e, rtol=1e-6)


def test_a_freed_graph_says_so_through_grad_too() -> None:
    x = leaf()
    y = x.exp().sum()
    grad(y, x)
    with pytest.raises(AutogradError, match="retain_graph=True"):
        grad(y, x)


# ---- hooks and .grad -------------------------------------------------------------------------

HOOKS: dict[str, Refusal] = {
    "not callable": (
        lambda: leaf().register_hook(3),
        ArgumentError, "register_hook: hook must be callable, got 3"),
    "not callable, after": (
        lambda: leaf().register_post_accumulate_grad_hook("a"),
        ArgumentError, "register_post_accumulate_grad_hook: hook must be callable, got 'a'"),
    "on a constant": (
        lambda: gg.ones(3).register_hook(print),
        AutogradError, "register_hook: the tensor does not require a gradient"),
    "returns text": (
        lambda: hooked(lambda g: "a"), ArgumentError, "hook on a gradient returned str"),
    "retain_grad of a constant": (
        lambda: gg.ones(3).retain_grad(), AutogradError, "retain_grad: the tensor does not"),
    "grad of another shape": (
        lambda: setattr(leaf(), "grad", gg.ones(2)), ShapeError, r"\[3\].*\[2\]"),
    "grad of another dtype": (
        lambda: setattr(leaf(), "grad", filled(dtype=gg.float64)),
        ShapeError, "float32.*float64"),
    "grad elsewhere": (
        lambda: setattr(leaf(), "grad", meta(3)), ShapeError, "cpu.*meta"),
    "text as grad": (
        lambda: setattr(leaf(), "grad", "a"), ArgumentError, "grad must be a Tensor or None"),
    "text as data": (
        lambda: setattr(leaf(), "data", "a"), ArgumentError, "data must be a Tensor, got str"),
    "text as requires_grad": (
        lambda: setattr(leaf(), "requires_grad", "a"),
        ArgumentError, "requires_grad must be a bool, got 'a'"),
    "an integer leaf": (
        lambda: gg.tensor([1, 2], requires_grad=True), DTypeError, "only floating.*int64"),
    "text as mode": (
        lambda: gg.set_grad_enabled("a"), ArgumentError, "mode must be a bool, got 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_and_gradients_are_checked_where_they_are_given(name: str) -> None:
    check(HOOKS[name])
    assert gg.is_grad_enabled()


def test_an_error_in_a_hook_is_the_users_own() -> None:
    """It passes through as it was raised."""
    with pytest.raises(ZeroDivisionError):
        hooked(lambda g: 1 / 0)


# ---- Function and functional -----------------------------------------------------------------

FUNCTIONS: dict[str, Refusal] = {
    "too many gradients": (
        lambda: custom(backward=lambda ctx, g: (g, g)).apply(leaf()).sum().backward(),
        AutogradError, r"Custom\.backward returned 2 gradients; forward had 1"),
    "gradient of another shape": (
        lambda: custom(backward=lambda ctx, g: gg.ones(2)).apply(leaf()).sum().backward(),
        ShapeError, r"gradient of Custom has shape \(2,\), its input \(3,\)"),
    "text as gradient": (
        lambda: custom(backward=lambda ctx, g: "a").apply(leaf()).sum().backward(),
        AutogradError, r"Custom\.backward returned str for argument 0"),
    "saves a text": (
        lambda: custom(lambda ctx, a: ctx.save_for_backward("a")).apply(leaf()),
        ArgumentError, "save_for_backward takes tensors or None, got str"),
    "no forward": (
        lambda: type("Empty", (Function,), {}).apply(leaf()),
        AutogradError, "needs a static forward"),
    "jacobian of a text": (
        lambda: functional.jacobian(lambda a: "a", leaf()),
        ArgumentError, "jacobian: outputs must be a Tensor"),
    "jacobian at a text": (
        lambda: functional.jacobian(lambda a: a, "a"),
        ArgumentError, "jacobian: inputs must be a Tensor"),
    "vjp of another shape": (
        lambda: functional.vjp(lambda a: a * 2, leaf(), gg.ones(4)),
        ShapeError, r"vjp: v has shape \(4,\), \(3,\) is needed"),
    "hessian of many": (
        lambda: functional.hessian(lambda a: a * 2, leaf()),
        ShapeError, r"hessian: the function must return one element, got \(3,\)"),
    "checkpoint of a number": (
        lambda: gg.utils.checkpoint.checkpoint(3, leaf()),
        ArgumentError, "checkpoint: function must be callable, got int"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_checked(name: str) -> None:
    check(FUNCTIONS[name])


# ---- devices and data ------------------------------------------------------------------------

DEVICES: dict[str, Refusal] = {
    "unknown type": (lambda: filled(device="bogus"), DeviceError, "ones: unknown device.*'bogus'"),
    "no index": (lambda: gg.ones(3).to("cuda:x"), DeviceError, "to: not a device: 'cuda:x'"),
    "a float": (lambda: filled(device=1.5), DeviceError, "ones: not a device: 1.5"),
    "negative": (lambda: gg.device("cuda", -1), DeviceError, "cannot be negative, got -1"),
    "second cpu": (lambda: gg.device("cpu:1"), DeviceError, "cpu has a single device"),
    "item": (lambda: meta().item(), DeviceError, "item: .*meta"),
    "tolist": (lambda: meta(3).tolist(), DeviceError, "tolist: .*meta"),
    "numpy": (lambda: meta(3).numpy(), DeviceError, "numpy: .*meta"),
    "asarray": (lambda: np.asarray(meta(3)), DeviceError, "numpy: .*meta"),
    "truth": (lambda: bool(meta()), DeviceError, "meta device has a shape but no data"),
    "float": (lambda: float(meta()), DeviceError, "meta device has a shape but no data"),
    "to the cpu": (lambda: meta(3).to("cpu"), DeviceError, "meta.*no data to bring to cpu"),
    "pointer": (lambda: meta(3).data_ptr(), DeviceError, "data_ptr: .*meta"),
    "dlpack": (lambda: meta(3).__dlpack__(), DeviceError, "__dlpack__: .*meta"),
    "nonzero": (lambda: meta(3).nonzero(), NotSupportedError, "nonzero: .*unknown without data"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEVICES)
def test_devices_and_what_has_no_data(name: str) -> None:
    check(DEVICES[name])


@pytest.mark.skipif(gg.cuda.is_available(), reason="there is a CUDA device")
def test_a_cuda_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match=r"ones: .*CUDA"):
        filled(device="cuda:99")


VALUES: dict[str, Refusal] = {
    "truth of many": (lambda: bool(gg.ones(3)), ShapeError, r"\(3,\) is ambiguous; use .any"),
    "number of many": (lambda: float(gg.ones(3)), SettingError, r"one element.*\(3,\)"),
    "float as index": (lambda: [1, 2][gg.ones(())], ArgumentError, "only integer tensors"),
    "length of a number": (lambda: len(gg.ones(())), ArgumentError, "0-d"),
    "loop over a number": (lambda: list(gg.ones(())), ArgumentError, "0-d"),
    "text in": (lambda: "a" in gg.ones(3), ArgumentError, "must be a number or a Tensor, got 'a'"),
    "numpy of a result": (lambda: doubled().numpy(), AutogradError, "detach"),
    "ndarray + tensor": (
        lambda: np.ones(3, np.float32) + gg.ones(3), ArgumentError, "add: .*ndarray.*from_numpy"),
    "tensor + ndarray": (
        lambda: gg.ones(3) + np.ones(3, np.float32), ArgumentError, "add: .*ndarray.*from_numpy"),
    "tensor == ndarray": (
        lambda: gg.ones(3) == np.ones(3, np.float32), ArgumentError, "eq: .*ndarray.*from_numpy"),
    "ragged rows": (lambda: gg.tensor([[1, 2], [3]]), SettingError, "tensor: rows differ"),
    "text as data": (lambda: gg.tensor(["a"]), ArgumentError, "tensor: cannot make numbers"),
    "complex": (lambda: gg.tensor(1j), DTypeError, "tensor: complex tensors are not supported"),
    "number too large": (
        lambda: gg.tensor(300, dtype=gg.uint8), SettingError, "uint8; accepted: 0 to 255"),
    "list from_numpy": (
        lambda: gg.from_numpy([1]), ArgumentError, "from_numpy: takes a numpy.ndarray, got list"),
    "dtype of NumPy's": (
        lambda: gg.from_numpy(np.ones(3, np.uint16)), DTypeError, "uint16; there are float64"),
    "integer default": (
        lambda: gg.set_default_dtype(gg.int64), DTypeError, "takes a floating dtype.*int64"),
    "write to expanded": (
        lambda: gg.ones(1).expand(3).add_(1), ViewError, r"add_: .*\(3,\) is expanded"),
    "write over itself": (
        lambda: (lambda a: a[1:].add_(a[:-1]))(gg.ones(4)), ViewError, "some but not all"),
    "text written": (
        lambda: gg.ones(3).__setitem__(0, "a"), ArgumentError, "must be a number or a Tensor"),
    "out in place": (
        lambda: gg.ones(3).add_(1, out=gg.ones(3)), ArgumentError, "add_: .*takes no out="),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_values_that_cannot_be(name: str) -> None:
    check(VALUES[name])
