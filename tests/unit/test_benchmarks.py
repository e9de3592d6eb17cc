"""The benchmarks: what a row is, how it is timed, and that their tables say what they found."""

import json
from pathlib import Path

import numpy as np
import pytest

import gpugrad

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """The folder's modules, which are no part of the package, and what they switch."""
    monkeypatch.syspath_prepend(str(ROOT))
    cudnn = gpugrad.backends.cudnn
    monkeypatch.setattr(cudnn, "allow_tf32", cudnn.allow_tf32)  # is put back


@pytest.fixture
def engine():
    from benchmarks.engines import Engine

    return Engine("gpugrad", "cpu")


def test_products_are_those_of_workloads():
    from benchmarks.workloads import GEMMS, WORKLOADS

    assert GEMMS.keys() <= WORKLOADS.keys()
    tokens = 32 * 1024  # a token takes two operations per weight: forward, and for each gradient
    flops = sum(2 * m * k * n * t * 3 for m, k, n, t, _ in GEMMS["GPT-2 124M, batch 32x1024, bf16"])
    weights = 12 * (12 * 768 * 768) + 50304 * 768
    assert flops == 6 * tokens * weights


@pytest.mark.parametrize("name", ["MLP, SGD", "MLP, Adam"])
def test_a_step_trains(name, engine):
    from benchmarks.workloads import WORKLOADS

    step = WORKLOADS[name].make(engine)
    losses = [step().item() for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    again = WORKLOADS[name].make(engine)
    assert again().item() == losses[0]  # every engine starts from the same numbers


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("half", [False, True])
def test_the_large_models_are_the_same_for_all(half, engine, monkeypatch):
    """Small forms of what is too large for a CPU lose the same under PyTorch."""
    from benchmarks import train, workloads
    from benchmarks.engines import Engine

    keep = workloads._supervised
    monkeypatch.setattr(workloads, "_supervised", lambda *args, **_: keep(*args, half=half))
    size = workloads.GptSize(50, 16, 32, 2, 2, 4, True, half)
    for make in (lambda e: workloads.gpt(e, size), lambda e: workloads.resnet50(e, 16, 64)):
        losses = {}
        for one in (engine, Engine("torch", "cpu")):
            step = make(one)
            losses[one.name] = np.array([float(step().detach()) for _ in range(3)])
            assert len(set(losses[one.name])) == 3
        assert train.disagreeing(losses, 1e-2) == [], losses
        a, b = losses.values()
        assert half or a[0] == pytest.approx(b[0], rel=1e-5)  # before roundings grew


def test_losses_that_differ_are_told():
    from benchmarks.train import disagreeing

    losses = {"gpugrad": np.array([2.0, 1.0, 0.5]), "torch": np.array([2.0, 1.01, 0.51])}
    assert disagreeing(losses, 1e-3) == []
    for far in ([2.01, 1.0, 0.5], [2.0, 1.0, 0.7], [2.0, np.nan, 0.5]):
        assert disagreeing({**losses, "gpugrad": np.array(far)}, 1e-3) == ["gpugrad"]


def test_calls_take_turns():
    from benchmarks import timing

    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    found = timing.median_ms(calls, 0.0, warm_up=1)
    assert order == ["a", "b"] * 8
    assert found.keys() == calls.keys()


def test_a_turn_is_long_enough_and_the_clock_is_the_engines():
    from benchmarks import timing

    asked = []
    clocks = {"a": lambda call, times: asked.append(times) or 4.0}
    assert timing.median_ms({"a": lambda: None}, 0.0, 1, clocks, turn=10.0) == {"a": 4.0}
    assert asked == [1] + [3] * 7  # 3 calls of 4 ms are 10 ms


def test_inputs_that_fit_the_cache_take_turns(engine):
    """As many copies as make twice the cache; a step that has one set of weights has one."""
    from benchmarks import rows, timing

    made = []
    row = rows.Row("x", lambda e, seed: made.append(seed) or rows.Work(lambda: seed, 100))
    works = rows.works(row, engine, 320)
    assert made == [0, 1, 2, 3, 4, 5, 6]
    call = timing.in_turn([w.call for w in works])
    assert [call() for _ in range(9)] == [0, 1, 2, 3, 4, 5, 6, 0, 1]
    assert len(rows.works(rows.Row("x", lambda e, s: rows.Work(int)), engine, 320)) == 1


#: Milliseconds at 4.298 TB/s, which a copy reached on an H200: the limits that kernels are held to.
LIMITS = {
    "GELU written out (fuse), 64M float32": 0.312, "GELU written out (fuse), 64M bfloat16": 0.156,
    "layer_norm 16384x4096 float32": 0.312, "layer_norm 16384x4096 bfloat16": 0.156,
    "softmax 16384x4096 float32": 0.312, "softmax 16384x4096 bfloat16": 0.156,
    "cross_entropy 8192x50304 float32": 0.767, "cross_entropy 8192x50304 bfloat16": 0.383,
    "sum over rows 8192x8192 float32": 0.125,
    "AdamW 256x1024K, the update (torch: fused)": 1.75,
}  # fmt: skip


def test_bytes_are_counted_once():
    """No more and no less than what must be read and written."""
    from benchmarks import kernels

    found = {row.what: row.moved / 4.298e9 for row in kernels.rows("cuda")}
    assert found == pytest.approx(LIMITS, rel=5e-3)


def small(monkeypatch):
    """Rows of suite ``kernels`` that take no time."""
    from benchmarks import kernels

    sizes = kernels.Sizes((64, 96), (8, 40), (48, 32), 3, 50, ("float32", "bfloat16"))
    monkeypatch.setitem(kernels.SIZES, "cpu", sizes)
    return kernels.rows("cpu")


@pytest.mark.slow
@pytest.mark.torch
def test_every_row_of_kernels_agrees_with_torch(engine, monkeypatch):
    from benchmarks import rows
    from benchmarks.engines import Engine

    for row in small(monkeypatch):
        cells = rows.measure(row, [engine, Engine("torch", "cpu")], 0.0, 1 << 12, 1e6)
        assert [c["engine"] for c in cells] == ["gpugrad", "torch", "copy"], cells
        assert all(c["value"] > 0 for c in cells)
        assert cells[-1]["value"] == row.moved / 1e6


def test_every_row_of_jax_agrees(engine, monkeypatch):
    pytest.importorskip("jax")
    from benchmarks import jax_rows, rows
    from benchmarks.engines import Jax
    from benchmarks.workloads import WORKLOADS

    jax = Jax("cpu")
    for row in small(monkeypatch):
        cells = rows.measure(row, [engine, jax], 0.0)
        assert [c.get("failed") for c in cells] == [None, None], cells
    ours, theirs = WORKLOADS["MLP, SGD"].make(engine), jax_rows.mlp(jax, 0).call
    for _ in range(3):
        assert float(theirs()) == pytest.approx(ours().item(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.torch
def test_every_row_is_compiled_anew(monkeypatch):
    """torch.compile gives up on a function after eight shapes, and would be timed eagerly."""
    import torch

    from benchmarks import rows
    from benchmarks.engines import Engine

    engine, compiled = Engine("torch.compile", "cpu"), []

    def backend(graph, inputs):
        compiled.append(tuple(inputs[0].shape))
        return graph.forward

    monkeypatch.setattr(engine, "compiled", lambda fn: torch.compile(fn, backend=backend))

    def shared(x):
        return x * 2

    for n in range(2, 14):
        row = rows.Row("x", lambda e, s, n=n: rows.Work(lambda: e.compiled(shared)(e.normal(n))))
        rows.measure(row, [engine], 0.0)
    assert compiled == [(n,) for n in range(2, 14)]


def test_results_that_differ_are_told(engine):
    """Of two engines it is ours that is told, of more the odd one."""
    from benchmarks import rows

    def other(name, far):
        class Other(type(engine)):
            def sample(self, result, count=0):
                return super().sample(result) + far

        made = Other("gpugrad", "cpu")
        made.name = name
        return made

    row = rows.Row("x", lambda e, seed: rows.Work(lambda: e.normal(4)))
    cells = rows.measure(row, [engine, other("a", 0.1)], 0.0)
    assert [(c["engine"], "failed" in c) for c in cells] == [("gpugrad", True), ("a", False)]
    cells = rows.measure(row, [engine, other("a", 0.1), other("b", 1e-6)], 0.0)
    assert {c["engine"]: "failed" in c for c in cells} == {"gpugrad": False, "a": True, "b": False}
    cells = rows.measure(row, [engine, other("a", np.nan), other("b", 0)], 0.0)
    assert any("failed" in c for c in cells)


def test_a_row_that_fails_is_a_cell_that_says_why(engine):
    """The other engines are measured all the same."""
    from benchmarks import rows, table
    from benchmarks.engines import Engine

    def make(e, seed):
        if e.name == "gpugrad":
            raise ValueError("no such kernel\nand more")
        return rows.Work(lambda: e.normal(4))

    other = Engine("gpugrad", "cpu")
    other.name = "other"
    cells = rows.measure(rows.Row("x", make), [engine, other], 0.0)
    lines, notes = table.lines(cells)
    assert lines[1][:2] == ["x: ms", "FAILED [1]"]
    assert notes == ["[1] gpugrad: FAILED, ValueError: no such kernel"]
    assert float(lines[1][2]) > 0


def test_table_and_chart(tmp_path):
    from benchmarks import table
    from benchmarks.rows import record

    cells = [
        record("x: ms", "gpugrad", 3.0), record("x: ms", "torch", 2.0),
        record("x: ms", "jax", missing="this row has no form in JAX"),
        record("x: ms", "copy", 1.5, roof=True), record("wheel MB", "gpugrad", 0.5),
    ]  # fmt: skip
    lines, notes = table.lines(cells)
    assert lines == [
        ["what", "gpugrad", "torch", "jax", "copy", "gpugrad / torch", "gpugrad / jax", "of copy"],
        ["x: ms", "3", "2", "- [1]", "1.5", "1.50", "", "50%"],
        ["wheel MB", "0.5", "", "", "", "", "", ""],
    ]
    assert notes == ["[1] jax: this row has no form in JAX"]
    pytest.importorskip("matplotlib").use("agg")
    table.draw(cells, tmp_path / "bars.svg")
    assert (tmp_path / "bars.svg").read_text().count("patch_") > 2


def called(*words):
    """Status and output of the command."""
    from click.testing import CliRunner

    from benchmarks import run

    done = CliRunner().invoke(run.main, words)
    return done.exit_code, done.output


def test_what_cannot_run_is_told_in_a_line(monkeypatch):
    from gpugrad.errors import DeviceError

    def fail():
        raise DeviceError("CUDA needs CuPy")

    monkeypatch.setattr(gpugrad.cuda, "init", fail)
    assert called("--device", "cuda") == (1, "Error: CUDA needs CuPy\n")
    code, text = called("--against", "torch,tensorflow")
    assert code == 2
    assert text.endswith("Error: Invalid value: 'tensorflow'; accepted: torch, compile, jax\n")


def test_a_missing_peer_is_a_missing_column(monkeypatch, tmp_path):
    """And a failed row of ours a status that is not 0."""
    from benchmarks import ops, rows, run

    monkeypatch.setattr(run, "set_threads", lambda n: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    one = rows.Row("x", lambda e, seed: rows.Work(lambda: e.normal(4)))
    monkeypatch.setattr(ops, "rows", lambda device: [one])
    words = ("--suite", "ops", "--repeats", "0", "--json", str(tmp_path / "x.json"))
    code, text = called(*words, "--against", "torch,jax")
    assert code == 0, text
    assert "torch is not installed: pip install torch; its column is left out" in text
    assert "jax is not installed: pip install jax; its column is left out" in text
    found = json.loads((tmp_path / "x.json").read_text())
    assert [c["engine"] for c in found["rows"]] == ["gpugrad"]
    assert {"cpu", "command", "copy", "gpugrad", "date"} <= found["conditions"].keys()

    def broken(e, seed):
        raise ValueError("broken")

    monkeypatch.setattr(ops, "rows", lambda device: [rows.Row("x", broken)])
    code, text = called(*words)
    assert code == 1
    assert "FAILED, ValueError: broken" in text
