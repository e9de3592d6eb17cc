"""CUDA C++ text run without a GPU: g++ compiles it, and the threads of a block are fibers.

    module = HostModule(source)  # the text that NVRTC gets
    module.launch("kernel", grid=(4,), block=(256,), args=(x, y, np.int32(n)), shared=1024)

What NVRTC knows without headers is in ``cuda_host.h``; ``__CUDA_ARCH__`` is not defined, so that a
text can give inline assembly another form.  ``cuda_host.cpp`` runs the blocks one after the other
and switches between a block's threads at barriers and collectives of warps.  An error, with kernel,
block and thread in its text, is

- a block's threads that wait at different barriers, or for lanes of a warp that wait elsewhere
  (threads that are done count as arrived, as they do on a GPU);
- an address that is no memory, or no multiple of the alignment of what is read or written there;
- an argument that does not fit its parameter in size or kind, a launch beyond CUDA's limits;
- a kernel that does not end.

What shows in the results: shared memory, static and dynamic, holds NaN (bytes 0xFF) when a block
starts, uninitialised variables hold rubbish, and a shuffle from a lane that takes no part gives
NaN.  A missing barrier shows when threads run in another order: ``order="reverse"`` and drawn ones
(a seed) turn lanes, warps and blocks round, and the results must be the same to the bit.  A read or
write beyond an array shows with ``fenced=True``, which puts a copy of every array at the end of a
page, before one that may not be touched.

What does not show: speed, a weak order of memory, contraction to FMA (none here but by ``fmaf``),
the last digits of CUDA's approximate functions, 48 KiB of static shared memory exceeded.  Blocks
cannot wait for one another.  Kernels are ``extern "C"`` and no templates; ``__device__`` variables
have an initialiser.  One launch runs at a time in a process.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.backends.kept import Store
from gpugrad.errors import KernelError

#: The host compiler (12 or later), or None.  Signals and linking are those of Linux.
COMPILER = shutil.which("g++") if sys.platform == "linux" else None
#: Rounds every operation by itself, lets integers wrap and pointers pun as CUDA does; uninitialised
#: variables hold rubbish, and an address that is not aligned traps.
FLAGS = (
    "-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fwrapv", "-fno-strict-aliasing",
    "-fno-zero-initialized-in-bss", "-ftrivial-auto-var-init=pattern", "-fsanitize=alignment",
    "-fsanitize-undefined-trap-on-error",
    "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-fPIC", "-shared", "-pipe", "-w",
)  # fmt: skip
STORE = Store("host", ".so")
_HERE = Path(__file__).parent
_LIMITS = ((2**31 - 1, 65535, 65535), (1024, 1024, 64))
_MOST_THREADS, _MOST_SHARED = 1024, 227 * 1024
_KINDS = {"p": "a pointer", "f": "a float", "i": "an integer", "s": "a struct"}

_running = threading.Lock()
if hasattr(os, "register_at_fork"):  # another thread may have held it
    os.register_at_fork(after_in_child=lambda: globals().update(_running=threading.Lock()))


class _Parameter(ctypes.Structure):
    _fields_ = [("size", ctypes.c_int), ("kind", ctypes.c_int)]


class _Kernel(ctypes.Structure):
    _fields_ = [
        ("call", ctypes.c_void_p), ("parameters", ctypes.POINTER(_Parameter)),
        ("count", ctypes.c_int), ("most_threads", ctypes.c_int),
    ]  # fmt: skip


class _Launch(ctypes.Structure):
    _fields_ = [
        ("kernel", ctypes.POINTER(_Kernel)), ("arguments", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("seed", ctypes.c_ulonglong),
        ("dynamic", ctypes.c_uint), ("seconds", ctypes.c_uint), ("fixed", ctypes.c_void_p * 2),
        ("message", ctypes.c_char_p), ("message_size", ctypes.c_uint),
    ]  # fmt: skip


class HostModule:
    """The kernels of a CUDA C++ text, compiled for this processor.

    Args:
        source: the whole text; it may have any number of kernels.

    Raises:
        KernelError: if g++ is missing or refuses the text; the message has what it said.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        if _INCLUDE.search(source):
            raise KernelError("the text includes a file, and NVRTC has no path to look for one")
        text = _expanded(source) if _MADE_BY_MACRO.search(source) else source
        self.names = kernel_names(text)
        self._library = _library(_host_text(text, self.names))

    def launch(
        self, name: str, grid: Sequence[int], block: Sequence[int], args: Sequence[Any],
        shared: int = 0, order: str | int = "forward", fenced: bool = False, seconds: int = 60,
    ) -> None:  # fmt: skip
        """Run a kernel to its end.

        Args:
            name: of an ``extern "C" __global__`` function.
            grid: blocks in up to three dims.
            block: threads of a block in up to three dims.
            args: one for each parameter: a NumPy array (the address of its data; it is used in
                place) or an address as an int for a pointer; a NumPy or ctypes scalar for a number,
                a NumPy record (``np.void``) or ctypes structure for a struct, of the exact size;
                bytes for anything, as it lies in memory.
            shared: bytes of dynamic shared memory.
            order: of threads and blocks: ``"forward"``, ``"reverse"``, or a seed.
            fenced: whether arrays end at memory that may not be touched.
            seconds: of processor time after which the launch is given up.

        Raises:
            KernelError: for an unknown kernel, arguments that do not fit, a launch beyond the
                limits, and for what goes wrong in the kernel.
        """
        kernel = self._kernel(name)
        grid3, block3 = _extents(name, "grid", grid), _extents(name, "block", block)
        _check_limits(name, kernel, grid3, block3, shared)
        fences = _Fences(args) if fenced else None
        values = fences.args if fences else args
        addresses, keep = _packed(name, kernel, values)
        message = ctypes.create_string_buffer(2000)
        fixed = (ctypes.c_void_p * 2).in_dll(self._library, "gg_host_fixed")
        launch = _Launch(
            ctypes.pointer(kernel), ctypes.addressof(addresses), grid3, block3, _seed(order),
            shared, seconds, fixed, ctypes.cast(message, ctypes.c_char_p), len(message),
        )  # fmt: skip
        with _running:
            failed = _runtime()(ctypes.byref(launch))
        del keep
        if failed:
            raise KernelError(f"kernel {name!r}: {message.value.decode(errors='replace')}")
        if fences:
            fences.give_back(name)

    def parameter_sizes(self, name: str) -> list[int]:
        """The bytes of each parameter of a kernel."""
        kernel = self._kernel(name)
        return [kernel.parameters[i].size for i in range(kernel.count)]

    def _kernel(self, name: str) -> _Kernel:
        try:
            return _Kernel.in_dll(self._library, f"gg_host_kernel_{name}")
        except ValueError:
            there = ", ".join(self.names) or "none"
            hidden = 'it must be extern "C" and no template; ' if name in self.source else ""
            raise KernelError(
                f"no kernel {name!r} in this text: {hidden}there is {there}"
            ) from None


# ---- the text --------------------------------------------------------------------------------

_NOT_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.DOTALL | re.MULTILINE
)
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b", re.MULTILINE)
#: The definition of a macro that makes kernels.
_MADE_BY_MACRO = re.compile(r"^[ \t]*#[ \t]*define\b(?:[^\n]*\\\n)*[^\n]*__global__", re.MULTILINE)
_BOUNDS = r"__launch_bounds__\s*\(((?:[^()]|\([^()]*\))*)\)"
_KERNEL = re.compile(
    rf'(extern\s+"C"\s+)?(?:{_BOUNDS}\s*)?__global__\s+(?:{_BOUNDS}\s*)?void\s+(?:{_BOUNDS}\s*)?'
    r"(\w+)\s*\("
)
_DYNAMIC = re.compile(
    r"extern\s+__shared__\s+((?:(?:__align__|alignas)\s*\([^)]*\)\s*)?)([\w:<>,\s*]+?)\s*\b(\w+)\s*"
    r"\[\s*\]\s*;"
)
_VARIABLE = re.compile(
    r"__device__\s+(?:(?!const\b|constexpr\b|__constant__)\w+\s+)+(\w+)\s*(?:\[[^\]]*\]\s*)*;"
)


def kernel_names(source: str) -> dict[str, str]:
    """The ``extern "C"`` kernels of a text, with the most threads that their bounds allow."""
    code = _NOT_CODE.sub(_blank, source)
    block = 'extern "C" {' in re.sub(r'extern\s+"C"\s*\{', 'extern "C" {', code)
    found = {}
    for match in _KERNEL.finditer(code):
        linkage, *bounds, name = match.groups()
        if linkage or block:
            text = next((b for b in bounds if b), "1024")
            found[name] = text.partition(",")[0].strip()
    return found


def _expanded(source: str) -> str:
    """The text with its own macros expanded, so that kernels made by them can be found."""
    return _run(f'#line 1 "kernel.cu"\n{source}', "-std=c++17", "-E", "-").stdout


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _host_text(source: str, names: dict[str, str]) -> str:
    """The translation unit: everything is local but a table for each kernel."""
    variable = _VARIABLE.search(_NOT_CODE.sub(_blank, source))
    if variable:
        raise KernelError(f"__device__ variable {variable[1]!r}: only constants outlive a launch")
    text = _DYNAMIC.sub(r"\1\2* const \3 = (\2*)gg_host_dynamic;", source)
    shown = '__attribute__((visibility("default"))) extern const'
    hidden = '__attribute__((visibility("hidden"))) extern'  # or those of the program are found
    tables = "".join(
        f"{shown} gg_host::Kernel gg_host_kernel_{name} = gg_host::Entry<{name}>::made({bound});\n"
        for name, bound in names.items()
    )
    return (
        f'#include "cuda_host.h"\nnamespace {{\n#line 1 "kernel.cu"\n{text}\n}}\n'
        # Static shared memory is all that is uninitialised in the library.
        f'#line 1 "tables"\nextern "C" {{\n{hidden} char __bss_start[], _end[];\n'
        f"{shown} void* const gg_host_fixed[2] = {{__bss_start, _end}};\n{tables}}}\n"
    )


# ---- compiling -------------------------------------------------------------------------------


def _compiled(text: str, *more: str) -> bytes:
    """The shared library of a translation unit, from disk or from g++ with ``more`` options."""
    name = hashlib.sha256(repr((text, FLAGS, more, _identity())).encode()).hexdigest()[:40]
    kept = STORE.read(name)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "kernel.so"
        _run(text, *FLAGS, f"-I{_HERE}", "-", "-o", str(out), *more)
        code = out.read_bytes()
    STORE.write(name, code)
    return code


def _run(text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """g++ over a text."""
    command = [str(_compiler()), "-x", "c++", *options]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"g++ does not compile the text for the host:\n{done.stderr[:4000]}")
    return done


def _compiler() -> str:
    if COMPILER is None:
        raise KernelError("running CUDA C++ on the host needs Linux and g++ in PATH")
    return COMPILER


@cache
def _identity() -> tuple[str, str, str]:
    """What decides a library's bits beside its text and flags."""
    said = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True)
    return said.stdout, platform.machine(), (_HERE / "cuda_host.h").read_text("utf-8")


def _loaded(code: bytes, mode: int) -> ctypes.CDLL:
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(code)
        file.flush()
        return ctypes.CDLL(file.name, mode)


@cache
def _runtime() -> Any:
    """The scheduler; modules find its symbols, and by it those of the maths library.

    To look into that for each module costs a quarter of the time that it takes to make one.
    """
    text = (_HERE / "cuda_host.cpp").read_text("utf-8")
    options = ("-fvisibility=default", "-Wl,--no-as-needed", "-lm", "-lgcc_s")
    launch = _loaded(_compiled(text, *options), ctypes.RTLD_GLOBAL).gg_host_launch
    launch.restype = ctypes.c_int
    return launch


@cache
def _library(text: str) -> ctypes.CDLL:
    _runtime()
    return _loaded(_compiled(text, "-nostdlib"), ctypes.RTLD_LOCAL)


# ---- a launch --------------------------------------------------------------------------------


def _seed(order: str | int) -> int:
    """0 is forward, 1 reverse."""
    if isinstance(order, int):
        return 2 + order
    return ("forward", "reverse").index(order)


def _extents(name: str, what: str, given: Sequence[int]) -> Any:
    values = [int(n) for n in given]
    if not 1 <= len(values) <= 3 or min(values) < 1:
        raise KernelError(f"kernel {name!r}: a {what} has 1 to 3 dims of at least 1, got {given!r}")
    return (ctypes.c_uint * 3)(*values, *[1] * (3 - len(values)))


def _check_limits(name: str, kernel: _Kernel, grid: Any, block: Any, shared: int) -> None:
    for what, dims, limits in (("grid", grid, _LIMITS[0]), ("block", block, _LIMITS[1])):
        if any(n > most for n, most in zip(dims, limits, strict=True)):
            raise KernelError(f"kernel {name!r}: {what} {tuple(dims)} is beyond {limits}")
    threads = block[0] * block[1] * block[2]
    most = min(_MOST_THREADS, kernel.most_threads)
    if threads > most:
        raise KernelError(f"kernel {name!r}: {threads} threads in a block, it may have {most}")
    if not 0 <= shared <= _MOST_SHARED:
        raise KernelError(
            f"kernel {name!r}: {shared} bytes of shared memory, there are {_MOST_SHARED}"
        )


def _packed(name: str, kernel: _Kernel, args: Sequence[Any]) -> tuple[Any, Any]:
    """The addresses of the arguments' values, as the driver takes them, and what holds them."""
    if len(args) != kernel.count:
        raise KernelError(
            f"kernel {name!r} has {kernel.count} parameters, got {len(args)} arguments"
        )
    addresses = (ctypes.c_void_p * (len(args) + 1))()
    values = [_value(name, i, a, kernel.parameters[i]) for i, a in enumerate(args)]
    space = ctypes.create_string_buffer(16 * sum(2 + len(v) // 16 for v in values) + 16)
    place = -(-ctypes.addressof(space) // 16) * 16
    for i, value in enumerate(values):
        ctypes.memmove(place, value, len(value))
        addresses[i] = place
        place += (len(value) // 16 + 1) * 16
    return addresses, space


def _value(name: str, index: int, arg: Any, parameter: _Parameter) -> bytes:
    """The bytes of one argument."""
    wanted, kind = chr(parameter.kind), type(arg).__name__
    if isinstance(arg, bytes):
        given, value = wanted, arg
    elif isinstance(arg, np.ndarray):
        given, value = "p", int(arg.ctypes.data).to_bytes(8, "little")
    elif isinstance(arg, int) and not isinstance(arg, bool) and wanted == "p":
        given, value = "p", arg.to_bytes(8, "little")
    elif isinstance(arg, np.generic):
        given, value = {"f": "f", "V": "s", "c": "s"}.get(arg.dtype.kind, "i"), arg.tobytes()
        if len(value) == 2 and wanted in "is":  # 16-bit floats are no type in text without headers
            given = wanted
    elif isinstance(arg, ctypes.Structure | ctypes.Array):
        given, value = "s", bytes(arg)
    elif isinstance(arg, ctypes._SimpleCData):
        code = str(type(arg).__dict__["_type_"])
        given = "p" if code in "Pz" else "f" if code in "fd" else "i"
        value = bytes(arg)
    else:
        raise KernelError(
            f"kernel {name!r}, argument {index}: {kind} has no fixed width; give an array, a NumPy "
            "or ctypes scalar, or a structure"
        )
    if given != wanted or len(value) != parameter.size:
        raise KernelError(
            f"kernel {name!r}, argument {index}: the parameter is {_KINDS[wanted]} of "
            f"{parameter.size} bytes, got {_KINDS[given]} of {len(value)} ({kind})"
        )
    return value


class _Fences:
    """Copies of arrays that end where a page begins that may not be touched."""

    def __init__(self, args: Sequence[Any]) -> None:
        #: By identity: the array, its copy, and the pages that hold that.
        self._copies: dict[int, tuple[Any, Any, Any]] = {}
        self.args = [self._copy(a) if isinstance(a, np.ndarray) else a for a in args]

    def _copy(self, array: np.ndarray[Any, Any]) -> Any:
        if not array.flags.c_contiguous:
            raise KernelError("fenced arrays must be contiguous")
        if id(array) in self._copies:
            return self._copies[id(array)][1]
        for other, _, _ in self._copies.values():
            if np.may_share_memory(array, other):
                raise KernelError("fenced arrays may not overlap, unless it is one array twice")
        page = mmap.PAGESIZE
        size = -(-array.nbytes // 16) * 16
        whole = -(-size // page) * page
        memory = mmap.mmap(-1, whole + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        bytes_ = np.frombuffer(memory, np.uint8)
        bytes_[:whole] = 255
        copy = bytes_[whole - size :][: array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        _protect(start + whole, page, 0)
        self._copies[id(array)] = array, copy, bytes_
        return copy

    def give_back(self, name: str) -> None:
        """Copy what was written to the arrays; what lies around must be as it was."""
        for array, copy, memory in self._copies.values():
            whole = memory.size - mmap.PAGESIZE
            after = whole - (-array.nbytes % 16)
            around = memory[: after - array.nbytes], memory[after:whole]
            if any((part != 255).any() for part in around):
                raise KernelError(f"kernel {name!r} wrote beside an array of {array.nbytes} bytes")
            if array.flags.writeable:
                array[...] = copy
            elif array.tobytes() != copy.tobytes():
                raise KernelError(f"kernel {name!r} wrote to an array that is read-only")


def _protect(address: int, size: int, how: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), how):
        raise OSError(ctypes.get_errno(), "mprotect")
