"""Machine code on disk: damage, races and folders that cannot be written change no result."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.backends import kept
from gpugrad.codegen import host, machine
from gpugrad.codegen.target import TARGETS
from gpugrad.config import config
from gpugrad.errors import KernelError

ROOT = Path(__file__).parents[2]
SIZE = host.LARGE + 5
PROGRAM = f"""
import sys
import gpugrad as gg
x = gg.linspace(-3, 3, {SIZE})
print(float(gg.tanh(x).double().sum()).hex())
print("numba" in sys.modules)
"""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder and no kernel in memory."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    monkeypatch.setattr(machine, "_loaded", {})
    monkeypatch.setattr(TARGETS[np.ndarray], "_programs", {})
    return tmp_path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_loaded", {})
    monkeypatch.setattr(TARGETS[np.ndarray], "_programs", {})


def tanh() -> bytes:
    return gg.tanh(gg.linspace(-3, 3, SIZE)).numpy().tobytes()


def python(folder: Path) -> subprocess.Popen[str]:
    env = os.environ | {"GPUGRAD_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


@pytest.mark.parametrize(
    "harm",
    [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:-40] + b"x" * 40,
     lambda b: b"nonsense" + b],
    ids=["empty", "cut", "changed", "foreign"],
)  # fmt: skip
def test_a_damaged_file_is_compiled_anew(harm, fresh: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A file that is not what was written is not run; it is replaced."""
    want = tanh()
    (file,) = fresh.rglob("*.o")
    good = file.read_bytes()
    file.write_bytes(harm(good))
    forget(monkeypatch)
    assert tanh() == want
    assert file.read_bytes()[: len(kept.MAGIC)] == kept.MAGIC
    assert len(file.read_bytes()) == len(good)


def test_a_warm_cache_needs_no_compiler(fresh: Path) -> None:
    """The second process loads what the first one compiled, and does not import Numba."""
    outputs = []
    for _ in range(2):
        process = python(fresh)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        outputs.append(out.split())
    assert outputs[0][0] == outputs[1][0]
    assert [o[1] for o in outputs] == ["True", "False"]


def test_processes_may_compile_the_same_kernel_at_once(fresh: Path) -> None:
    """Three processes that start together agree, and leave one whole file."""
    processes = [python(fresh) for _ in range(3)]
    outs = [p.communicate(timeout=120) for p in processes]
    assert all(p.returncode == 0 for p in processes), outs
    assert len({o.split()[0] for o, _ in outs}) == 1
    assert [p.suffix for p in fresh.rglob("*") if p.is_file()] == [".o"]


def test_a_folder_that_cannot_be_written(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lives in memory then; so it does on a full disk."""
    want = tanh()
    forget(monkeypatch)
    monkeypatch.setattr(config, "cache_dir", "/proc/nowhere")
    assert tanh() == want
    forget(monkeypatch)
    monkeypatch.setattr(config, "cache_dir", str(fresh / "other"))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    assert tanh() == want
    assert not [p for p in (fresh / "other").rglob("*") if p.is_file()]


def test_user_threads() -> None:
    """Many threads run kernels at once, each sharing the same workers."""
    x = gg.linspace(-3, 3, 1 << 18)
    want = gg.tanh(x).numpy()
    wrong: list[bool] = []

    def work() -> None:
        for _ in range(20):
            same = np.array_equal(gg.tanh(x).numpy(), want)
            wrong.append(not same)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not any(wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_its_own_workers() -> None:
    """Threads do not survive a fork; the child makes new ones."""
    code = """
import os, signal, numpy as np, gpugrad as gg
signal.alarm(60)
from gpugrad.codegen import host
gg.config.num_threads = 2
x = gg.linspace(-3, 3, 1 << 18)
want = gg.tanh(x).numpy()
pid = os.fork()
if not pid:
    signal.alarm(30)
    os._exit(0 if np.array_equal(gg.tanh(x).numpy(), want) else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=120, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_exact_kernels_are_the_array_code() -> None:
    """What is left to NumPy for the first calls gives the same bits from the kernel later."""
    a, b = gg.randn(300, 301), gg.randn(301)
    seen = {((a * b - 0.3) / b).numpy().tobytes() for _ in range(host.PATIENCE + 2)}
    assert len(seen) == 1


@pytest.mark.parametrize("layout", ["transposed", "strided", "unaligned", "read-only"])
def test_layouts(layout: str) -> None:
    """What a kernel cannot read as it lies is left to the array code; read-only memory is fine."""
    base = np.random.default_rng(0).standard_normal((600, 602)).astype(np.float32)
    array = {
        "transposed": base.T, "strided": base[:, ::2],
        "unaligned": np.frombuffer(b"x" + base.tobytes(), np.uint8)[1:].view(np.float32),
        "read-only": np.broadcast_to(base, base.shape),
    }[layout]  # fmt: skip
    t = gg.tensor(0.0)
    t._array = array
    np.testing.assert_allclose(gg.tanh(t).numpy(), np.tanh(array), rtol=3e-7)


SHAPES = [
    ((300, 301), (301,)), ((300, 301), (300, 1)), ((300, 301), (1, 1)), ((300, 301), (1, 301)),
    ((4, 150, 301), (150, 301)), ((4, 150, 301), (4, 1, 1)), ((4, 150, 301), (4, 150, 1)),
    ((4, 150, 301), (1, 150, 1)), ((300, 301), ()), ((30000, 3), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasting(shapes: tuple[tuple[int, ...], ...]) -> None:
    """A bias, a value per row, one value: by kernels or not, values and gradients are right."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in shapes]
    results = []
    for dtype in (gg.float32, gg.float64):
        a, b = (gg.tensor(x, dtype=dtype, requires_grad=True) for x in arrays)
        for _ in range(host.PATIENCE + 1):  # exact ones wait before they are compiled
            a.grad = b.grad = None
            out = (a * b).tanh() + b
            out.backward(gg.ones(shapes[0], dtype=dtype))
        results.append([t.detach().double().numpy() for t in (out, a.grad, b.grad)])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())


def test_without_numba_numpy_works(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Numba that cannot be imported is told once, with what mends it, and costs only time."""
    monkeypatch.setitem(sys.modules, "numba", None)
    host._without_compiler.cache_clear()
    with pytest.warns(UserWarning, match="pip install -U numba"):
        first = tanh()
    assert tanh() == first
    host._without_compiler.cache_clear()


def test_a_failed_compilation_shows_the_source(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the op, and the source for a report."""
    monkeypatch.setattr(machine, "_scope", dict)
    with pytest.raises(KernelError, match=r"did not compile(.|\n)*def kernel\("):
        tanh()


@pytest.mark.parametrize("dtype", [gg.float16, gg.bfloat16], ids=lambda d: d.name)
def test_16_bit_elementwise(dtype: gg.dtype) -> None:
    """Every elementwise way of a 16-bit float gives its dtype, and float32's value rounded."""
    x = gg.randn(300, 301).to(dtype)
    wide = x.float()
    casts = [lambda t, d=d: t.to(d) for d in (gg.float16, gg.bfloat16, gg.float32, gg.float64)]
    for f in (gg.tanh, gg.zeros_like, gg.ones_like, lambda t: gg.where(t > 0, t, -t),
              lambda t: t * 3, lambda t: t > 0, *casts):  # fmt: skip
        for _ in range(host.PATIENCE):
            got, want = f(x), f(wide)
        small = f(x[:2])
        assert got.dtype is small.dtype
        np.testing.assert_array_equal(got[:2].float().numpy(), small.float().numpy())
        bound = gg.finfo(dtype).eps if got.dtype is not gg.bool else 0
        np.testing.assert_allclose(got.double().numpy(), want.double().numpy(), rtol=2 * bound,
                                   atol=bound * 1e-3)  # fmt: skip
