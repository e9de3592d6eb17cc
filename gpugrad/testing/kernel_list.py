"""Every kernel that the engine asks for on a CUDA device, listed without one.

The records' own samples, optimisers' steps and the models are run on the CPU while the engine
believes that its arrays have a device's kernels (``Listing``): each program that it asks for is
noted, and the array code gives the result.  ``texts`` prints them in all variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np

from gpugrad import dtypes, signature
from gpugrad.codegen.cuda import CudaWriter, Variant
from gpugrad.codegen.device import describe, row_variant, widest
from gpugrad.codegen.target import Program
from gpugrad.codegen.update import overwrite, sums_of_squares
from gpugrad.dtypes import DType
from gpugrad.errors import GpugradError
from gpugrad.op import Function, Op, registry
from gpugrad.testing.calls import Call, claimed_dtypes, samples_of
from gpugrad.testing.device_on_host import DeviceOnHost, using

#: Dtypes that are listed.
KINDS = (dtypes.float32, dtypes.bfloat16, dtypes.float64)
#: Rows of these lengths are listed: a warp and its neighbours, on chip, too long for that.
COLUMNS = (31, 33, 1024, 1025, 4096, 8192, 32768, 65536, 65537)

#: Of those, the usual ones: a few accesses of a warp, of a block, and a row that is read again.
USUAL = (1024, 8192, 65536)


class Listing(DeviceOnHost):
    """A target that notes what it is asked for and runs nothing.

    Attributes:
        programs: by their text in one variant, which decides all others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.programs: dict[str, Program] = {}

    def ready(self, program: Program, patience: int | None = None) -> bool:
        writer: CudaWriter = program.printed
        self.programs.setdefault(writer.print("kernel", variants(writer)[0]), program)
        return False


def add_records(found: Listing, kinds: Sequence[DType] = KINDS) -> None:
    """Note what the registry's samples ask for, forward and backward.

    Args:
        found: where to.
        kinds: dtypes to run them in; records that take no float run in int64 and bool.
    """
    with using(found):
        for record in list(registry):
            taken = claimed_dtypes(record)
            chosen = [d for d in kinds if d in taken] or [
                d for d in (dtypes.int64, dtypes.bool_) if d in taken
            ]
            for dtype in chosen:
                for sample in samples_of(record):
                    with suppress(GpugradError, np.linalg.LinAlgError):
                        _step(Call(record, sample, dtype))


def add_updates(found: Listing, kinds: Sequence[DType] = KINDS) -> None:
    """Note the kernels of every update record, with each of its samples' settings, and of norms."""
    for dtype in kinds:
        sums_of_squares(found, [np.ones(8, dtype.np)])
    for op in registry.ops.values():
        if op.home != "optim" or not op.elementwise:
            continue
        for sample, dtype in product(samples_of(op), kinds):
            call = Call(op, sample, dtypes.float64)
            bound, settings = signature.bind(op, call.args, dict(call.kwargs))
            signature.normalise(op, 1, settings)
            arrays = [np.ones(8, dtype.np) for _ in bound]
            into = [0, *range(2, len(arrays))][: len(op.outputs) or 1]
            overwrite(found, op, [arrays], into, settings)


def _step(call: Call) -> None:
    record: Op | Function = call.record
    tensors = call.tensors(grad=record.differentiable)
    result = call(tensors)
    for out in result if isinstance(result, tuple | list) else (result,):
        if getattr(out, "requires_grad", False):
            out.backward(out.detach(), retain_graph=True)


def variants(writer: CudaWriter, columns: Sequence[int] = COLUMNS) -> list[Variant]:
    """The variants of a kernel that sizes and alignment may choose.

    Args:
        writer: the kernel.
        columns: lengths of rows.
    """
    width = widest(writer)
    if writer.kind == "flat":
        if "strided" in writer.layout.reads:
            return [Variant(1, dims=2), Variant(1, True, dims=4)]
        return list(dict.fromkeys([Variant(width), Variant(1), Variant(width, True)]))
    if writer.kind == "table":
        return list(dict.fromkeys([Variant(16 // writer.layout.held[0].itemsize), Variant(1)]))
    if writer.layout.table:
        return [Variant(threads=512)]
    summed = any(writer.layout.summed)
    chosen = [
        row_variant(writer, n, 1 if n % width else width, summed or n == 65536, False)
        for n in columns
    ]
    if writer.splits:
        chosen += [row_variant(writer, n, w, False, True) for n, w in ((1 << 14, width), (999, 1))]
    return list(dict.fromkeys(chosen))


@dataclass(frozen=True, slots=True)
class Listed:
    """One kernel of the list: its symbol, its text without the prelude, and what it computes."""

    name: str
    text: str
    what: str
    variant: Variant
    #: Whether arrays that are aligned and of usual sizes choose the variant.
    usual: bool
    #: Whether it is the form of its op without broadcasting: others differ in how they read.
    plain: bool


def texts(found: Listing) -> list[Listed]:
    """Every program in every variant, under names of its own."""
    listed: list[Listed] = []
    for program in found.programs.values():
        writer: CudaWriter = program.printed
        plain = writer.kind != "flat" or {*writer.layout.reads} <= {"full"}
        usual_rows = variants(writer, USUAL) if writer.kind == "rows" else []
        for i, variant in enumerate(variants(writer)):
            name = f"k{len(listed)}"
            usual = i == 0 or variant in usual_rows
            text = writer.print(name, variant)
            listed.append(Listed(name, text, describe(program), variant, usual, plain))
    return listed
