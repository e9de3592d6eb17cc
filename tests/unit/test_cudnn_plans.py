"""cuDNN's plans without a GPU: over a stand-in that computes, and by the library itself.

The library lists and builds plans for a device that is described to it, so where cuDNN is installed
(``nvidia-cudnn-frontend``, ``nvidia-cudnn-cu13``, ``nvidia-cublas``; for attention also a driver's
``libcuda``), every graph that is drawn here meets the code that will run it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpugrad.backends.additions.convolution import out_sizes
from gpugrad.backends.nvidia import cudnn_attention as attention
from gpugrad.backends.nvidia.cudnn_attention import Attention
from gpugrad.backends.nvidia.cudnn_conv import Convolution
from gpugrad.backends.nvidia.cudnn_plans import planned

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(
    "file",
    ["cupy_stand_in/over_cudnn.py", "cuda/test_convolution.py", "cuda/test_attention.py"],
)
def test_over_the_stand_in(file: str) -> None:
    """All of it passes but for captures, which the stand-in does not record."""
    here = os.environ.get("PYTHONPATH")
    paths = [str(TESTS), str(TESTS.parent), *([here] if here else [])]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "cupy_stand_in.plugin", "-p",
               "no:cacheprovider", "-p", "no:xdist", "--deselect",
               f"tests/{file}::test_capture_wants_a_plan", str(TESTS / file)]  # fmt: skip
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]


#: What a device says of itself, by its architecture.
DEVICES = {
    80: {"deviceName": "NVIDIA A100", "multiProcessorCount": 108,
         "maxSharedMemoryPerBlockOptin": 166912},
    90: {"deviceName": "NVIDIA H200", "multiProcessorCount": 132,
         "maxSharedMemoryPerBlockOptin": 232448},
    100: {"deviceName": "NVIDIA B200", "multiProcessorCount": 148,
          "maxSharedMemoryPerBlockOptin": 232448},
}  # fmt: skip
COMMON = {
    "driverVer": 13000, "cudaDeviceId": 0, "totalGlobalMem": 80 << 30, "pciDeviceId": 0,
    "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64], "warpSize": 32,
    "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "maxSharedMemoryPerBlock": 49152,
    "reservedSharedMemoryPerBlock": 1024, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048, "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000,
    "memClockRateKHz": 3201000, "l2CacheSize": 62914560,
}  # fmt: skip


@pytest.fixture(params=DEVICES)
def target(request: pytest.FixtureRequest) -> Any:
    """The library, and a device that is not there."""
    cudnn = pytest.importorskip("cudnn", reason="pip install nvidia-cudnn-frontend")
    try:
        text = json.dumps({**COMMON, **DEVICES[request.param], "deviceVer": 10 * request.param})
        device = cudnn.create_device_properties(text)
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"cuDNN 9.8 or later is not installed: {str(error).splitlines()[0]}")
    return cudnn, {"device_property": device, "sm_version": request.param}


#: Images, weight, stride, padding, dilation.
SHAPES = {
    "3x3": ((2, 8, 9, 10), (16, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "odd channels": ((2, 3, 9, 10), (5, 3, 3, 2), (2, 1), ((1, 1), (0, 0)), (1, 1)),
    "uneven": ((2, 8, 9, 10), (16, 8, 2, 3), (1, 1), ((0, 1), (1, 1)), (1, 1)),
    "dilated": ((2, 8, 9, 10), (16, 8, 3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2)),
    "groups": ((2, 8, 9, 10), (16, 4, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "depthwise": ((2, 8, 9, 10), (8, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "pixels left over": ((2, 8, 10, 10), (16, 8, 3, 3), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    "line": ((2, 8, 1, 10), (16, 8, 1, 3), (1, 2), ((0, 0), (1, 1)), (1, 1)),
    "volume": ((2, 8, 5, 6, 7), (16, 4, 3, 2, 3), (1, 2, 1), ((1, 1), (0, 0), (1, 1)), (1, 1, 2)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_library_plans_convolutions(name: str, kind: str, target: Any) -> None:
    """Every kind of convolution has a plan that can be built and kept, in every dtype."""
    cudnn, device = target
    x, w, stride, padding, dilation = SHAPES[name]
    y = (x[0], w[0], *out_sizes(x[2:], w[2:], stride, padding, dilation))
    for dtype, exact in (("bfloat16", False), ("float16", False), ("float32", False),
                         ("float32", True), ("float64", False)):  # fmt: skip
        wanted = Convolution(kind, dtype, x, w, y, stride, padding, dilation, exact)
        graph = planned(cudnn, wanted, **device)
        graph.build_plans()
        assert bytes(graph.serialize())


#: Shapes of query, key and value, causal, shape of the bias, positions before heads.
ATTENTIONS = {
    "causal": ((2, 4, 128, 64), (2, 4, 128, 64), (2, 4, 128, 64), True, None, False),
    "odd lengths": ((2, 4, 33, 40), (2, 4, 57, 40), (2, 4, 57, 48), True, None, False),
    "bias": ((2, 4, 33, 64), (2, 4, 57, 64), (2, 4, 57, 64), False, (1, 4, 33, 57), False),
    "shared heads": ((2, 8, 64, 64), (2, 2, 64, 64), (2, 2, 64, 64), False, None, True),
    "packed": ((2, 4, 128, 64), (2, 4, 128, 64), (2, 4, 128, 64), True, None, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sdpa", "sdpa_backward"])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_the_library_plans_attention(name: str, kind: str, target: Any) -> None:
    """Attention and its gradient, laid as models lay it."""
    cudnn, device = target
    if not _has_driver():
        pytest.skip("cuDNN compiles attention, which wants a driver's libcuda.so.1")
    q, k, v, causal, bias, packed = ATTENTIONS[name]
    out = (*q[:3], v[3])

    def laid(shape: tuple[int, ...], packed: bool = False) -> tuple[Any, Any]:
        _, h, n, d = shape
        return shape, (3 * h * n * d, d, 3 * h * d, 1) if packed else (h * n * d, n * d, d, 1)

    tensors = {attention.QUERY: laid(q, packed), attention.KEY: laid(k, packed),
               attention.VALUE: laid(v, packed), attention.OUT: laid(out),
               attention.STATS: laid((*q[:3], 1))}  # fmt: skip
    if bias is not None:
        tensors[attention.BIAS] = laid(bias)
    if kind == "sdpa_backward":
        tensors |= {attention.GRAD: laid(out), attention.QUERY_GRAD: laid(q),
                    attention.KEY_GRAD: laid(k), attention.VALUE_GRAD: laid(v)}  # fmt: skip
    for dtype in ("float16", "bfloat16"):
        wanted = Attention(kind, dtype, tuple(tensors.items()), 0.125, causal)
        graph = planned(cudnn, wanted, **device)
        if (name, kind, device["sm_version"]) == ("bias", "sdpa_backward", 100):
            with pytest.raises(cudnn.cudnnGraphNotSupportedError):  # so it is composed there
                graph.build_plans()
            continue
        graph.build_plans()
        assert bytes(graph.serialize())


def _has_driver() -> bool:
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
