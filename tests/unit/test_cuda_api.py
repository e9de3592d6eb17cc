"""``gpugrad.cuda``: what it says without a device, and, over a stand-in for CuPy, with two."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import gpugrad as gg
from gpugrad.errors import DeviceError, SettingError

TESTS = Path(__file__).parents[1]
NEEDS_A_DEVICE = {
    "Stream": (), "Event": (), "current_stream": (), "default_stream": (), "mem_get_info": (),
    "reset_peak_memory_stats": (), "memory_summary": (), "synchronize": (), "get_rng_state": (),
    "initial_seed": (), "current_device": (), "set_device": (0,), "FloatTensor": (3,),
}  # fmt: skip
NO_DEVICE = pytest.mark.skipif(gg.cuda.is_available(), reason="a CUDA device is here")


@NO_DEVICE
@pytest.mark.parametrize("name", NEEDS_A_DEVICE)
def test_what_needs_a_device_says_so(name: str) -> None:
    """In one line that names what mends it."""
    with pytest.raises(DeviceError, match=r"CUDA needs CuPy|no CUDA device answers") as caught:
        getattr(gg.cuda, name)(*NEEDS_A_DEVICE[name])
    assert "\n" not in str(caught.value)


@NO_DEVICE
def test_what_programs_ask_anywhere_is_answered() -> None:
    """As PyTorch does without CUDA: False, zeros, and nothing done."""
    cuda = gg.cuda
    for name in ("is_available", "is_initialized", "is_bf16_supported", "is_tf32_supported"):
        assert getattr(cuda, name)() is False
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved",
                 "max_memory_reserved", "device_count"):  # fmt: skip
        assert getattr(cuda, name)() == 0
    assert cuda.memory_stats() == {}
    with cuda.stream(None), cuda.device_of(gg.ones(2)):
        cuda.empty_cache()
        cuda.manual_seed(1)
        cuda.manual_seed_all(1)
        cuda.set_rng_state_all(cuda.get_rng_state_all())
    with pytest.raises(AttributeError, match=r"gpugrad\.cuda' has no attribute 'no_such_name'"):
        _ = cuda.no_such_name


def test_precision_of_products() -> None:
    """One setting under two names."""
    try:
        gg.backends.cuda.matmul.allow_tf32 = True
        assert gg.get_float32_matmul_precision() == "high"
        gg.set_float32_matmul_precision("medium")
        assert gg.backends.cuda.matmul.allow_tf32
    finally:
        gg.set_float32_matmul_precision("highest")
    assert not gg.backends.cuda.matmul.allow_tf32
    with pytest.raises(SettingError, match="'exact'; accepted: 'highest', 'high', 'medium'"):
        gg.set_float32_matmul_precision("exact")


def test_switches_of_backends() -> None:
    """They are where programs look for them, as modules and as attributes."""
    import gpugrad.backends.cuda as own_cuda

    import gpugrad.backends.cudnn as cudnn

    assert own_cuda is gg.backends.cuda
    assert own_cuda.is_built() == (importlib.util.find_spec("cupy") is not None)
    before = cudnn.benchmark
    with cudnn.flags(benchmark=not before):
        assert gg.backends.cudnn.benchmark is not before
    assert cudnn.benchmark is before
    assert not gg.backends.mps.is_available()
    gg.use_deterministic_algorithms(True, warn_only=True)
    assert gg.are_deterministic_algorithms_enabled()
    gg.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_over_two_stand_in_devices() -> None:
    """Streams, events, memory and switches over ``tests/cupy_stand_in``, in another process."""
    code = (
        f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]\n"
        "import cupy_stand_in, pytest; cupy_stand_in.install(2)\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', "
        f"{str(TESTS / 'cupy_stand_in' / 'over_cuda_api.py')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout
