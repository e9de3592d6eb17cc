"""The short-time Fourier transform of real signals, as products with cosines and sines."""

from __future__ import annotations

import math
from typing import Any

from gpugrad import dtypes
from gpugrad.errors import DTypeError, NotSupportedError, SettingError, ShapeError
from gpugrad.functional_namespace import F
from gpugrad.op import function
from gpugrad.samples import A, Sample
from gpugrad.tensor import Tensor


@function(samples=[
    Sample(A((12,)), 4, window=A((4,), 0.5, 1), return_complex=False),
    Sample(A((2, 20)), 6, 2, 4, A((4,), 0.5, 1), normalized=True, return_complex=False),
    Sample(A((2, 11)), 5, 3, window=A((5,), 0.5, 1), center=False, onesided=False,
           return_complex=False),
    Sample(A((9,)), 4, window=A((4,), 0.5, 1), pad_mode="constant", return_complex=False),
], torch="")  # fmt: skip
def stft(input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect",
         normalized: bool = False, onesided: bool | None = None,
         return_complex: bool | None = None,
         align_to_window: bool | None = None) -> Tensor:  # fmt: skip
    """Spectra of windows that move along a signal, as pairs of real and imaginary parts.

    ``out[..., f, t, :]`` is the sum over n of ``input[t * hop + n] * window[n] * exp(-2 pi i f n /
    n_fft)``.  Costs a matrix product; there is no fast transform.

    Args:
        input: (length,) or (batch, length), real.
        n_fft: samples of one transform.
        hop_length: steps between windows; ``n_fft // 4`` by default.
        win_length: samples under the window, in the middle; ``n_fft`` by default.
        window: (win_length,); ones by default.
        center: pad by ``n_fft // 2`` on both sides, as ``pad_mode`` says.
        normalized: divide by ``sqrt(n_fft)``.
        onesided: only frequencies up to the half, as the others repeat; the default.
        return_complex: must be False: complex dtypes are not supported yet.
        align_to_window: not supported.

    Returns:
        (batch, frequencies, windows, 2).

    Raises:
        NotSupportedError: unless ``return_complex=False``, and for ``align_to_window``.
        ShapeError, SettingError: if sizes do not fit.
    """
    if return_complex is None or return_complex:
        raise NotSupportedError(
            "stft: complex tensors are not supported yet; return_complex=False gives pairs of real "
            "and imaginary parts"
        )
    if align_to_window is not None:
        raise NotSupportedError("stft: align_to_window is not supported; leave it away")
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    signal, weights = _prepared(input, n_fft, length, window, center, pad_mode)
    if hop < 1:
        raise SettingError(f"stft: hop_length is {hop}; accepted: 1, 2, ...")
    frames = signal.unfold(-1, n_fft, hop) * weights
    bins = n_fft // 2 + 1 if onesided is None or onesided else n_fft
    # phases are taken modulo the period as integers, so that large ones lose nothing
    steps = F.arange(n_fft, device=input.device)
    turns = (steps.unsqueeze(1) * steps[:bins]) % n_fft
    angle = turns.to(input.dtype) * (2 * math.pi / n_fft)
    scale = 1 / math.sqrt(n_fft) if normalized else 1.0
    parts = F.stack([frames @ angle.cos(), frames @ -angle.sin()], -1) * scale
    spectrum = parts.transpose(-3, -2)
    return spectrum if input.ndim == 2 else spectrum.squeeze(0)


def _prepared(input: Tensor, n_fft: int, length: int, window: Tensor | None, center: bool,
              pad_mode: str) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The signal as (batch, length) and padded; the window as wide as a transform."""
    if input.dtype not in dtypes.FLOATS:
        raise DTypeError(f"stft: the signal must be floating, got {input.dtype}")
    if input.ndim not in (1, 2):
        raise ShapeError(f"stft: the signal must have 1 or 2 dims, got shape {tuple(input.shape)}")
    signal = input if input.ndim == 2 else input.unsqueeze(0)
    if center:
        signal = F.pad(signal.unsqueeze(1), (n_fft // 2, n_fft // 2), pad_mode).squeeze(1)
    if not 0 < n_fft <= signal.shape[-1]:
        raise SettingError(f"stft: n_fft is {n_fft}; accepted: 1 to {signal.shape[-1]}")
    if not 0 < length <= n_fft:
        raise SettingError(f"stft: win_length is {length}; accepted: 1 to n_fft, {n_fft}")
    if window is not None and tuple(window.shape) != (length,):
        raise ShapeError(
            f"stft: window has shape {tuple(window.shape)}; its shape must be ({length},)"
        )
    own: Any = {"dtype": input.dtype, "device": input.device}
    weights = F.ones((length,), **own) if window is None else window
    before = (n_fft - length) // 2
    return signal, F.pad(weights, (before, n_fft - length - before))
