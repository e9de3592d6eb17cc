"""Printed kernels as machine code: compiled by Numba once, kept on disk as object files.

A kernel that is on disk is loaded by llvmlite alone, in about a millisecond and without importing
Numba.  Its name is a hash of everything that decides its bits: the source, the maths library, the
versions, the processor.  A file carries its own checksum; one that is damaged is compiled anew and
replaced.  Writing is by rename, so processes may race; where it fails, the kernel lives in memory.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from gpugrad import dtypes
from gpugrad.backends.kept import Store
from gpugrad.codegen.levels import Layout
from gpugrad.codegen.loops import Printed
from gpugrad.errors import KernelError, NotSupportedError

_lock = threading.RLock()
#: Engines own the memory of the code, so they live as long as the process.
_engines: list[Any] = []
_loaded: dict[str, Any] = {}
if hasattr(os, "register_at_fork"):  # another thread may have held the lock
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.RLock()))
#: Object files, by the hash that names a kernel.
STORE = Store("cpu", ".o")


@cache
def _target() -> tuple[Any, str]:
    """LLVM's target machine for this processor, and a text that identifies it."""
    import llvmlite
    import llvmlite.binding as llvm

    with suppress(RuntimeError):  # older llvmlite must be told, newer says there is no need
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_default_triple()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="static", codemodel="jitdefault", jit=True
    )
    return machine, f"{llvmlite.__version__} {triple} {cpu} {features}"


@cache
def has_half() -> bool:
    """Whether the processor converts float16 by itself."""
    import llvmlite.binding as llvm

    return bool(llvm.get_host_cpu_features().get("f16c")) or "aarch64" in llvm.get_process_triple()


@cache
def _versions() -> str:
    from importlib.metadata import version

    maths = (Path(__file__).parent / "maths.py").read_text(encoding="utf-8")
    return f"{version('numba')} {_target()[1]} {hashlib.sha256(maths.encode()).hexdigest()}"


@cache
def defined() -> frozenset[str]:
    """The functions of the maths library, read off its text: Numba need not be there for that."""
    text = (Path(__file__).parent / "maths.py").read_text(encoding="utf-8")
    found = re.findall(r"^def (\w+)\(", text, re.MULTILINE)
    for names in re.findall(r"^([\w =]+?) = _exact\(", text, re.MULTILINE):
        found += names.split(" = ")
    return frozenset(found)


def load(printed: Printed, layout: Layout) -> Any:
    """The address of a kernel, from memory, from disk or from the compiler, as a ctypes function.

    Raises:
        NotSupportedError: if it calls a function that the maths library has not.
    """
    missing = set(printed.called) - defined()
    if missing:
        raise NotSupportedError(f"no vector form of {', '.join(sorted(missing))} on the CPU")
    if {dtypes.float16} & {*layout.held, *layout.stored} and not has_half():
        raise NotSupportedError("this processor has no float16")
    types = [*(_MEMORY[d] for d in layout.held), *(_MEMORY[d] for d in layout.stored)]
    if layout.table:
        types = [f"{types[0]}*", "int64"]
    text = f"{printed.source}\n{types}"
    name = hashlib.sha256(f"{text}\n{_versions()}".encode()).hexdigest()[:40]
    with _lock:
        found = _loaded.get(name)
        if found is None:
            code = STORE.read(name)
            if code is not None:
                found = _loaded[name] = _link(name, code, len(types))
        if found is None:
            found = _loaded[name] = _compile(name, printed.source, types)
    return found


#: What a pointer points to; 16-bit floats and bools are read as integers.
_MEMORY = {
    dtypes.float64: "float64", dtypes.float32: "float32", dtypes.float16: "uint16",
    dtypes.bfloat16: "uint16", dtypes.int64: "int64", dtypes.int32: "int32",
    dtypes.int16: "int16", dtypes.int8: "int8", dtypes.uint8: "uint8", dtypes.bool_: "uint8",
}  # fmt: skip


def _link(name: str, code: bytes, arrays: int) -> Any:
    import llvmlite.binding as llvm

    machine = llvm.Target.from_triple(llvm.get_default_triple()).create_target_machine(
        codemodel="jitdefault", jit=True
    )
    _target()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    # Numba's convention: where to put a result and an exception, of which there are none.
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, pointer, pointer, *[word] * 3,
                                 *[pointer] * (2 + arrays))  # fmt: skip
    return prototype(engine.get_function_address(f"gpugrad_{name}"))


def _compile(name: str, source: str, types: list[str]) -> Any:
    import llvmlite.binding as llvm

    machine, _ = _target()
    try:
        text = re.sub(r"@\S*kernel\S*\(", f"@gpugrad_{name}(", _assembly(source, types))
        module = llvm.parse_assembly(text)
        module.verify()
        code = machine.emit_object(module)
    except ImportError:
        raise
    except Exception as error:
        raise KernelError(
            f"a kernel for {', '.join(types)} did not compile: {error}\nIts source:\n{source}"
        ) from error
    STORE.write(name, code)
    return _link(name, code, len(types))


def _assembly(source: str, types: list[str]) -> str:
    """LLVM's text of a kernel, optimised."""
    import llvmlite.binding as llvm
    import numba
    from numba import njit

    _more_checks(llvm)
    scope = _scope()
    exec(compile(source, "<gpugrad kernel>", "exec"), scope)
    word: Any = numba.int64
    pointer: Any = numba.types.CPointer
    kinds = [pointer(getattr(numba, t[:-1])) if t.endswith("*") else getattr(numba, t)
             for t in types]  # fmt: skip
    signature = numba.void(word, word, word, pointer(numba.float64), pointer(numba.float32),
                           *map(pointer, kinds))  # fmt: skip
    options: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    kernel = njit(signature, error_model="numpy", nogil=True, **options)(scope.pop("kernel"))
    (text,) = kernel.inspect_llvm().values()
    return str(text)


@cache
def _more_checks(llvm: Any) -> None:
    # Before a loop runs as vectors, its arrays are compared pairwise for overlap.  LLVM gives up
    # at more than 8 comparisons by default; an optimiser's step needs more.
    llvm.set_option("gpugrad", "-runtime-memory-check-threshold=128")


@cache
def _names() -> dict[str, Any]:
    import numba

    from gpugrad.codegen import maths

    scope: dict[str, Any] = {n: getattr(maths, n) for n in defined() | {"plus"}}
    for n in ("from_half", "to_half", "to_bits", "from_bits"):
        scope[n] = getattr(maths, n)
    casts = {"float": numba.float32, "double": numba.float64, "longlong": numba.int64,
             "int": numba.int32, "short": numba.int16, "signedchar": numba.int8,
             "unsignedchar": numba.uint8, "bool": bool, "byte": numba.uint8}  # fmt: skip
    scope |= {f"to_{n}": t for n, t in casts.items()}
    return scope | {"INF": float("inf"), "NAN": float("nan"), "LEAST": numba.int32(-(2**31))}


def _scope() -> dict[str, Any]:
    return dict(_names())


Kernel = Callable[..., int]
