"""The engines that are compared, behind one face: tensors, time and memory of one device.

An ``Engine`` is a column of a table.  gpugrad, torch and torch.compile answer to PyTorch's names,
so a row is written once over them; JAX is a column of its own kind (``jax_rows.py``).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import TURN, median_ms, once

#: What ``--against`` takes.
PEERS = ("torch", "compile", "jax")


class Missing(Exception):
    """A peer that cannot take part; the text is one line that says what mends it."""


class Engine:
    """A library with PyTorch's names, on one device.

    Attributes:
        name: the head of its column.
        torch: the library.
        device: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device
        self.torch = importlib.import_module("torch" if name == "torch.compile" else name)
        self.functional = importlib.import_module(f"{self.torch.__name__}.nn.functional")
        # Convolutions round float32 to TF32 unless told not to; products do only if told to.
        self.torch.backends.cudnn.allow_tf32 = False

    @property
    def cuda(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device == "cuda"

    def normal(self, *shape: int, dtype: str = "float32", seed: int = 0, grad: bool = False) -> Any:
        """Standard normal numbers, the same for every engine."""
        x = self.torch.from_numpy(normal(shape, seed).copy())
        x = x.to(self.device).to(getattr(self.torch, dtype))
        return x.requires_grad_() if grad else x

    def whole(self, high: int, *shape: int, seed: int = 0) -> Any:
        """Random integers below ``high``, the same for every engine."""
        numbers = np.random.default_rng(seed).integers(0, high, shape)
        return self.torch.from_numpy(numbers).to(self.device)

    def compiled(self, fn: Any) -> Any:
        """A function or module as this column runs it: compiled under torch.compile."""
        return self.torch.compile(fn) if self.name == "torch.compile" else fn

    def fused(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """A function that its writer asks to be one kernel: ``gpugrad.fuse``, ``torch.compile``."""
        fused: Callable[..., Any] = (
            self.torch.fuse(fn) if self.name == "gpugrad" else self.compiled(fn)
        )
        return fused

    def sample(self, result: Any, count: int = 1 << 18) -> np.ndarray[Any, Any]:
        """At most ``count`` evenly spaced elements of a result, float32 on the host."""
        flat = result.detach().reshape(-1)
        return np.asarray(flat[:: max(1, len(flat) // count)].float().cpu().numpy())

    def size(self, tensors: Any) -> int:
        """Bytes of tensors."""
        return sum(t.numel() * t.element_size() for t in tensors)

    def wait(self) -> None:
        """Until the device has done its work."""
        if self.cuda:
            self.torch.cuda.synchronize()

    def milliseconds(self, call: Callable[[], Any], times: int) -> float:
        """Time of one call among ``times`` in a row: by the device's events, else by the clock."""
        if not self.cuda:
            return once(call, times)
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(times):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / times

    def forget(self) -> None:
        """Let go of what the last row left: device memory, and compiled forms of other shapes.

        Rows share functions, and torch.compile runs one eagerly that it has compiled eight times.
        """
        if self.name == "torch.compile":
            self.torch._dynamo.reset()
        if self.cuda:
            self.torch.cuda.empty_cache()

    def held(self) -> int:
        """Bytes of device memory in use by this engine now; the peak begins anew here."""
        self.torch.cuda.reset_peak_memory_stats()
        return int(self.torch.cuda.memory_allocated())

    def peak(self) -> int:
        """The most bytes of device memory in use since ``held``."""
        return int(self.torch.cuda.max_memory_allocated())


class Jax:
    """JAX, whose rows are functions of their own."""

    name = "jax"

    def __init__(self, device: str) -> None:
        # Other engines need memory, too, and a row must find the one device that was asked for.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        os.environ.setdefault("JAX_PLATFORMS", device)
        self.device = device
        self.jax: Any = importlib.import_module("jax")
        self.jax.devices(device)  # raises where there is none
        self.jax.config.update("jax_default_matmul_precision", "float32")

    def normal(self, *shape: int, dtype: str = "float32", seed: int = 0) -> Any:
        """Standard normal numbers, the same for every engine."""
        return self.jax.numpy.asarray(normal(shape, seed)).astype(dtype)

    def whole(self, high: int, *shape: int, seed: int = 0) -> Any:
        """Random integers below ``high``, the same for every engine."""
        return self.jax.numpy.asarray(np.random.default_rng(seed).integers(0, high, shape))

    def sample(self, result: Any, count: int = 1 << 18) -> np.ndarray[Any, Any]:
        """At most ``count`` evenly spaced elements of a result, float32 on the host."""
        flat = result.reshape(-1)
        return np.asarray(flat[:: max(1, len(flat) // count)]).astype(np.float32)

    def size(self, arrays: Any) -> int:
        """Bytes of arrays."""
        return sum(a.nbytes for a in arrays)

    def milliseconds(self, call: Callable[[], Any], times: int) -> float:
        """Time of one call among ``times`` in a row, by the clock: JAX has no events."""
        start = time.perf_counter()
        for _ in range(times):
            last = call()
        self.jax.block_until_ready(last)
        return (time.perf_counter() - start) * 1e3 / times

    def wait(self) -> None:
        """Nothing is left to wait for: ``milliseconds`` waited."""

    def forget(self) -> None:
        """JAX gives memory back by itself where it does not preallocate."""


@functools.lru_cache(maxsize=2)
def _pool(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(count, np.float32)


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    """Standard normal float32 numbers: a pool of 16M, entered elsewhere for each seed.

    Drawing billions anew for every engine would take longer than measuring.
    """
    pool, count = _pool(1 << 24), int(np.prod(shape, dtype=np.int64))
    start = seed * 1_000_003 % len(pool)
    if start + count <= len(pool):
        return pool[start : start + count].reshape(shape)
    return np.resize(np.roll(pool, -start), count).reshape(shape)


def gpugrad(device: str) -> Engine:
    """Our own column.

    Raises:
        gpugrad.errors.DeviceError: in one line, if there is no such device here.
    """
    engine = Engine("gpugrad", device)
    if engine.cuda:
        engine.torch.cuda.init()
    return engine


def peer(name: str, device: str, threads: int) -> Engine | Jax:
    """A column to compare with, by its name in ``PEERS``.

    Raises:
        Missing: if it is not installed, or cannot use the device.
    """
    library = "torch" if name == "compile" else name
    if importlib.util.find_spec(library) is None:
        raise Missing(f"{library} is not installed: pip install {library}")
    if name == "jax":
        try:
            return Jax(device)
        except RuntimeError as error:
            text = f"jax finds no {device} device ({str(error).splitlines()[0]})"
            raise Missing(f"{text}: pip install 'jax[cuda13]'") from None
    engine = Engine("torch.compile" if name == "compile" else name, device)
    engine.torch.set_num_threads(threads)
    if engine.cuda and not engine.torch.cuda.is_available():
        raise Missing(
            f"torch {engine.torch.__version__} cannot use CUDA: install a CUDA build of it "
            "(https://pytorch.org/get-started)"
        )
    return engine


def cache_bytes(device: str) -> int:
    """Size of the last cache before memory; 0 if nobody says."""
    if device == "cuda":
        cupy = importlib.import_module("cupy")
        return int(cupy.cuda.Device().attributes["L2CacheSize"])
    files = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes = [f.read_text().strip() for f in files]
    units = {"K": 1 << 10, "M": 1 << 20}
    return max((int(s[:-1]) * units[s[-1]] for s in sizes if s[-1:] in units), default=0)


def copied_per_ms(device: str, seconds: float) -> float:
    """Bytes that a large copy reads and writes in a millisecond: the roof of memory-bound rows.

    On the CPU one thread of NumPy copies 64 MiB; on a GPU the driver copies up to 4 GiB.
    """
    if device == "cpu":
        a = np.ones((4096, 4096), np.float32)
        b = np.empty_like(a)
        host: float = median_ms({"copy": lambda: np.copyto(b, a)}, seconds)["copy"]
        return 2 * a.nbytes / host
    cupy = importlib.import_module("cupy")
    engine = Engine("gpugrad", device)
    free, _ = engine.torch.cuda.mem_get_info()
    count = min(1 << 32, free // 8) // 4
    source = engine.torch.rand(count, device=device)
    target = engine.torch.empty(count, device=device)
    stream = engine.torch.cuda.current_stream().cuda_stream
    kind = cupy.cuda.runtime.memcpyDeviceToDevice

    def copy() -> None:
        cupy.cuda.runtime.memcpyAsync(target.data_ptr(), source.data_ptr(), 4 * count, kind, stream)

    clocks = {"copy": engine.milliseconds}
    ms: float = median_ms({"copy": copy}, seconds, clocks=clocks, turn=TURN)["copy"]
    return float(8 * count / ms)
