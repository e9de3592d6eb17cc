"""Views that a tensor itself becomes: ``squeeze_``, ``t_`` and their like."""

from __future__ import annotations

from typing import Any

from gpugrad.errors import AutogradError
from gpugrad.modes import modes
from gpugrad.op import function, registry
from gpugrad.tape import Leaf
from gpugrad.tensor import Tensor, View, wrap


def _become(name: str, input: Tensor, viewed: Tensor) -> Tensor:
    """Make a tensor what a view of it is; its memory counts a write.

    A base hands its part to a new tensor of its old shape, onto which its other views then look.
    """
    owner = input if input._view is None else input._view.base
    if type(input._node) is Leaf or (modes.grad and input._node is not None and owner.is_leaf):
        raise AutogradError(
            f"{name}: a leaf that requires a gradient (or a view of one) keeps its shape, as its "
            f"gradient has the same; use {name[:-1]}(), which gives a view"
        )
    if input.is_meta:
        input._array = viewed._array
        return input
    assert viewed._view is not None
    storage, base = input.storage_state(), viewed._view.base
    if input._view is None:
        base = wrap(input._array, input._node, input._slot, storage)
        for view in storage.views():
            if view._view is not None and view._view.base is input:
                view._view = View(base, view._view.chain, view._view.recorded)
    input._array = viewed._array
    input._move_to(viewed._node, viewed._slot)
    input._view = View(base, viewed._view.chain, viewed._view.recorded)
    if viewed._view.recorded:
        storage.add_view(input)
    storage.bump()
    return input


def _register(name: str) -> None:
    called = f"{name}_"

    @function(home="Tensor", name=called, samples=())
    def inplace(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The tensor itself becomes the view that the op without the underscore gives."""
        return _become(called, input, registry.find(name).public(input, *args, **kwargs))


for _name in ("squeeze", "unsqueeze", "transpose", "t"):
    _register(_name)


@function(home="Tensor", name="swapaxes_", aliases=("swapdims_",), samples=())
def swapaxes_(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """The tensor itself becomes its view with two dimensions exchanged."""
    return input.transpose_(axis0, axis1)
