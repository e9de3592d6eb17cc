"""What the function of a custom op may do with memory, and what is noted of it."""

from __future__ import annotations

from gpugrad.errors import AutogradError
from gpugrad.inplace import check_writable, family_node
from gpugrad.library.schema import Schema
from gpugrad.library.values import Call, listed, shares, tensors_in
from gpugrad.modes import modes
from gpugrad.tensor import Tensor


def check_writes(schema: Schema, call: Call) -> None:
    """Refuse a call that would write what cannot be written, or lose a gradient.

    Raises:
        AutogradError: while recording, if some tensor requires a gradient.
        ViewError: for an expanded tensor.
    """
    needy = [t for t in call.tensors if t._node is not None or family_node(t) is not None]
    if modes.grad and needy:
        raise AutogradError(
            f"{schema.op} writes into {sorted(schema.mutated)}, which is not recorded, and a "
            f"tensor of shape {tuple(needy[0].shape)} requires a gradient; use `with "
            "gpugrad.no_grad():`, or an op that returns its result"
        )
    for _, t in _arguments(schema, call, mutated=True):
        check_writable(schema.op, t)


class Writes:
    """Watches the tensors of a call while its function runs."""

    def __init__(self, schema: Schema, call: Call) -> None:
        self._schema, self._call = schema, call
        self._before = [
            (name, t, t._version) for name, t in _arguments(schema, call, mutated=False)
            if not t.is_inference()
        ]  # fmt: skip

    def settle(self) -> None:
        """Count the writes that were declared.

        Raises:
            AutogradError: for another one, or a result in memory that is not fresh.
        """
        schema, call = self._schema, self._call
        for name, t, version in self._before:
            if t._version != version:
                raise AutogradError(
                    f"{schema.op}: its function wrote into {name!r} at "
                    f"{t.storage_state().last_write}, and mutates_args is "
                    f"{sorted(schema.mutated)}; name it there"
                )
        seen = [*call.tensors]
        for out in tensors_in(listed(call.result)):
            if any(shares(out, t) for t in seen):
                raise AutogradError(
                    f"{schema.op}: its function returned a tensor of shape {tuple(out.shape)} "
                    "that is an argument, or shares memory with one or with another result; "
                    "return a clone() of it"
                )
            seen.append(out)
        if schema.mutated:
            for _, t in _arguments(schema, call, mutated=True):
                t.storage_state().bump()


def _arguments(schema: Schema, call: Call, mutated: bool) -> list[tuple[str, Tensor]]:
    """The tensors among positional arguments that are declared as written, or are not."""
    return [
        (p.name, t) for p, v in zip(schema.parameters, call.values, strict=False)
        if (p.name in schema.mutated) is mutated for t in tensors_in([v])
    ]  # fmt: skip
