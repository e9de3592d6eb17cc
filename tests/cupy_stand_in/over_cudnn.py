"""Run by tests/unit/test_cudnn_plans.py over the stand-ins: how cuDNN is called, and when not."""

import sys
import threading

import cupy
import numpy as np
import pytest

import gpugrad as gg
from cupy_stand_in import cudnn as fake
from gpugrad.backends import cudnn as switches
from gpugrad.backends.nvidia import cudnn_attention, cudnn_plans
from gpugrad.config import config
from gpugrad.errors import KernelError

attend = gg.nn.functional.scaled_dot_product_attention
PLANS = cudnn_plans.plans_of(cupy)


@pytest.fixture(autouse=True)
def anew(tmp_path, monkeypatch):
    """No plan in memory or on disk, and the stand-in as it is at first."""
    monkeypatch.setattr(config, "cache_dir", str(tmp_path))
    PLANS._found.clear()
    for told in (fake.runs, fake.planned, fake.restored, fake.declines):
        told.clear()
    fake.delays.clear()


def drawn(*shapes, dtype=gg.float32, last=False):
    tensors = [gg.randn(*s).to(dtype).cuda() for s in shapes]
    if last:
        tensors = [t.contiguous(memory_format=gg.channels_last) for t in tensors]
    return [t.detach().requires_grad_() for t in tensors]


def address(t):
    return t._array.data.ptr


def convolve(x, w, **settings):
    y = gg.conv2d(x, w, None, padding=1, **settings)
    y.backward(gg.ones_like(y))
    return y


def test_channels_last_goes_in_and_out_as_it_is():
    """The library reads the tensors' own memory and writes the result's."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3), last=True)
    y = convolve(x, w)
    (_, _, forward, *_), (_, _, back, *_), (_, _, weights, *_) = fake.runs
    assert back[2] == address(w)
    assert [forward[uid] for uid in (1, 2, 3)] == [address(x), address(w), address(y)]
    assert weights[1] == address(x)


def test_in_order_is_copied_once_and_shares_the_plan():
    """Nothing but the plan of channels last is needed for any layout."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    convolve(x, w)
    assert fake.runs[0][2][1] != address(x)
    convolve(*drawn((2, 8, 6, 5), (16, 8, 3, 3), last=True))
    assert len(fake.planned) == len(PLANS._found) == 3
    convolve(*drawn((3, 8, 6, 5), (16, 8, 3, 3)))
    assert len(fake.planned) == 6


def test_an_address_that_is_not_aligned_is_copied():
    """Kernels read 16 bytes at once."""
    (base,) = drawn((2 * 6 * 5 * 8 + 1,), dtype=gg.float16)
    (w,) = drawn((16, 8, 3, 3), dtype=gg.float16, last=True)
    x = base[1:].reshape(2, 6, 5, 8).permute(0, 3, 1, 2)
    assert address(x) % 16 == 2
    y = gg.conv2d(x, w)
    assert float((y - gg.conv2d(x.clone(), w)).abs().max()) == 0


def test_plans_are_kept_on_disk(tmp_path):
    """A second process builds nothing; a damaged or foreign file is built anew."""
    wanted = convolve(*(operands := drawn((2, 8, 6, 5), (16, 8, 3, 3)))).tolist()
    files = sorted((tmp_path / "cuda" / "cudnn").iterdir())
    assert len(files) == len(fake.planned) == 3

    def again():
        PLANS._found.clear()
        fake.restored.clear()
        assert convolve(*operands).tolist() == wanted
        return len(fake.planned), len(fake.restored)

    assert again() == (3, 3)
    files[0].write_bytes(files[0].read_bytes()[:-7])
    files[1].write_bytes(files[2].read_bytes())
    assert again() == (5, 1)
    cudnn_plans.STORE.write(files[2].stem, b"not a plan")  # a good checksum, and nonsense
    assert again() == (6, 2)


def test_another_version_or_device_has_its_own_files(tmp_path, monkeypatch):
    """The name of a file holds both versions and what the device is."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    real = cupy.cuda.runtime.getDeviceProperties
    for change in ((sys.modules["cudnn"], "backend_version", lambda: 92000),
                   (sys.modules["cudnn"], "__version__", "1.28.0"),
                   (cupy.cuda.runtime, "getDeviceProperties",
                    lambda i: real(i) | {"name": b"another"})):  # fmt: skip
        before = len(fake.planned)
        PLANS._found.clear()
        gg.conv2d(x, w)
        with monkeypatch.context() as patch:
            patch.setattr(*change)
            PLANS._found.clear()
            gg.conv2d(x, w)
        assert len(fake.planned) - before == (2 if before == 0 else 1)
        assert not fake.restored or before


def test_while_captured():
    """A plan that is there runs, on the stream; one that is not there is an error that says so."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    gg.conv2d(x, w)
    stream = cupy.cuda.Stream(non_blocking=True)
    before = cupy.cuda.get_current_stream()
    stream.use()
    stream.capturing = True
    try:
        gg.conv2d(x, w)
        assert fake.runs[-1][4] == stream.ptr
        with pytest.raises(KernelError, match=r"\(1, 8, 6, 5\).*before capturing"):
            gg.conv2d(x[:1], w)
    finally:
        stream.capturing = False
        before.use()
    gg.conv2d(x[:1], w)
    assert fake.runs[-1][4] == before.ptr


def test_threads_have_handles_of_their_own():
    """A handle holds one stream, and two threads have two."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    gg.conv2d(x, w)
    found = []

    def work():
        cupy.cuda.Stream(non_blocking=True).use()
        found.append(gg.conv2d(x, w))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    gg.conv2d(x, w)
    assert [r[4] for r in fake.runs][::2] == [0, 0]
    assert fake.runs[1][4] != 0
    assert found[0].tolist() == gg.conv2d(x, w).tolist()


def test_tf32_is_asked_for_by_its_switch():
    """Rounding plans for float32 only while they are allowed."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    for allowed in (True, False, True):
        with switches.flags(enabled=True, allow_tf32=allowed):
            gg.conv2d(x, w)
    assert [r[1] for r in fake.runs] == ["rounding", "exact", "rounding"]


def test_the_fastest_plan_is_taken_and_kept():
    """Each plan is timed once per shape; determinism that is demanded keeps to the first."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    fake.delays.update(rounding=0.1, spare=0.05)
    with switches.flags(enabled=True, benchmark=True):
        gg.conv2d(x, w)
        timed = ["rounding"] * 4 + ["exact"] * 4 + ["spare"] * 4
        assert [r[1] for r in fake.runs] == [*timed, "exact"]
        gg.conv2d(x, w)
        PLANS._found.clear()
        gg.conv2d(x, w)
        assert [r[1] for r in fake.runs[-2:]] == ["exact"] * 2
    assert (len(fake.planned), len(fake.restored)) == (1, 1)
    fake.runs.clear()
    with switches.flags(enabled=True, benchmark=True, deterministic=True):
        gg.conv2d(x, w)
    with switches.flags(enabled=True, benchmark=True, benchmark_limit=2):
        gg.conv2d(x[:1], w)
    assert [r[1] for r in fake.runs] == ["rounding"] * 5 + ["exact"] * 5


def test_what_the_library_declines_is_done_otherwise():
    """It is asked once; forward and both gradients are right."""
    fake.declines.append(lambda node: True)
    for dtype, tolerance in ((gg.float32, 1e-5), (gg.bfloat16, 2e-2)):
        x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3), dtype=dtype)
        y = convolve(x, w)
        a, b = (t.detach().double().cpu().requires_grad_() for t in (x, w))
        wanted = convolve(a, b)
        for found, right in ((y, wanted), (x.grad, a.grad), (w.grad, b.grad)):
            off = (found.detach().cpu().double() - right).abs().max()
            assert off < tolerance * right.abs().max()
        assert y.dtype is dtype
    assert not fake.runs
    convolve(x, w)
    assert list(PLANS._found.values()) == [None] * 6


def test_without_the_library_one_warning(monkeypatch):
    """It names the command once; results come all the same."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    monkeypatch.setitem(sys.modules, "cudnn", None)
    for cached in (cudnn_plans.installed, cudnn_plans.library):
        cached.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="pip install"):
            y = gg.conv2d(x, w)
        convolve(x, w)  # a second warning would be an error
        assert not switches.is_available()
        assert switches.version() is None
        assert not fake.runs
        assert y.shape == (2, 16, 4, 3)
    finally:
        for cached in (cudnn_plans.installed, cudnn_plans.library):
            cached.cache_clear()
    monkeypatch.undo()
    assert (switches.is_available(), switches.version()) == (True, 91901)


def test_a_failure_names_the_operation(monkeypatch):
    """What cuDNN refuses when it runs is told with shapes and dtype."""

    def fail(self, *args, **settings):
        raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")

    monkeypatch.setattr(fake.pygraph, "execute", fail)
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    with pytest.raises(KernelError, match=r"fprop.*float32.*\(16, 8, 3, 3\).*EXECUTION_FAILED"):
        gg.conv2d(x, w)


def test_what_no_library_is_asked():
    """Nothing to compute, and float32 attention."""
    gg.conv2d(gg.zeros(0, 8, 6, 5).cuda(), gg.zeros(4, 8, 3, 3).cuda())
    q, k, v = drawn(*[(2, 4, 9, 16)] * 3)
    attend(q, k, v).sum().backward()
    attend(*(t.detach().half()[:, :, :0] for t in (q, k, v)))
    attend(*(t.detach().half()[0] for t in (q, k, v)))  # no heads
    with switches.flags(enabled=False):
        attend(*(t.detach().half() for t in (q, k, v)))
    assert not fake.planned


def test_packed_operands_are_read_where_they_lie():
    """Heads of queries, keys and values in one array cost no copy, forward and backward."""
    (qkv,) = drawn((2, 9, 3 * 64), dtype=gg.bfloat16)
    q, k, v = (p.reshape(2, 9, 4, 16).transpose(1, 2) for p in qkv.split(64, 2))
    out = attend(q, k, v, is_causal=True)
    out.backward(gg.ones_like(out))
    (kind, _, forward, *_), (back, _, gradient, *_) = fake.runs
    assert (kind, back) == ("sdpa", "sdpa_backward")
    for pack in (forward, gradient):
        assert [pack[uid] - address(qkv) for uid in (1, 2, 3)] == [0, 128, 256]
        assert pack[cudnn_attention.OUT] == address(out)
    assert out.transpose(1, 2).is_contiguous()


def test_shared_heads_are_not_repeated():
    """The library gets as many heads of keys as there are, and adds their gradients up."""
    q, k, v = drawn((2, 6, 9, 16), (2, 2, 9, 16), (2, 2, 9, 16), dtype=gg.float16)
    attend(q, k, v, enable_gqa=True).sum().backward()
    assert fake.runs[0][2][2] == address(k)
    (backward,) = (w for _, w, _ in PLANS._found if w.kind == "sdpa_backward")
    assert dict(backward.tensors)[cudnn_attention.KEY_GRAD][0] == (2, 2, 9, 16)
    assert k.grad.shape == (2, 2, 9, 16)


@pytest.mark.parametrize("scratch", [512, 200])
def test_gradients_that_need_much_memory_go_part_by_part(scratch, monkeypatch):
    """By batch, then by heads; the same bits as at once."""
    operands = drawn((4, 6, 9, 16), (4, 3, 9, 16), (4, 3, 9, 16), dtype=gg.float16)
    mask = gg.randn(1, 6, 9, 9).half().cuda()

    def gradients():
        for t in operands:
            t.grad = None
        out = attend(*operands, mask, enable_gqa=True)
        (out * out.detach()).sum().backward()
        return [t.grad.tolist() for t in operands]

    whole = gradients()
    assert len(fake.runs) == 2
    # The stand-in's plan takes 1,024 bytes whatever its size, so parts end at one of each.
    monkeypatch.setattr(cudnn_attention, "_SCRATCH", scratch)
    assert gradients() == whole
    assert len(fake.runs) == 3 + 12


def test_autocast_reaches_the_library_in_16_bits():
    """Convolutions and attention under autocast, gradients in the parameters' dtype."""
    x, w = drawn((2, 8, 6, 5), (16, 8, 3, 3))
    with gg.autocast("cuda", dtype=gg.bfloat16):
        y = gg.conv2d(x, w)
    y.float().sum().backward()
    assert y.dtype is gg.bfloat16
    assert w.grad.dtype is gg.float32
    assert {wanted.dtype for _, wanted, _ in PLANS._found} == {"bfloat16"}
    assert np.isfinite(w.grad.cpu().numpy()).all()
