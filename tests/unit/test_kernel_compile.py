"""CUDA C++ to machine code without a GPU: what comes out, what is kept, what an error says.

NVRTC comes with the extra ``test``; where it is not installed, what needs it is skipped.
"""

import os
import struct
import subprocess
import sys
import threading
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpugrad.backends.nvidia import compile as compiling
from gpugrad.backends.nvidia.compile import STORE, Usage, compiled, compiled_all, usage_in
from gpugrad.backends.nvidia.text import text
from gpugrad.config import config
from gpugrad.errors import DeviceError, KernelError, SettingError

ROOT = Path(__file__).parents[2]
PLAIN = """
extern "C" __global__ void scale(float* x, float a) { x[threadIdx.x] *= a; }
extern "C" __global__ void turn(float* x) {
    __shared__ float row[256];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = row[255 - threadIdx.x];
}
"""
# 128 numbers alive at once; 2 blocks of 1024 threads leave each thread 65536 / 2048 = 32 registers.
HUNGRY = """
__device__ __forceinline__ void churn(const float* x, float* y) {
    float a[128];
    #pragma unroll
    for (int i = 0; i < 128; i++) a[i] = x[i * 1024 + threadIdx.x];
    #pragma unroll 1
    for (int k = 0; k < 100; k++) {
        #pragma unroll
        for (int i = 0; i < 128; i++) a[i] = a[i] * a[(i * 7 + 3) % 128] + 1.f;
    }
    #pragma unroll
    for (int i = 0; i < 128; i++) y[i * 1024 + threadIdx.x] = a[i];
}
__device__ __noinline__ void apart(const float* x, float* y) { churn(x, y); }
extern "C" __global__ void __launch_bounds__(1024, 2) spills(const float* x, float* y) {
    churn(x, y);
}
extern "C" __global__ void __launch_bounds__(1024, 2) spills_apart(const float* x, float* y) {
    apart(x, y);
}
extern "C" __global__ void roomy(const float* x, float* y) { churn(x, y); }
"""
BROKEN = 'extern "C" __global__ void k() {\n    int x = y;\n    foo();\n}\n'


def _has_nvrtc() -> bool:
    try:
        return find_spec("cuda.core") is not None and bool(compiling.version())
    except (ImportError, DeviceError):
        return False


needs_nvrtc = pytest.mark.skipif(
    not _has_nvrtc(), reason="NVRTC is missing: pip install 'gpugrad[test]'"
)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and nothing in memory."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    monkeypatch.setattr(compiling, "_memory", compiling._Memory())
    return tmp_path


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The thread of every call of the compiler."""
    calls: list[int] = []
    real = compiling._compile

    def counted(*args: str) -> Any:
        calls.append(threading.get_ident())
        return real(*args)

    monkeypatch.setattr(compiling, "_compile", counted)
    return calls


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_memory", compiling._Memory())


# ---- the compiler --------------------------------------------------------------------------------


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
def test_many_kernels_in_one_module(arch: str, fresh: Path) -> None:
    """One text gives one ELF file with all its kernels, and says what each of them uses."""
    found = compiled(PLAIN, arch)
    assert found.image.startswith(b"\x7fELF")
    assert b".text.scale\0" in found.image
    assert b".text.turn\0" in found.image
    assert sorted(found.usage) == ["scale", "turn"]
    assert found.usage["turn"].shared == 256 * 4
    for used in found.usage.values():
        assert (used.spill_stores, used.spill_loads, used.stack) == (0, 0, 0)
        assert 0 < used.registers <= 32


@needs_nvrtc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
def test_spills_are_seen(arch: str, fresh: Path) -> None:
    """Also those of a function that was not inlined; with more registers there are none."""
    usage = compiled(HUNGRY, arch).usage
    for name in ("spills", "spills_apart"):
        assert usage[name].spill_stores > 0
        assert usage[name].spill_loads > 0
        assert usage[name].registers <= 32
    assert usage["spills"].stack > 0
    roomy = usage["roomy"]
    assert (roomy.spill_stores, roomy.spill_loads) == (0, 0)
    assert roomy.registers > 128


def section(elf: bytes, wanted: str) -> bytes:
    """The bytes of one section of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    # Of each section: where its name is, where it is, how long it is.
    heads = [struct.unpack_from("<I20xQQ", elf, table + i * size) for i in range(count)]
    start = heads[names][1]
    return next(elf[at : at + length] for name, at, length in heads
                if elf[start + name :].startswith(wanted.encode() + b"\0"))  # fmt: skip


@needs_nvrtc
def test_arithmetic_is_ieee_with_contraction(fresh: Path) -> None:
    """Denormals are kept, division and roots are exact, and a * b + c is one FMA."""
    from cuda.core import Program, ProgramOptions

    source = 'extern "C" __global__ void k(float* x) { x[0] = x[1] * x[2] + sqrtf(x[3]) / x[4]; }'

    def built(**settings: bool) -> bytes:
        options = ProgramOptions(name="kernel.cu", arch="sm_90", std="c++17", **settings)
        return section(Program(source, "c++", options).compile("cubin").code, ".text.k")

    exact = {"ftz": False, "prec_div": True, "prec_sqrt": True, "fma": True}
    ours = section(compiled(source, "sm_90").image, ".text.k")
    assert ours == built(**exact)
    for name, value in exact.items():
        assert ours != built(**exact | {name: not value})


# ---- the log of ptxas ----------------------------------------------------------------------------

LOGS = {
    "13": """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Function properties for two
ptxas         .     360 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 360 bytes cumulative stack size
ptxas info    : Compile time = 85.984 ms
ptxas info    : Function properties for _Z5heavyPKfPf
ptxas         .     0 bytes stack frame, 680 bytes spill stores, 724 bytes spill loads
ptxas info    : Compiling entry function '_Z2ttIfEvPT_' for 'sm_90'
ptxas info    : Function properties for _Z2ttIfEvPT_
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0]
""",
    "12": """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Function properties for two
    360 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, 360 bytes cumulative stack size, 544 bytes cmem[0]
ptxas info    : Function properties for _Z5heavyPKfPf
    0 bytes stack frame, 680 bytes spill stores, 724 bytes spill loads
ptxas info    : Compiling entry function '_Z2ttIfEvPT_' for 'sm_90'
ptxas info    : Function properties for _Z2ttIfEvPT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, 1024 bytes smem, 544 bytes cmem[0]
""",
}


@pytest.mark.parametrize("toolkit", LOGS)
def test_the_log_is_read(toolkit: str) -> None:
    """Numbers go to the kernel that they belong to."""
    assert usage_in(LOGS[toolkit]) == {
        "two": Usage(255, 688, 736, 360, 0), "_Z2ttIfEvPT_": Usage(10, 0, 0, 0, 1024),
    }  # fmt: skip
    assert usage_in("") == {}


# ---- on disk -------------------------------------------------------------------------------------

PROGRAM = f"""
import hashlib, sys
from gpugrad.backends.nvidia.compile import compiled
found = compiled({HUNGRY!r}, "sm_90")
print(hashlib.sha256(found.image).hexdigest())
print(found.usage)
print("cuda.core" in sys.modules)
"""


def python(folder: Path) -> subprocess.Popen[str]:
    env = os.environ | {"GPUGRAD_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


@needs_nvrtc
def test_processes_at_once_and_after(fresh: Path) -> None:
    """Two processes that compile one text together agree; a third needs no compiler."""
    together = [python(fresh) for _ in range(2)]
    outs = [p.communicate(timeout=120) for p in together]
    assert [p.returncode for p in together] == [0, 0], outs
    later = python(fresh)
    out, err = later.communicate(timeout=120)
    assert later.returncode == 0, err
    lines = [o.splitlines() for o, _ in outs] + [out.splitlines()]
    assert lines[0][:2] == lines[1][:2] == lines[2][:2]
    assert "spill_stores=0" in lines[2][1]
    assert lines[2][2] == "False"
    assert [p.suffix for p in fresh.rglob("*") if p.is_file()] == [".cubin"]


@needs_nvrtc
@pytest.mark.parametrize("harm", [b"", 0.5, -1], ids=["empty", "cut", "changed"])
def test_a_damaged_file_is_compiled_anew(
    harm: Any, fresh: Path, count: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not trusted, and replaced by what was there before."""
    want = compiled(PLAIN, "sm_90")
    (file,) = fresh.rglob("*.cubin")
    good = file.read_bytes()
    forget(monkeypatch)
    assert compiled(PLAIN, "sm_90") == want
    assert len(count) == 1  # from disk
    bad = harm if harm == b"" else good[: len(good) // 2] if harm == 0.5 else good[:-1] + b"x"
    file.write_bytes(bad)
    forget(monkeypatch)
    assert compiled(PLAIN, "sm_90") == want
    assert len(count) == 2
    assert file.read_bytes() == good


@needs_nvrtc
def test_a_folder_that_cannot_be_written(
    fresh: Path, count: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result lives in memory then."""
    monkeypatch.setattr(config, "cache_dir", "/proc/nowhere")
    assert compiled(PLAIN, "sm_90") is compiled(PLAIN, "sm_90")
    assert len(count) == 1
    forget(monkeypatch)
    compiled(PLAIN, "sm_90")
    assert len(count) == 2


@needs_nvrtc
def test_what_decides_the_bits_decides_the_file(
    fresh: Path, count: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another text, architecture, option or version of NVRTC is another file."""
    compiled(PLAIN, "sm_90")
    compiled(PLAIN + " ", "sm_90")
    compiled(PLAIN, "sm_80")
    with monkeypatch.context() as patch:
        patch.setattr(compiling, "_OPTIONS", compiling._OPTIONS | {"fma": False})
        compiled(PLAIN, "sm_90")
    with monkeypatch.context() as patch:
        patch.setattr(compiling, "version", lambda: (99, 0))
        compiled(PLAIN, "sm_90")
    assert len(list(fresh.rglob("*.cubin"))) == len(count) == 5


# ---- threads -------------------------------------------------------------------------------------


@needs_nvrtc
def test_threads_compile_a_text_once(fresh: Path, count: list[int]) -> None:
    """Those that come while it is compiled wait for the result."""
    results: list[Any] = []
    gate = threading.Barrier(8)

    def work() -> None:
        gate.wait()
        results.append(compiled(PLAIN, "sm_90"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 8
    assert all(r is results[0] for r in results)
    assert len(count) == 1


@needs_nvrtc
def test_many_texts_in_threads(fresh: Path, count: list[int]) -> None:
    """Results come in the order of the texts, and more than one thread made them."""
    texts = [f'extern "C" __global__ void k{i}(float* x) {{ x[{i}] = {i}; }}' for i in range(8)]
    found = compiled_all(texts, "sm_90", threads=3)
    assert [list(f.usage) for f in found] == [[f"k{i}"] for i in range(8)]
    assert len(count) == 8
    assert threading.get_ident() not in count
    assert 1 < len(set(count)) <= 3
    assert compiled_all([], "sm_90") == []
    with pytest.raises(KernelError, match="identifier"):
        compiled_all([*texts, BROKEN], "sm_90", threads=2)
    with pytest.raises(SettingError, match="at least 1, got 0"):
        compiled_all(texts, "sm_90", threads=0)


@needs_nvrtc
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_another_thread_compiles(fresh: Path) -> None:
    """The child does not wait for a lock that nobody will open."""
    code = f"""
import os, signal, threading, time
from gpugrad.backends.nvidia import compile as compiling
signal.alarm(100)
real, entered = compiling._compile, threading.Event()
def slow(*args):
    entered.set()
    time.sleep(3)
    return real(*args)
compiling._compile = slow
compiling.version()
thread = threading.Thread(target=compiling.compiled, args=({PLAIN!r}, "sm_90"))
thread.start()
entered.wait()
pid = os.fork()
if not pid:
    signal.alarm(60)
    compiling._compile = real
    os._exit(0 if compiling.compiled({PLAIN!r}, "sm_90").usage else 1)
status = os.waitpid(pid, 0)[1]
thread.join()
assert status == 0, status
"""
    env = os.environ | {"GPUGRAD_CACHE_DIR": str(fresh), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True,
                          env=env)  # fmt: skip
    assert done.returncode == 0, done.stderr


# ---- errors --------------------------------------------------------------------------------------


@needs_nvrtc
def test_a_text_that_does_not_compile(fresh: Path) -> None:
    """The error says for what, where and why; the file has the text, its lines where they were."""
    with pytest.raises(KernelError) as caught:
        compiled(BROKEN, "sm_90", "gelu (float32[64, 256])")
    said = str(caught.value)
    assert said.startswith("gelu (float32[64, 256]): a kernel did not compile for sm_90 (NVRTC ")
    assert 'kernel.cu(2): error: identifier "y" is undefined' in said
    (file,) = (fresh / "cuda" / "failed").iterdir()
    assert said.endswith(f"The source is kept in {file}")
    kept = file.read_text()
    assert kept.startswith(BROKEN)
    assert '// kernel.cu(3): error: identifier "foo" is undefined' in kept
    assert "gelu (float32[64, 256])" in kept
    assert not list(fresh.rglob("*.cubin"))
    with pytest.raises(KernelError, match="identifier"):  # it fails again, and hangs on no lock
        compiled(BROKEN, "sm_90")


@needs_nvrtc
def test_the_source_is_in_the_message_where_it_cannot_be_kept(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a report has it in any case."""
    monkeypatch.setattr(config, "cache_dir", "/proc/nowhere")
    with pytest.raises(KernelError) as caught:
        compiled(BROKEN, "sm_90")
    assert "could not be kept in /proc/nowhere" in str(caught.value)
    assert str(caught.value).endswith(BROKEN)


@needs_nvrtc
def test_the_log_of_a_long_failure_is_cut(fresh: Path) -> None:
    """The message has the first lines; the file has them all."""
    source = "".join(f"int a{i} = b{i};\n" for i in range(60))
    with pytest.raises(KernelError) as caught:
        compiled(source, "sm_90")
    said = str(caught.value)
    assert '"b0"' in said
    assert '"b40"' not in said
    assert len(said.splitlines()) < 20
    assert '"b40"' in next((STORE.folder / "failed").iterdir()).read_text()


def one_line(error: pytest.ExceptionInfo[DeviceError]) -> str:
    said = str(error.value)
    assert "\n" not in said
    assert "pip install 'gpugrad[cuda13]' (or cuda12 for a CUDA 12 driver)" in said
    return said


def test_cuda_core_is_missing(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command that mends it."""
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    monkeypatch.setattr(compiling, "version", lambda: (13, 0))
    with pytest.raises(DeviceError) as caught:
        compiled(PLAIN, "sm_90")
    assert "needs cuda-core, which is not importable" in one_line(caught)


def test_cuda_bindings_is_missing(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command that mends it."""
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setattr(compiling, "version", compiling.version.__wrapped__)
    with pytest.raises(DeviceError) as caught:
        compiled(PLAIN, "sm_90")
    assert "needs cuda-bindings, which is not importable" in one_line(caught)


class Lost(RuntimeError):
    """As NVIDIA's loader says that a library is not there: over several lines."""

    def __init__(self) -> None:
        super().__init__("Failure finding libnvrtc.so\n  listdir('/usr/lib'):\n  ...")


def _nvrtc(**functions: Any) -> Any:
    bindings = types.ModuleType("cuda.bindings")
    bindings.nvrtc = types.SimpleNamespace(**functions)  # type: ignore[attr-defined]
    return bindings


def test_nvrtc_is_missing_or_broken(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bindings are there, the library is not, or answers with an error."""

    def lost() -> None:
        raise Lost

    monkeypatch.setattr(compiling, "version", compiling.version.__wrapped__)
    monkeypatch.setitem(sys.modules, "cuda.bindings", _nvrtc(nvrtcVersion=lost))
    with pytest.raises(DeviceError) as caught:
        compiled(PLAIN, "sm_90")
    assert "needs NVRTC, which does not load (Failure finding libnvrtc.so)" in one_line(caught)
    monkeypatch.setitem(sys.modules, "cuda.bindings", _nvrtc(nvrtcVersion=lambda: (7,)))
    with pytest.raises(DeviceError) as caught:
        compiled(PLAIN, "sm_90")
    assert "does not answer nvrtcVersion: 7" in one_line(caught)


# ---- which architecture --------------------------------------------------------------------------


def test_what_to_compile_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own; an earlier minor's machine code; a device of a later major takes PTX."""
    monkeypatch.setattr(compiling, "supported", lambda: [75, 80, 86, 90, 100, 120])
    wanted = {(9, 0): "sm_90", (8, 9): "sm_86", (10, 3): "sm_100", (11, 0): "compute_100",
              (12, 1): "sm_120", (13, 0): "compute_120"}  # fmt: skip
    assert {c: compiling.arch_for(*c) for c in wanted} == wanted
    monkeypatch.setattr(compiling, "version", lambda: (13, 1))
    with pytest.raises(DeviceError, match=r"7\.0 is older than NVRTC 13\.1 .*7\.5.*cuda12"):
        compiling.arch_for(7, 0)


@needs_nvrtc
def test_nvrtc_knows_the_architectures_that_matter() -> None:
    """Those of the A100, the H100 and the B200."""
    assert {80, 90, 100} <= set(compiling.supported())
    assert compiling.supported() == sorted(compiling.supported())


@needs_nvrtc
def test_ptx_is_asked_for_as_ptx(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver cuda.core makes no PTX, so this only shows what it is asked."""
    import cuda.core

    asked = []

    class Program:
        def __init__(self, source: str, language: str, options: Any) -> None:
            asked.append((source, language, options.arch))

        def compile(self, kind: str, logs: Any) -> Any:
            asked.append(kind)
            return types.SimpleNamespace(code=b".version 9.0")

    monkeypatch.setattr(cuda.core, "Program", Program)
    found = compiled(PLAIN, "compute_120")
    assert asked == [(PLAIN, "c++", "compute_120"), "ptx"]
    assert (found.image, found.usage) == (b".version 9.0", {})


# ---- text ----------------------------------------------------------------------------------------


def test_the_text_of_a_file() -> None:
    """As it lies in kernels/; a name that is not there is refused with those that are."""
    assert text("elementwise.cuh") == (ROOT / "kernels" / "elementwise.cuh").read_text("utf-8")
    with pytest.raises(FileNotFoundError, match=r"'nothing\.cu'; there is .*elementwise\.cuh"):
        text("nothing.cu")
    with pytest.raises(FileNotFoundError, match="README"):
        text("README.md")


def test_text_joins_to_a_kernel(fresh: Path) -> None:
    """A file of kernels/ is plain text that may stand before one's own."""
    if not _has_nvrtc():
        pytest.skip("NVRTC is missing: pip install 'gpugrad[test]'")
    own = 'extern "C" __global__ void k(float* x) { x[0] = gg_maximum(x[1], x[2]); }'
    assert list(compiled(text("elementwise.cuh") + own, "sm_90").usage) == ["k"]
