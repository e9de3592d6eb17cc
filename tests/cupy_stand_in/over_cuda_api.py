"""Run by tests/unit/test_cuda_api.py over two stand-in devices: streams, events, memory."""

import threading

import cupy
import numpy as np
import pytest

import gpugrad as gg
from cupy_stand_in.offered import API
from cupy_stand_in.streams import STALLED
from gpugrad.errors import ArgumentError, AutogradError, DeviceError, NotSupportedError

cuda = gg.cuda


def log(stream):
    """What was put into a stream: kinds, and which events."""
    return [kind for kind, _ in stream._raw.log]


@pytest.mark.parametrize("name", ["Stream", "Event"])
def test_the_stand_in_offers_no_more_than_cupy(name):
    own = {n for n in vars(getattr(cupy.cuda, name)) if not n.startswith("_")}
    assert own <= set(API[name].split())


def test_its_functions_are_cupy_s_too():
    own = {n for n in dir(cupy.cuda) if not n.startswith("_")}
    assert own <= set(API["cuda"].split())


def test_a_stream_is_current_inside_a_block():
    """By ``stream(s)`` and by ``with s``; the device comes along and goes back."""
    s = cuda.Stream(device=1, priority=-1)
    assert (str(s.device), s.priority, cuda.current_device()) == ("cuda:1", -1, 0)
    before = cuda.current_stream("cuda:1")
    for block in (cuda.stream(s), s):
        with block:
            assert cuda.current_stream() == s
            assert cuda.current_device() == 1
            assert str(gg.ones(2, device="cuda").device) == "cuda:1"
        assert cuda.current_device() == 0
        assert cuda.current_stream(1) == before == cuda.default_stream(1)
    with cuda.stream(None):
        assert cuda.current_stream() == cuda.default_stream()
    with pytest.raises(KeyError), s, s, cuda.stream(cuda.Stream()):
        raise KeyError(cuda.current_device())
    assert cuda.current_device() == 0


def test_streams_are_values():
    s, t = cuda.Stream(), cuda.Stream()
    assert s != t
    assert len({s, t, s, cuda.default_stream(), cuda.current_stream()}) == 3
    assert cuda.default_stream(0) != cuda.default_stream(1)
    assert s.cuda_stream != 0 == cuda.default_stream().cuda_stream
    cuda.set_stream(s)
    assert cuda.current_stream() == s
    cuda.set_stream(cuda.default_stream())
    with pytest.raises(ArgumentError, match="got int"):
        cuda.stream(3)


def test_current_streams_are_per_thread():
    found = []
    with cuda.stream(cuda.Stream()):
        worker = threading.Thread(target=lambda: found.append(cuda.current_stream()))
        worker.start()
        worker.join()
    assert found == [cuda.default_stream()]


def test_who_waits_for_whom():
    s, t = cuda.Stream(), cuda.Stream(device=1)
    s.wait_stream(t)
    assert (log(t), log(s)) == (["record"], ["wait"])
    assert t._raw.log[0][1] is s._raw.log[0][1]
    event = s.record_event()
    with cuda.stream(t):
        event.wait()
    t.wait_event(cuda.Event())  # never recorded: nothing to wait for
    assert log(t) == ["record", "wait"]
    assert t._raw.log[1][1] is s._raw.log[1][1]


def test_time_between_events():
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    assert start.query()
    start.synchronize()
    with pytest.raises(AutogradError, match="recorded"):
        start.elapsed_time(end)
    STALLED.append(True)
    start.record()
    end.record()
    STALLED.clear()
    assert not end.query()
    assert not cuda.default_stream().query()
    with pytest.raises(AutogradError, match="synchronize"):
        start.elapsed_time(end)
    start.synchronize()
    end.synchronize()
    assert 0 < start.elapsed_time(end) < 1000
    with pytest.raises(ArgumentError, match="enable_timing=True"):
        start.elapsed_time(cuda.Event())
    with pytest.raises(NotSupportedError, match="interprocess"):
        cuda.Event(interprocess=True)


def test_an_event_belongs_to_the_device_that_records_it_first():
    s = cuda.Stream(device=1)
    event = s.record_event(cuda.Event())
    assert event.query()
    cuda.Stream(device=0).wait_event(event)


def test_peaks_of_memory():
    """Peaks see what lies between two looks, on each device, from any thread."""
    mib = 1 << 20
    base = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == base
    for _ in range(3):
        x = gg.empty(mib, dtype=gg.uint8, device="cuda")
        del x
    other = cuda.max_memory_allocated("cuda:1")
    assert (cuda.memory_allocated(), cuda.max_memory_allocated()) == (base, base + mib)
    worker = threading.Thread(target=lambda: gg.empty(2 * mib, dtype=gg.uint8, device="cuda"))
    worker.start()
    worker.join()
    assert cuda.max_memory_allocated() == base + 2 * mib
    assert cuda.max_memory_allocated("cuda:1") == other
    kept = gg.empty(3 * mib, dtype=gg.uint8, device="cuda")
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == base + 3 * mib
    del kept
    assert cuda.memory_reserved() >= base + 3 * mib > cuda.memory_allocated()
    cuda.empty_cache()
    assert cuda.memory_reserved() == cuda.memory_allocated() < cuda.max_memory_reserved()


def test_reports_of_memory():
    stats = cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == cuda.memory_allocated()
    assert "allocated" in cuda.memory_summary()
    assert "driver" not in cuda.memory_summary("cuda:1", abbreviated=True)
    free, total = cuda.mem_get_info()
    assert 0 < free <= total
    cuda.set_per_process_memory_fraction(0.5, 1)
    assert gg.backends.cuda().pool(1).limit == cuda.mem_get_info(1)[1] // 2
    cuda.set_memory_limit(None, 1)
    with pytest.raises(gg.errors.SettingError, match="above 0"):
        cuda.set_per_process_memory_fraction(1.5)


def test_tf32_reaches_the_library():
    products = cupy._core._routines_linalg

    def kind():
        return products.compute_type_to_str(products.get_compute_type(np.dtype(np.float32)))

    gg.set_float32_matmul_precision("high")
    assert kind() == "COMPUTE_TYPE_TF32"
    gg.backends.cuda.matmul.allow_tf32 = False
    assert (kind(), gg.get_float32_matmul_precision()) == ("COMPUTE_TYPE_DEFAULT", "highest")


def test_generators():
    """States of every device, put back."""
    cuda.manual_seed_all(5)
    states = cuda.get_rng_state_all()
    first = [gg.rand(3, device=f"cuda:{i}").tolist() for i in (0, 1)]
    cuda.set_rng_state_all(states)
    assert [gg.rand(3, device=f"cuda:{i}").tolist() for i in (0, 1)] == first
    state = cuda.get_rng_state("cuda:1")
    a = gg.rand(3, device="cuda:1").tolist()
    cuda.set_rng_state(state, "cuda:1")
    assert gg.rand(3, device="cuda:1").tolist() == a
    cuda.seed_all()
    assert cuda.initial_seed() == cuda.default_generator(1).initial_seed() != 5


def test_the_device_of_a_tensor():
    with cuda.device_of(gg.ones(2, device="cuda:1")):
        assert cuda.current_device() == 1
    with cuda.device_of(gg.ones(2)), cuda.device(None):
        assert cuda.current_device() == 0
    assert cuda.is_initialized()
    assert isinstance(cuda.LongTensor([1]), cuda.LongTensor)
    with pytest.raises(DeviceError, match="not a CUDA device"):
        cuda.memory_allocated("cpu")


def test_data_parallel_on_one_device():
    """Inputs go to the module's device, results to the one asked for; several are refused."""
    model = gg.nn.Linear(2, 3).to("cuda:1")
    wrapped = gg.nn.DataParallel(model, device_ids=[1], output_device=0)
    x = gg.ones(4, 2)
    out = wrapped(x)
    assert str(out.device) == "cuda:0"
    assert out.cpu().tolist() == model(x.to("cuda:1")).cpu().tolist()
    with pytest.raises(NotSupportedError, match=r"\[0, 1\]; say device_ids=\[0\]"):
        gg.nn.DataParallel(model)
    with pytest.raises(DeviceError, match="cuda:0, found one on cuda:1"):
        gg.nn.DataParallel(model, device_ids=["cuda:0"])(x)


def test_a_profile_of_device_times_is_refused():
    """Where there is no device, PyTorch and gpugrad warn instead."""
    with pytest.raises(NotSupportedError, match=r"cuda\.Event"):
        gg.autograd.profiler.profile(use_cuda=True)
    with gg.autograd.profiler.profile() as p:
        gg.ones(3, device="cuda").exp()
    assert "exp" in {e.name for e in p.function_events}


def test_8_bit_floats_stay_on_the_host():
    """CuPy has none; the error names the dtype."""
    x = gg.ones(3).to(gg.float8_e4m3fn)
    with pytest.raises(gg.errors.GpugradError, match="float8_e4m3fn"):
        x.cuda()
    with pytest.raises(gg.errors.GpugradError, match="float8_e5m2"):
        gg.ones(3, device="cuda").to(gg.float8_e5m2)
