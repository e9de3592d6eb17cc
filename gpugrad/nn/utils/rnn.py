"""Batches of sequences of different lengths: padded to one length, or packed without padding.

A packed batch holds the elements step by step: first the first elements of all sequences (longest
first), then the second elements of those that have one, and so on; ``batch_sizes`` says how many
sequences each step still has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import ArgumentError, DeviceError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.tensor import Tensor


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """A packed batch; made by ``pack_sequence`` and ``pack_padded_sequence``.

    Attributes:
        data: all elements, ``(sum of lengths, *)``.
        batch_sizes: how many sequences have an element at each step; int64 on the CPU.
        sorted_indices: where each sequence of the sorted batch was; None if it was sorted.
        unsorted_indices: the inverse of that.
    """

    __slots__ = ()

    def __new__(cls, data: Any, batch_sizes: Tensor | None = None,
                sorted_indices: Tensor | None = None,
                unsorted_indices: Tensor | None = None) -> Self:  # fmt: skip
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise DeviceError(
                f"PackedSequence: batch_sizes is on {batch_sizes.device}; it is read on the cpu"
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As ``Tensor.to`` on the data; the indices follow to its device."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        places = [None if i is None else i.to(data.device) for i in self[2:]]
        return type(self)(data, self.batch_sizes, *places)

    def cuda(self, *args: Any, **kwargs: Any) -> Self:
        """The batch on a CUDA device."""
        if args or "device" in kwargs:
            return self.to(*args, **kwargs)
        return self if self.is_cuda else self.to("cuda", **kwargs)

    def cpu(self) -> Self:
        """The batch on the CPU."""
        return self.to("cpu")

    def pin_memory(self) -> Self:
        """The batch in page-locked memory."""
        places = [None if i is None else i.pin_memory() for i in self[2:]]
        return type(self)(self.data.pin_memory(), self.batch_sizes, *places)

    def double(self) -> Self:
        """The batch as float64."""
        return self.to(dtypes.float64)

    def float(self) -> Self:
        """The batch as float32."""
        return self.to(dtypes.float32)

    def half(self) -> Self:
        """The batch as float16."""
        return self.to(dtypes.float16)

    def long(self) -> Self:
        """The batch as int64."""
        return self.to(dtypes.int64)

    def int(self) -> Self:
        """The batch as int32."""
        return self.to(dtypes.int32)

    def short(self) -> Self:
        """The batch as int16."""
        return self.to(dtypes.int16)

    def char(self) -> Self:
        """The batch as int8."""
        return self.to(dtypes.int8)

    def byte(self) -> Self:
        """The batch as uint8."""
        return self.to(dtypes.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a CUDA device."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data lies in page-locked memory."""
        return bool(self.data.is_pinned())


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one."""
    return None if permutation is None else permutation.argsort()


def _places(lengths: list[int], steps: int, batch_first: bool) -> Any:
    """Of every element in packed order, its row in the padded batch of ``steps`` steps, flattened.

    Also returns how many sequences each step has.  ``lengths`` fall.
    """
    held = np.asarray(lengths)
    grid = np.arange(held[0])[:, None] < held  # (step, sequence)
    step, sequence = np.nonzero(grid)
    rows = sequence * steps + step if batch_first else step * len(lengths) + sequence
    return rows, grid.sum(1)


def pack_padded_sequence(input: Tensor, lengths: Any, batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:  # fmt: skip
    """Pack a padded batch.

    Args:
        input: ``(T, B, *)``, or ``(B, T, *)`` if ``batch_first``.
        lengths: of the ``B`` sequences: a list, or a tensor on the CPU.
        batch_first: which of the two layouts.
        enforce_sorted: require lengths to fall; otherwise the batch is sorted here.

    Raises:
        ShapeError, SettingError: if lengths do not fit the batch or do not fall.
    """
    name = "pack_padded_sequence"
    if isinstance(lengths, Tensor) and lengths.device.type != "cpu":
        raise DeviceError(f"{name}: lengths must be on the cpu, they are on {lengths.device}")
    sizes = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    if input.ndim < 2:
        raise ShapeError(f"{name}: input needs 2 dimensions or more, got {tuple(input.shape)}")
    batch, steps = input.shape[:2] if batch_first else (input.shape[1], input.shape[0])
    if len(sizes) != batch:
        raise ShapeError(f"{name}: {len(sizes)} lengths for a batch of {batch} sequences")
    if not sizes or min(sizes) <= 0 or max(sizes) > steps:
        raise SettingError(f"{name}: lengths are from 1 to {steps}, the padded length; got {sizes}")
    order = None
    if not enforce_sorted:
        ranks = np.argsort(-np.asarray(sizes), kind="stable")
        sizes = [sizes[i] for i in ranks]
        order = F.tensor(ranks, device=input.device)
        input = input.index_select(0 if batch_first else 1, order)
    elif sizes != sorted(sizes, reverse=True):
        raise SettingError(
            f"{name}: with enforce_sorted=True lengths must fall, got {sizes}; pass "
            "enforce_sorted=False to have the batch sorted"
        )
    rows, counts = _places(sizes, steps, batch_first)
    data = input.flatten(0, 1).index_select(0, F.tensor(rows, device=input.device))
    return PackedSequence(data, F.tensor(counts), order)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False,
                        padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Undo ``pack_padded_sequence``: the padded batch in its first order, and the lengths.

    Args:
        sequence: a packed batch.
        batch_first: give ``(B, T, *)`` rather than ``(T, B, *)``.
        padding_value: what stands behind the end of a sequence.
        total_length: pad to this many steps; the longest sequence if left out.
    """
    counts = sequence.batch_sizes.numpy()
    steps = len(counts) if total_length is None else total_length
    if steps < len(counts):
        raise SettingError(
            f"pad_packed_sequence: total_length is {steps}, but the longest sequence has "
            f"{len(counts)} elements"
        )
    batch = int(counts[0])
    sizes = (counts[:, None] > np.arange(batch)).sum(0)
    rows, _ = _places(sizes.tolist(), steps, batch_first)
    data = sequence.data
    layout = (batch, steps) if batch_first else (steps, batch)
    padding = data.new_full((batch * steps, *data.shape[1:]), padding_value)
    padded = padding.index_copy(0, F.tensor(rows, device=data.device), data)
    padded = padded.unflatten(0, layout)
    lengths = F.tensor(sizes)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return padded, lengths


def pad_sequence(sequences: Tensor | Iterable[Tensor], batch_first: bool = False,
                 padding_value: float = 0.0, padding_side: str = "right") -> Tensor:  # fmt: skip
    """Sequences ``(L, *)`` of different lengths as one batch ``(T, B, *)`` or ``(B, T, *)``.

    Args:
        sequences: tensors that differ in the first dimension only.
        batch_first: give ``(B, T, *)``.
        padding_value: what fills up the shorter ones.
        padding_side: ``right`` or ``left``.
    """
    if not isinstance(sequences, Iterable):
        raise ArgumentError(
            f"pad_sequence: takes an iterable of tensors, got {type(sequences).__name__}"
        )
    if padding_side not in ("right", "left"):
        raise SettingError(f"pad_sequence: padding_side is 'right' or 'left', got {padding_side!r}")
    given = list(sequences)
    if not given:
        raise SettingError("pad_sequence: there are no sequences to pad")
    rest = given[0].shape[1:]
    if any(s.ndim == 0 or s.shape[1:] != rest for s in given):
        shapes = ", ".join(str(tuple(s.shape)) for s in given[:8])
        raise ShapeError(f"pad_sequence: sequences differ behind the first dimension: {shapes}")
    longest = max(len(s) for s in given)
    padded = [_filled(s, longest - len(s), padding_value, padding_side) for s in given]
    return F.stack(padded, 0 if batch_first else 1)  # type: ignore[no-any-return]


def _filled(sequence: Tensor, missing: int, value: float, side: str) -> Tensor:
    if not missing:
        return sequence
    padding = sequence.new_full((missing, *sequence.shape[1:]), value)
    return F.concat([sequence, padding] if side == "right" else [padding, sequence])  # type: ignore[no-any-return]


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor,
                   batch_first: bool = False) -> list[Tensor]:  # fmt: skip
    """Undo ``pad_sequence`` (padded on the right): a list of tensors of these lengths."""
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    sizes = lengths.tolist()
    if len(sizes) != len(batch):
        raise ShapeError(f"unpad_sequence: {len(sizes)} lengths for {len(batch)} sequences")
    return [row[:n] for row, n in zip(batch, sizes)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack tensors ``(L, *)`` of different lengths, longest first unless sorted here."""
    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undo ``pack_sequence``."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
