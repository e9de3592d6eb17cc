"""A lane does what the general path does: value, dtype, what is kept, gradient."""

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import samples
from gpugrad.modes import recording
from gpugrad.op import REQUIRED, registry

DTYPES = [gg.float64, gg.float32, gg.float16, gg.int64, gg.int32, gg.uint8, gg.bool]
LANED = [
    op
    for op in registry.ops.values()
    if op.elementwise and not op.variadic and not op.optional and not op.indices
    and op.promotion is not None and len(op.arrays) <= 2
    and REQUIRED not in op.settings.values()
]  # fmt: skip


class Nothing:
    """A recorder: while one is on the stack, lanes are off."""

    def record(self, op, inputs, settings, outputs):
        pass


def outcome(op, args, wants_grad):
    """Everything that a call shows, or the class of its error."""
    tensors = [gg.from_numpy(a.copy()) for a in args]
    if wants_grad:
        tensors = [t.requires_grad_() for t in tensors]
    try:
        result = op(*tensors)
    except gg.errors.GpugradError as error:
        return type(error)
    seen = [result.dtype, tuple(result.shape), result.detach().double().numpy()]
    if result.requires_grad:
        node = result.grad_fn
        seen += [node.op.name, node.shape, node.dtype, node.settings]
        seen.append([type(s).__name__ for s in node.saved or ()])
        try:
            result.sum().backward()
        except gg.errors.NotSupportedError as error:
            return [*seen, type(error)]
        seen += [t.grad.double().numpy() for t in tensors]
    return seen


@pytest.mark.parametrize("op", LANED, ids=lambda op: op.name)
def test_lane_and_general_path_agree(op):
    for sample in samples.for_elementwise(len(op.arrays), op.domain)[:6]:
        for dtype in DTYPES:
            args = samples.make(sample, dtype).args
            for wants_grad in {False, dtype.is_floating_point}:
                lane = outcome(op, args, wants_grad)
                with recording(Nothing()):
                    general = outcome(op, args, wants_grad)
                np.testing.assert_equal(lane, general, err_msg=f"{op.name} {sample} {dtype}")


@pytest.mark.parametrize("op", [o for o in LANED if len(o.arrays) == 2], ids=lambda op: op.name)
@pytest.mark.parametrize("number", [2, 0.5, True, -3])
def test_numbers(op, number):
    """A bare number on the right gives what the general path gives."""

    def run(x):
        try:
            r = op(x, number)
        except gg.errors.GpugradError as error:
            return type(error)
        return [r.dtype, r.double().numpy()]

    for dtype in (gg.float64, gg.float32, gg.float16, gg.int32, gg.bool):
        x = gg.tensor([1, 2, 3]).to(dtype)
        lane = run(x)
        with recording(Nothing()):
            general = run(x)
        np.testing.assert_equal(lane, general, err_msg=f"{op.name} {dtype}")
