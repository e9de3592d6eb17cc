"""The profiler: what ran, how often, how long, and what it allocated."""

import json
import threading
import time

import pytest

import gpugrad as gg
from gpugrad.autograd import profiler
from gpugrad.errors import ArgumentError, AutogradError, NotSupportedError, SettingError
from gpugrad.modes import modes
from gpugrad.profiler import ProfilerAction, ProfilerActivity, schedule, tensorboard_trace_handler


def by_name(found):
    return {row.key: row for row in found.key_averages()}


def test_every_op_and_every_node_is_counted() -> None:
    """Ops that have lanes, composites' parts, in-place ops, rules of the backward pass."""
    x = gg.ones(4, 4, requires_grad=True)
    with profiler.profile() as p:
        y = (x * 2).sin() * x
        y.add_(1)
        y.sum().backward()
    counts = {k: row.count for k, row in by_name(p).items()}
    assert counts["mul"] == counts["MulBackward0"] == 2
    assert counts["sin"] == counts["SinBackward0"] == counts["SumBackward0"] == 1
    assert counts["add"] == 1
    assert p.total_average().count == sum(counts.values()) == len(p.function_events)


def test_nothing_is_seen_outside() -> None:
    """Before, after, disabled, in another thread; and hooks of nodes made inside stay silent."""
    x = gg.ones(3, requires_grad=True)
    with profiler.profile() as p:
        worker = threading.Thread(target=lambda: gg.ones(3).sin())
        worker.start()
        worker.join()
        y = x.exp().sum()
    n = len(p.function_events)
    y.backward()
    x.sin()
    assert len(p.function_events) == n
    assert set(by_name(p)) == {"exp", "sum"}
    assert modes.plain
    assert modes.clock is None
    with profiler.profile(enabled=False) as off:
        x.sin()
    assert len(off.function_events) == 0


def test_time_is_the_op_s_own() -> None:
    """The program's pauses between ops belong to no op, but to the range around it."""
    big = gg.ones(400, 400)
    with profiler.profile() as p:
        with profiler.record_function("step"):
            big @ big
            time.sleep(0.03)
        big + big
    found = by_name(p)
    step, product = found["step"], found["matmul"]
    assert step.cpu_time_total > 30_000 > product.cpu_time_total > 0
    assert step.self_cpu_time_total == pytest.approx(step.cpu_time_total - product.cpu_time_total)
    assert found["add"].cpu_time_total < 30_000
    assert p.self_cpu_time_total == pytest.approx(step.cpu_time_total + found["add"].cpu_time)


def test_memory_is_what_was_made() -> None:
    """Views make none; a range has what is made inside; a rule what it hands on anew."""
    x = gg.ones(10, 10, requires_grad=True)
    with profiler.profile(profile_memory=True) as p:
        with profiler.record_function("inside"):
            y = x.t() * 3
        y.sum().backward()
    found = by_name(p)
    assert found["mul"].self_cpu_memory_usage == found["MulBackward0"].cpu_memory_usage == 400
    assert (found["inside"].cpu_memory_usage, found["inside"].self_cpu_memory_usage) == (400, 0)
    view = next(v for k, v in found.items() if k in ("t", "transpose", "permute"))
    assert view.cpu_memory_usage == found["SumBackward0"].cpu_memory_usage == 0
    assert "400 B" in p.key_averages().table()


def test_second_derivatives_are_inside_their_rule() -> None:
    x = gg.ones(3, requires_grad=True)
    with profiler.profile() as p:
        (g,) = gg.autograd.grad((x**3).sum(), x, create_graph=True)
    rule = next(e for e in p.function_events if e.name == "PowBackward0")
    assert 0 < rule.self_cpu_time_total < rule.cpu_time_total
    inside = [e for e in p.function_events if rule.start < e.start < rule.end]
    assert inside
    assert all(e.end <= rule.end and e.category == "op" for e in inside)
    assert g.tolist() == [3, 3, 3]


def test_shapes_and_lines() -> None:
    with profiler.profile(record_shapes=True, with_stack=True) as p:
        for n in (2, 3, 3):
            gg.ones(n).exp()
    rows = p.key_averages(group_by_input_shape=True)
    exps = {r.input_shapes: r.count for r in rows if r.key == "exp"}
    assert exps == {"[[2]]": 1, "[[3]]": 2}
    lines = p.key_averages(group_by_stack_n=1)
    assert all("test_profiler.py:" in r.site for r in lines)


def test_the_table() -> None:
    with profiler.profile() as p:
        for _ in range(3):
            gg.ones(3).exp()
        gg.ones(5).sin()
    text = p.key_averages().table(sort_by="count", row_limit=1, header="of a test")
    head, *rest = text.splitlines()
    assert head == "of a test"
    assert "Self CPU %" in rest[1]
    assert "# of Calls" in rest[1]
    assert "exp" in text
    assert "sin" not in text
    assert rest[-1].startswith("Self CPU time total: ")
    assert "sin" in p.key_averages().table(row_limit=-1)
    assert p.key_averages().table(time_unit="s").splitlines()[-1].endswith("s")
    assert "us" not in p.key_averages().table(time_unit="ms")
    with pytest.raises(SettingError, match="time_unit is 'h'"):
        p.key_averages().table(time_unit="h")
    with pytest.raises(SettingError, match="'speed'; accepted: count"):
        p.key_averages().table(sort_by="speed")


def test_the_trace(tmp_path) -> None:
    x = gg.ones(3, requires_grad=True)
    with profiler.profile() as p, profiler.record_function("all", "of it"):
        x.exp().sum().backward()
    p.export_chrome_trace(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    whole = next(e for e in events if e["name"] == "all(of it)")
    for e in events:
        assert e["ph"] == "X"
        assert whole["ts"] <= e["ts"] <= e["ts"] + e["dur"] <= whole["ts"] + whole["dur"]
    assert {e["cat"] for e in events} == {"user", "op", "backward"}


def test_an_exception_leaves_nothing_on() -> None:
    @profiler.record_function("named")
    def fails():
        gg.ones(2) + gg.ones(3)

    with profiler.profile() as p, pytest.raises(gg.errors.ShapeError):
        fails()
    assert by_name(p)["named"].count == 1
    assert modes.clock is None
    with pytest.raises(AutogradError, match="another profile"), profiler.profile():
        profiler.profile().__enter__()
    assert modes.plain
    fails_quietly = profiler.record_function("no profile")
    with fails_quietly:
        pass


def test_what_cannot_be_measured_is_said() -> None:
    for name in ("with_flops", "with_modules"):
        with pytest.raises(NotSupportedError, match=f"{name}=True"):
            profiler.profile(**{name: True})
    if not gg.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"):
            profiler.profile(use_cuda=True)
    with pytest.raises(ArgumentError, match="got 'cpu'"):
        gg.profiler.profile(activities=["cpu"])


def test_a_schedule() -> None:
    plan = schedule(wait=1, warmup=1, active=2, repeat=1, skip_first=1)
    kinds = [plan(i).name for i in range(6)]
    assert kinds == ["NONE", "NONE", "WARMUP", "RECORD", "RECORD_AND_SAVE", "NONE"]
    at_once = schedule(wait=1, warmup=0, active=1, skip_first_wait=1)
    assert [at_once(i).name for i in range(3)] == ["RECORD_AND_SAVE", "NONE", "RECORD_AND_SAVE"]
    assert schedule(wait=0, warmup=0, active=1)(9) is ProfilerAction.RECORD_AND_SAVE
    with pytest.raises(SettingError, match="active"):
        schedule(wait=0, warmup=0, active=0)


def test_steps_are_profiled_by_the_schedule(tmp_path) -> None:
    """Each cycle is handed over once, with its own events."""
    seen = []

    def ready(p):
        seen.append((p.step_num, {r.key: r.count for r in p.key_averages()}))
        tensorboard_trace_handler(str(tmp_path))(p)

    with gg.profiler.profile(activities=[ProfilerActivity.CPU], on_trace_ready=ready,
                             schedule=schedule(wait=1, warmup=0, active=2)) as p:  # fmt: skip
        for _ in range(6):
            gg.zeros(2).exp()
            p.step()
    assert [(n, c["exp"]) for n, c in seen] == [(2, 2), (5, 2)]
    assert len(list(tmp_path.glob("*.pt.trace.json"))) == 2


def test_without_a_schedule_the_block_is_profiled() -> None:
    with gg.profiler.profile() as p:
        gg.zeros(2).exp()
        p.step()
        gg.zeros(2).exp()
    assert next(r.count for r in p.key_averages() if r.key == "exp") == 2
    with pytest.raises(AutogradError, match="nothing was recorded"):
        gg.profiler.profile().events()
