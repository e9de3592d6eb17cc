"""CUDA C++ as machine code: NVRTC compiles it, no GPU needed, and a file keeps it.

The text is compiled as it stands: C++17, IEEE division and roots, denormals kept, products and sums
contracted to FMA.  A result is named by a hash of everything that decides its bits (text, options,
architecture, NVRTC's version), is looked for in memory, then on disk, and carries what the compiler
said of registers and spills, so a warm start knows that, too.

``cuda.core`` has a store of programs of its own, which is safe among processes as well; but it runs
a damaged file and forgets the compiler's log, hence ``kept.Store``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from functools import cache
from typing import Any

from gpugrad.backends.kept import Store, write_whole
from gpugrad.backends.nvidia import INSTALL
from gpugrad.config import config
from gpugrad.errors import DeviceError, KernelError, SettingError

STORE = Store("cuda", ".cubin")
_OPTIONS: dict[str, Any] = {"name": "kernel.cu", "std": "c++17", "ptxas_options": "-v"}
#: Lines of the compiler's log that an error shows.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel takes of a multiprocessor: registers a thread, and bytes.

    ``spill_stores``, ``spill_loads`` and ``stack`` are bytes of local memory per thread, those of
    functions that were not inlined included; ``shared`` is static shared memory per block.
    """

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    shared: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """One text, compiled.

    Attributes:
        image: a cubin; PTX for an architecture ``compute_*``, which the driver compiles further.
        usage: what each kernel uses, by its symbol; empty for PTX.
    """

    image: bytes = field(repr=False)
    usage: dict[str, Usage]


@dataclass(slots=True)
class _Memory:
    """What this process has compiled, and a lock for each text under way."""

    found: dict[str, Compiled] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


_memory = _Memory()
if hasattr(os, "register_at_fork"):  # another thread may have held a lock
    os.register_at_fork(after_in_child=lambda: globals().update(_memory=_Memory(_memory.found)))


def compiled(source: str, arch: str, what: str = "") -> Compiled:
    """CUDA C++ text, with any number of kernels, as machine code.

    Args:
        source: the whole text: there is no path for ``#include``.
        arch: ``sm_90`` and its like for a cubin, ``compute_90`` for PTX.
        what: what it is for, for errors: an op, shapes, dtypes.

    Raises:
        KernelError: if it does not compile; it says where the text was kept.
        DeviceError: if cuda-core or NVRTC is missing; it says what mends that.
    """
    name = _name(source, arch)
    memory = _memory
    found = memory.found.get(name)
    if found is not None:
        return found
    with memory.lock:
        lock = memory.locks.setdefault(name, threading.Lock())
    with lock:  # a second thread waits for the first one's result
        found = memory.found.get(name) or _unpacked(STORE.read(name))
        if found is None:
            found = _compile(source, arch, what, name)
            STORE.write(name, _packed(found))
        memory.found[name] = found
    with memory.lock:
        memory.locks.pop(name, None)
    return found


def compiled_all(sources: Sequence[str], arch: str, threads: int | None = None) -> list[Compiled]:
    """Several texts at once, in threads, as NVRTC runs without Python's lock.

    Args:
        sources: the texts.
        arch: as in ``compiled``.
        threads: how many; ``config.num_threads`` by default.

    Raises:
        SettingError: for less than one thread.
    """
    count = config.num_threads if threads is None else threads
    if count < 1:
        raise SettingError(f"compiled_all: threads must be at least 1, got {count}")
    with ThreadPoolExecutor(min(count, len(sources) or 1)) as pool:
        return list(pool.map(lambda source: compiled(source, arch), sources))


def arch_for(major: int, minor: int) -> str:
    """What to compile for, so that a device of a compute capability runs it.

    That is its own architecture.  NVRTC may not know it yet: then an earlier one of the same major
    version, whose machine code runs there as well, or else the latest one as PTX, which the
    driver compiles for the device.

    Raises:
        DeviceError: for a device that is older than all that NVRTC compiles for.
    """
    known = supported()
    wanted = 10 * major + minor
    fitting = [a for a in known if a <= wanted]
    if not fitting:
        raise DeviceError(
            f"a device of compute capability {major}.{minor} is older than NVRTC "
            f"{'.'.join(map(str, version()))} compiles for (from {known[0] / 10}); "
            "an earlier toolkit may: pip install 'gpugrad[cuda12]'"
        )
    best = fitting[-1]
    return f"sm_{best}" if best // 10 == major else f"compute_{best}"


@cache
def version() -> tuple[int, int]:
    """NVRTC's version.

    Raises:
        DeviceError: if it is missing.
    """
    major, minor = _asked("nvrtcVersion")
    return int(major), int(minor)


@cache
def supported() -> list[int]:
    """The architectures that NVRTC compiles for, in rising order: 90 is compute capability 9.0.

    Raises:
        DeviceError: if NVRTC is missing.
    """
    return sorted(map(int, *_asked("nvrtcGetSupportedArchs")))


def _asked(question: str) -> list[Any]:
    """What NVRTC answers to a question without arguments."""
    try:
        from cuda.bindings import nvrtc

        error, *answer = getattr(nvrtc, question)()
    except ImportError as missing:
        raise DeviceError(
            f"compiling CUDA kernels needs cuda-bindings, which is not importable ({missing}); "
            f"install it with {INSTALL}"
        ) from None
    except Exception as missing:
        first = (str(missing).splitlines() or [type(missing).__name__])[0]
        raise DeviceError(
            f"compiling CUDA kernels needs NVRTC, which does not load ({first}); "
            f"install it with {INSTALL}"
        ) from None
    if int(error):
        raise DeviceError(f"NVRTC does not answer {question}: {error}; reinstall with {INSTALL}")
    return list(answer)


def _name(source: str, arch: str) -> str:
    text = "\n".join([source, arch, repr(sorted(_OPTIONS.items())), repr(version())])
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _compile(source: str, arch: str, what: str, name: str) -> Compiled:
    try:
        with _memory.lock:  # two threads that import it at once may both meet half of it
            from cuda.core import Program, ProgramOptions
    except ImportError as missing:
        raise DeviceError(
            f"compiling CUDA kernels needs cuda-core, which is not importable ({missing}); "
            f"install it with {INSTALL}"
        ) from None
    log = io.StringIO()
    kind = "ptx" if arch.startswith("compute_") else "cubin"
    try:
        options = ProgramOptions(arch=arch, **_OPTIONS)
        image = bytes(Program(source, "c++", options).compile(kind, logs=log).code)
    except Exception as error:
        said = str(error).rpartition("compilation log:")[2].strip("\0\n")
        lines = [line for line in said.splitlines() if line.strip()][:_SHOWN]
        about = f"{what}: " if what else ""
        toolkit = ".".join(map(str, version()))
        raise KernelError(
            f"{about}a kernel did not compile for {arch} (NVRTC {toolkit}):\n"
            + "\n".join(lines) + f"\n{kept_source(source, name, f'{about}{arch}: {said}')}"
        ) from error  # fmt: skip
    return Compiled(image, usage_in(log.getvalue()) if kind == "cubin" else {})


def kept_source(source: str, name: str, why: str) -> str:
    """Keep the text of a kernel that failed, for a report; the sentence that says where.

    Args:
        source: the text.
        name: what the file is called, but for its ending.
        why: what went wrong; it ends the file as a comment.
    """
    path = STORE.folder / "failed" / f"{name}.cu"
    notes = "".join(f"// {line}\n" for line in why.splitlines())
    try:
        write_whole(path, f"{source}\n\n{notes}".encode())
    except OSError as error:
        return f"The source could not be kept in {path} ({error}); it is:\n{source}"
    return f"The source is kept in {path}"


def usage_in(log: str) -> dict[str, Usage]:
    """What ``ptxas -v`` said of each kernel, by its symbol."""
    found: dict[str, Usage] = {}
    # Split into one part per kernel: [before, name, part, name, part, ...].
    _, *parts = re.split(r"Compiling entry function '([^']+)' for '[^']*'", log)
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        local = [0, 0, 0]
        frame = r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
        for numbers in re.findall(frame, part):
            local = [a + int(b) for a, b in zip(local, numbers, strict=True)]
        stack, stores, loads = local
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[name] = Usage(int(registers[1]) if registers else 0, stores, loads, stack,
                            int(shared[1]) if shared else 0)  # fmt: skip
    return found


def _packed(what: Compiled) -> bytes:
    usage = {name: astuple(used) for name, used in what.usage.items()}
    return json.dumps(usage).encode() + b"\n" + what.image


def _unpacked(kept: bytes | None) -> Compiled | None:
    if kept is None:
        return None
    usage, _, image = kept.partition(b"\n")
    return Compiled(image, {name: Usage(*used) for name, used in json.loads(usage).items()})
