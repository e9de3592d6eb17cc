"""``gpugrad.explain`` and ``gpugrad explain``: kernels of a device, told without one.

Grids and texts are compared with those that ``DeviceOnHost`` really runs, bytes with what one
counts by hand, values with a plain call.
"""

import copy
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
from gpugrad.backends.nvidia.text import text
from gpugrad.cli import main
from gpugrad.codegen.host import LARGE
from gpugrad.codegen.target import TARGETS
from gpugrad.errors import ArgumentError, KernelError
from gpugrad.explanation import Explanation, Other, Traffic, behind
from gpugrad.testing.cuda_host import COMPILER
from gpugrad.testing.device_on_host import DeviceOnHost, using

pytest.importorskip("cuda.core", reason="cuda-core is not installed: pip install 'gpugrad[test]'")
F = gg.nn.functional


def drawn(*sizes: int, grad: bool = True, dtype: Any = gg.float32) -> Any:
    rng = np.random.default_rng(sum(sizes))
    made = gg.from_numpy(rng.standard_normal(sizes).astype("f")).to(dtype)
    return made.requires_grad_(grad)


def names(found: Explanation) -> list[str]:
    """Per step the phase and what it computes, without its home."""
    return [f"{s.phase}: {s.name.rpartition('.')[2]}" for s in found.steps]


def normed(x: Any, w: Any, b: Any) -> Any:
    return F.layer_norm(x, x.shape[1:], w, b)


@gg.fuse
def fused(x: Any, w: Any) -> Any:
    return gg.tanh(x * gg.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)) * w


# ---- what there is -----------------------------------------------------------------------------


def test_an_elementwise_op_is_a_kernel_each_way() -> None:
    """It reads and writes each element once, which nothing can better."""
    x = drawn(64, 100)
    found = gg.explain(F.gelu, x)
    assert names(found) == ["forward: gelu", "backward: gelu backward"]
    forward, backward = found.kernels
    assert forward.grid == (7, 1, 1)  # 6400 elements, 256 threads with 4 each
    assert forward.block == (256, 1, 1)
    assert found.traffic("forward") == forward.traffic == Traffic(2 * x.nbytes, 2 * x.nbytes)
    assert found.traffic("backward") == backward.traffic == Traffic(3 * x.nbytes, 3 * x.nbytes)
    assert x.grad is None


def test_what_the_compiler_says_is_that_of_the_source() -> None:
    """Registers, spills and shared memory come from compiling the text that is shown."""
    from gpugrad.backends.nvidia.compile import compiled

    (kernel,) = gg.explain(F.softmax, drawn(8, 2048, grad=False), -1, arch="sm_80").kernels
    usage = compiled(kernel.helpers + kernel.source, "sm_80").usage[kernel.symbol]
    assert kernel.registers == usage.registers
    assert kernel.spills == usage.spill_stores + usage.spill_loads
    assert kernel.shared == usage.shared == 2 * 32 * 4  # a slot per warp for each of two reductions
    assert 16 <= usage.registers <= 255


def test_bytes_of_layer_norm() -> None:
    """One kernel forward; partial sums of the parameters' gradients are counted."""
    rows, columns = 64, 512
    x, w, b = drawn(rows, columns), drawn(columns), drawn(columns)
    found = gg.explain(normed, x, w, b)
    assert names(found) == [
        "forward: scaled_standard", "backward: scaled_standard backward",
        "backward: a sum over rows", "backward: a sum over rows",
    ]  # fmt: skip
    forward, backward, *folds = found.kernels
    whole, column, moments = 4 * rows * columns, 4 * columns, 2 * 4 * rows
    assert forward.traffic == Traffic(*(2 * whole + 2 * column + moments,) * 2)
    assert found.minimum["forward"] == 2 * whole + 2 * column
    blocks = rows  # each leaves a line of sums for both parameters
    assert backward.grid == (blocks, 1, 1)
    # The moments have gradients, too: zeros, which the kernel reads.
    least = 3 * whole + column + 2 * moments + 2 * column
    assert backward.traffic == Traffic(least + 2 * (blocks - 1) * column, least)
    for fold in folds:
        assert fold.traffic.moved == (blocks + 1) * column
        assert "gg_fold" in fold.source
    kept = 4 * rows * 2 + column  # by the tape: the moments, and b
    assert found.minimum["backward"] == 3 * whole + 3 * column + kept


@pytest.mark.parametrize(("columns", "times"), [(8192, 1), (200_000, 3)])
def test_a_row_that_does_not_stay_on_chip_counts_again(columns: int, times: int) -> None:
    """Softmax is three levels: the largest, the sum, the quotients."""
    x = drawn(4, columns, grad=False)
    (kernel,) = gg.explain(F.softmax, x, -1).kernels
    assert kernel.passes == times
    assert kernel.traffic == Traffic((times + 1) * x.nbytes, 2 * x.nbytes)


def test_sums_that_gather_in_memory_count_for_every_row() -> None:
    """The gradient of a weight too long for registers is read and written per row."""
    x, w = drawn(4, 50_000), drawn(50_000)
    found = gg.explain(lambda x, w: F.layer_norm(x, (50_000,), w), x, w)
    kernel = next(k for k in found.kernels if k.name.endswith("scaled_standard backward"))
    assert kernel.variant is not None
    assert kernel.variant.packs == 0
    blocks = kernel.grid[0]
    row, per_row = w.nbytes, 4 * 4 * 4  # both moments and their gradients
    reads = kernel.passes * 2 * x.nbytes + w.nbytes + per_row
    assert kernel.passes == 2
    assert kernel.traffic.moved == reads + x.nbytes + blocks * row + 2 * 4 * row


def test_an_array_that_is_read_twice_counts_once() -> None:
    """So does one value that is repeated."""
    x = drawn(32, 64, grad=False)
    assert gg.explain(gg.mul, x, x).kernels[0].traffic == Traffic(*(2 * x.nbytes,) * 2)
    thin = drawn(1, 64, grad=False).expand(32, 64)
    assert gg.explain(gg.exp, thin).kernels[0].traffic == Traffic(*(64 * 4 + x.nbytes,) * 2)


def test_sums_of_columns_and_of_everything() -> None:
    """The kernels that the array code does the work of are told with their followers."""
    x = drawn(512, 300, grad=False)
    assert names(gg.explain(gg.sum, x, 0)) == [
        "forward: sum of columns", "forward: a sum over rows",
    ]  # fmt: skip
    parts, join = gg.explain(gg.mean, x).kernels
    assert parts.variant is not None
    assert parts.variant.split
    assert parts.traffic == Traffic(x.nbytes + 4 * parts.grid[0], x.nbytes + 4)
    assert join.name == "mean of its parts"


# ---- agreement with what runs ------------------------------------------------------------------

WORK: dict[str, Any] = {
    "softmax": lambda: (lambda x: F.softmax(x, -1), [drawn(6, 70)]),
    "layer_norm": lambda: (normed, [drawn(9, 64), drawn(64), drawn(64)]),
    "fused": lambda: (fused, [drawn(5, 40), drawn(40)]),
    "sums": lambda: (lambda x: (x.sum(0), x.mean(), x.var(-1)), [drawn(33, 65)]),
    "strided": lambda: (lambda x, y: (x.t() + y) * 2, [drawn(20, 24), drawn(24, 20)]),
    "cross_entropy": lambda: (lambda x: F.cross_entropy(x, gg.arange(7)), [drawn(7, 33)]),
    "halves": lambda: (F.gelu, [drawn(4, 64, dtype=gg.bfloat16)]),
}


def both_ways(fn: Any, tensors: list[Any]) -> list[Any]:
    """Results and gradients."""
    out = fn(*tensors)
    outs = out if isinstance(out, tuple) else (out,)
    grads = gg.autograd.grad(outs, tensors, [gg.ones_like(o) for o in outs])
    return [*outs, *grads]


@pytest.mark.skipif(COMPILER is None, reason="no g++ to run CUDA's text with")
@pytest.mark.parametrize("name", WORK)
def test_told_is_what_would_be_launched(name: str) -> None:
    """The same kernels with the same texts and grids, in the same order."""
    fn, tensors = WORK[name]()
    target = DeviceOnHost()
    with using(target):
        out = fn(*tensors)
    outs = out if isinstance(out, tuple) else (out,)
    gs = [gg.ones_like(o) for o in outs]
    with using(target):
        gg.autograd.grad(outs, tensors, gs)
    found = gg.explain(fn, *tensors)
    assert [(k.grid, k.helpers + k.source) for k in found.kernels] == [
        (grid, text) for _, grid, text in target.launches
    ]


@pytest.mark.parametrize("name", WORK)
def test_the_call_computes_what_it_does_otherwise(name: str) -> None:
    """Array code gives the values, and nothing stays switched."""
    fn, tensors = WORK[name]()
    want = both_ways(fn, tensors)
    got: list[Any] = []
    before = TARGETS[np.ndarray]
    gg.explain(lambda *xs: got.extend(both_ways(fn, list(xs))), *tensors)
    for a, b in zip(want, got, strict=True):
        np.testing.assert_allclose(a.detach().double().numpy(), b.detach().double().numpy(),
                                   rtol=2e-2 if name == "halves" else 1e-5, atol=1e-5)  # fmt: skip
    assert TARGETS[np.ndarray] is before
    assert vars(gg.dispatch)["LARGE"] == LARGE
    assert gg.modes.modes.plain
    assert gg.modes.modes.clock is None


# ---- optimisers, modules, functions ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arrays"), [(gg.optim.AdamW, 7), (gg.optim.SGD, 3), (gg.optim.RMSprop, 5)]
)
def test_a_step_is_one_kernel_and_changes_nothing(kind: Any, arrays: int) -> None:
    """It is made by a copy; all parameters share the kernel."""
    params = [drawn(100, 70), drawn(30), drawn(7, 7)]
    optimizer = kind(params, lr=0.1)
    before = [p.detach().clone() for p in params]
    found = gg.explain(optimizer)
    (kernel,) = found.kernels
    assert kernel.phase == "update"
    assert len(found.steps) == 1
    assert kernel.grid == (len(params), 1, 1)
    size = sum(p.nbytes for p in params)
    table = len(params) * 8 * (arrays // 2 + 2)  # where each operand lies, and how long it is
    assert kernel.traffic == Traffic(arrays * size + table, arrays * size)
    assert all(p.equal(b) for p, b in zip(params, before, strict=True))
    assert not optimizer.state
    assert params[0].grad is None


UPDATES: dict[str, Any] = {
    "AdamW": lambda ps: gg.optim.AdamW(ps, lr=0.1, weight_decay=0.1, amsgrad=True).step,
    "SGD": lambda ps: gg.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True).step,
    "RMSprop": lambda ps: gg.optim.RMSprop(ps, lr=0.1, centered=True, momentum=0.5).step,
    "Rprop": lambda ps: gg.optim.Rprop(ps, lr=0.1).step,
    "Adamax": lambda ps: gg.optim.Adamax(ps, lr=0.1).step,
    "clipping": lambda ps: lambda: gg.nn.utils.clip_grad_norm_(ps, 0.5),
}


@pytest.mark.parametrize("dtype", [gg.float32, gg.float16, gg.float64])
@pytest.mark.parametrize("name", UPDATES)
def test_updates_inside_a_call_happen(name: str, dtype: Any) -> None:
    """Kernels over tables of pointers are computed by hand, as array code computes them."""

    def some() -> list[Any]:
        made = [drawn(20, 7, dtype=dtype), drawn(30, dtype=dtype)]
        for i, p in enumerate(made):
            p.grad = drawn(*p.shape[::-1], 1, grad=False, dtype=dtype).reshape(p.shape) * (i + 1)
        return made

    plain, watched = some(), some()
    step, seen = UPDATES[name](plain), UPDATES[name](watched)
    step(), seen()
    for p, q in zip(plain, watched, strict=True):  # in the second step they remember the first
        p.grad, q.grad = p.grad * -0.5, q.grad * -0.5
    want = step(), step()
    got: list[Any] = []
    found = gg.explain(lambda: got.extend([seen(), seen()]))  # two: the second has other numbers
    tables = [k for k in found.kernels if "const* __restrict__ x" in k.source]
    assert [k.name.rpartition(".")[2] for k in tables] == 2 * {
        "AdamW": ["amsgrad_step"], "SGD": ["sgd_momentum_step"], "Rprop": ["rprop_step"],
        "RMSprop": ["rmsprop_centered_momentum_step"], "Adamax": ["adamax_step"],
        "clipping": ["sums of squares", "scale_step"],
    }[name]  # fmt: skip
    bound = 2e-3 if dtype is gg.float16 else 1e-5
    for a, b in zip(plain, watched, strict=True):
        assert a.detach().double().allclose(b.detach().double(), rtol=bound, atol=bound)
        assert a.grad.double().allclose(b.grad.double(), rtol=bound, atol=bound)
    if name == "clipping":
        for norm, told in zip(want, got, strict=True):
            assert norm.double().allclose(told.double(), rtol=bound)


def test_an_optimiser_of_array_code_is_told_op_by_op() -> None:
    """Muon multiplies matrices."""
    (step,) = gg.explain(gg.optim.Muon([drawn(8, 8)])).steps
    assert isinstance(step, Other)
    assert (step.name, step.phase) == ("muon_step", "update")


def test_a_training_step() -> None:
    """A function that differentiates and steps by itself; libraries' work is told, too."""
    model = gg.nn.Sequential(gg.nn.Linear(32, 16), gg.nn.ReLU(), gg.nn.Linear(16, 1))
    optimizer = gg.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = drawn(8, 32, grad=False)

    def step() -> Any:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step()
    want = [p.detach().clone() for p in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    step()
    again = [p.detach().clone() for p in model.parameters()]
    with gg.no_grad():
        for p, w in zip(model.parameters(), want, strict=True):
            p.copy_(w)
    optimizer.load_state_dict(state)
    found = gg.explain(step)
    steps = names(found)
    assert steps.count("forward: linear") == 2
    assert "backward: ReluBackward0" not in steps
    assert "backward: relu backward" in steps
    assert [s for s in steps if s.startswith("update")] == ["update: sgd_momentum_step"]
    linear = next(s for s in found.steps if s.name == "linear")
    assert isinstance(linear, Other)
    assert "cuBLASLt" in linear.by
    for p, q in zip(model.parameters(), again, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.numpy(), rtol=1e-5, atol=1e-6)


def test_work_without_a_kernel_says_what_does_it() -> None:
    """Products and convolutions go to libraries, sorting to array code; a view is no work."""
    x = drawn(8, 16)
    by = {s.name: s.by for s in gg.explain(lambda x: (x.t() @ x).sort(-1).values, x).steps
          if isinstance(s, Other)}  # fmt: skip
    assert by.keys() == {
        "matmul", "sort", "SortBackward0", "MatmulBackward0", "gradients added up",
    }  # fmt: skip
    assert by["matmul"].startswith("cuBLASLt (matmul")
    assert by["sort"] == "array code (sort)"
    steps = gg.explain(F.conv2d, drawn(1, 2, 8, 8), drawn(3, 2, 3, 3)).steps
    assert [s.by.partition(" ")[0] for s in steps if isinstance(s, Other)] == ["cuDNN", "cuDNN"]


def test_gradients_that_meet_and_casts_around_kernels() -> None:
    """What the tape does itself is work on a device, too."""
    x = drawn(4, 64)
    (added,) = (s for s in gg.explain(lambda x: (x.exp(), x.sin(), x.cos()), x).steps
                if s.name == "gradients added up")  # fmt: skip
    assert added.traffic.moved == 2 * 3 * x.nbytes
    half = drawn(4, 64, dtype=gg.bfloat16)
    assert gg.explain(F.gelu, half).traffic("backward") == Traffic(*(3 * half.nbytes,) * 2)
    steps = {s.name: s.traffic.moved for s in gg.explain(gg.logcumsumexp, half, 1).steps}
    assert steps["gradient as float32"] == steps["gradient as bfloat16"] == 3 * half.nbytes
    wide = gg.explain(lambda x, y: x + y, drawn(3, 4, 32), drawn(1, 4, 1))
    (summed,) = (s for s in wide.steps if s.name == "gradient added up where broadcast")
    assert summed.traffic.moved == 4 * (3 * 4 * 32 + 4)


def test_what_is_behind_an_op_exists() -> None:
    """The table names files of additions that there are, and kernels that there are."""
    for file, by in behind._BEHIND.items():
        assert importlib.util.find_spec(f"gpugrad.backends.additions.{file}")
        if by.startswith("kernels/"):
            assert "__global__" in text(by.removeprefix("kernels/"))


def test_nothing_to_do() -> None:
    """Tensors without data are no work for a device."""
    assert str(gg.explain(gg.exp, gg.zeros(3, device="meta"))) == "exp computes nothing on a device"


def test_without_and_with_backward() -> None:
    """It is left out when asked, and refused where nothing requires a gradient."""
    assert {k.phase for k in gg.explain(gg.exp, drawn(3, 4), backward=False).kernels} == {"forward"}
    with pytest.raises(ArgumentError, match=r"no result of exp requires a gradient.*accepted"):
        gg.explain(gg.exp, drawn(3, 4, grad=False), backward=True)


def test_a_cast_to_the_same_dtype_is_no_kernel() -> None:
    """Layer norm casts its parameters where they need it, and a result is never an argument."""
    x, w = drawn(4, 64), drawn(64)
    assert len(gg.explain(normed, x, w, w, backward=False).steps) == 1
    halves = gg.explain(normed, x.detach().half(), w.detach(), w.detach())
    assert [n for n in names(halves) if n.endswith(": to")] == ["forward: to"] * 2
    edges = gg.tensor([0.0, 1.0, 2.0])
    assert gg.histogram(x.detach(), edges).bin_edges._array is not edges._array


def test_printed() -> None:
    """A table with a line per kernel, equal neighbours together, and a sum per phase."""
    x = drawn(4, 64, grad=False)
    shown = str(gg.explain(lambda x: x.exp() + 1, x))
    assert shown.splitlines()[0] == "<lambda>, compiled for sm_90"
    assert shown.splitlines()[2].split() == [
        "phase", "computes", "how", "grid", "block", "registers", "spills", "shared", "passes",
        "moved", "minimum",
    ]  # fmt: skip
    assert "forward: 2 kernels, 4,096 bytes moved, the minimum is 2,048 (2.00 times that)" in shown
    twice = str(gg.explain(lambda x: x.exp().exp(), x))
    assert sum("exp" in line for line in twice.splitlines()) == 1
    assert "times" in twice.splitlines()[2]
    source = gg.explain(lambda x: x.exp().exp(), x).source()
    assert source.count("__global__") == 1


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; exit status, stdout, stderr."""

    def call(*args: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["explain", *map(str, args)])
        out, err = capfd.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "gelu", "adamw"])
def test_the_command_tells_one_kernel_and_the_minimum(run: Any, name: str) -> None:
    """For an op's forward, and an optimiser's step of all parameters."""
    status, out, err = run(name, "--shape", "48x96")
    assert (status, err) == (0, "")
    phase = "update" if name == "adamw" else "forward"
    assert sum(line.startswith(f"{phase} ") for line in out.splitlines()) == 1
    (total,) = (line for line in out.splitlines() if line.startswith(f"{phase}: "))
    size = 4 * 48 * 96
    minimum = {"softmax": 2 * size, "gelu": 2 * size, "layer_norm": 2 * size + 2 * 4 * 96,
               "adamw": 3 * 7 * size}[name]  # fmt: skip
    assert total.startswith(f"{phase}: 1 kernel, ")
    assert f"the minimum is {minimum:,} " in total


def test_the_command_takes_a_dtype_and_prints_sources(run: Any) -> None:
    """16-bit floats are half the bytes."""
    _, out, _ = run("softmax", "--shape", "4x64", "--dtype", "bfloat16", "--source",
                    "--no-backward", "--arch", "sm_80")  # fmt: skip
    assert "compiled for sm_80" in out
    assert "the minimum is 1,024 " in out
    assert 'extern "C" __global__ void' in out
    assert "backward" not in out


def test_the_command_takes_a_function_of_ones_own(run: Any, tmp_path: Path) -> None:
    """It gets a tensor for each argument without a default."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import gpugrad as gg\n\n"
        "def gated(x, y, slope=2.0):\n    return gg.sigmoid(slope * x) * y\n\n"
        "fused = gg.fuse(gated)\n"
    )
    _, out, _ = run(f"{file}:gated", "--shape", "8x64")
    assert "forward: 3 kernels" in out
    _, out, _ = run(f"{file}:fused", "--shape", "8x64")
    assert "forward: 1 kernel, " in out
    status, _, err = run(f"{file}:gatd")
    assert status == 1
    assert "no function 'gatd'; it has gated" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["softmx"], "'softmx'; closest: softmax"),
        (["adamq"], "'adamq'; closest: adam"),
        (["softmax", "--shape", "3y4"], "'3y4' is no shape; accepted: positive sizes"),
        (["softmax", "--shape", "2x3x4x5x6x7"], "2x3x4x5x6x7; their first arrays are of shape"),
        (["softmax", "--dtype", "float7"], "not a dtype: 'float7'; accepted: float64"),
        (["nowhere.py:f"], "there is no file nowhere.py"),
        (["no_such_package:f"], "there is no module 'no_such_package'"),
    ],
)
def test_the_command_refuses_in_one_line(run: Any, args: list[str], words: str) -> None:
    """With what would be accepted."""
    status, out, err = run(*args)
    assert (status, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1


def test_an_unknown_architecture_is_the_compilers_to_refuse() -> None:
    """In its words."""
    with pytest.raises(KernelError, match="sm_1"):
        gg.explain(gg.exp, drawn(2, 4, grad=False), arch="sm_1")
