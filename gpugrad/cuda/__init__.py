"""CUDA devices under PyTorch's names.  Nothing here imports CuPy until a device is asked for.

Without CUDA ``is_available()`` is False, counts and statistics are 0, and whatever needs a device
raises a DeviceError that says what is missing.
"""

from gpugrad.cuda import memory as memory
from gpugrad.cuda import random as random
from gpugrad.cuda import streams as streams
from gpugrad.cuda.devices import current_device as current_device
from gpugrad.cuda.devices import device as device
from gpugrad.cuda.devices import device_count as device_count
from gpugrad.cuda.devices import device_of as device_of
from gpugrad.cuda.devices import get_device_capability as get_device_capability
from gpugrad.cuda.devices import get_device_name as get_device_name
from gpugrad.cuda.devices import get_device_properties as get_device_properties
from gpugrad.cuda.devices import init as init
from gpugrad.cuda.devices import is_available as is_available
from gpugrad.cuda.devices import is_bf16_supported as is_bf16_supported
from gpugrad.cuda.devices import is_initialized as is_initialized
from gpugrad.cuda.devices import is_tf32_supported as is_tf32_supported
from gpugrad.cuda.devices import set_device as set_device
from gpugrad.cuda.devices import synchronize as synchronize
from gpugrad.cuda.memory import OutOfMemoryError as OutOfMemoryError
from gpugrad.cuda.memory import empty_cache as empty_cache
from gpugrad.cuda.memory import max_memory_allocated as max_memory_allocated
from gpugrad.cuda.memory import max_memory_reserved as max_memory_reserved
from gpugrad.cuda.memory import mem_get_info as mem_get_info
from gpugrad.cuda.memory import memory_allocated as memory_allocated
from gpugrad.cuda.memory import memory_reserved as memory_reserved
from gpugrad.cuda.memory import memory_snapshot as memory_snapshot
from gpugrad.cuda.memory import memory_stats as memory_stats
from gpugrad.cuda.memory import memory_summary as memory_summary
from gpugrad.cuda.memory import reset_max_memory_allocated as reset_max_memory_allocated
from gpugrad.cuda.memory import reset_peak_memory_stats as reset_peak_memory_stats
from gpugrad.cuda.memory import set_memory_limit as set_memory_limit
from gpugrad.cuda.memory import set_per_process_memory_fraction as set_per_process_memory_fraction
from gpugrad.cuda.random import default_generator as default_generator
from gpugrad.cuda.random import get_rng_state as get_rng_state
from gpugrad.cuda.random import get_rng_state_all as get_rng_state_all
from gpugrad.cuda.random import initial_seed as initial_seed
from gpugrad.cuda.random import manual_seed as manual_seed
from gpugrad.cuda.random import manual_seed_all as manual_seed_all
from gpugrad.cuda.random import seed as seed
from gpugrad.cuda.random import seed_all as seed_all
from gpugrad.cuda.random import set_rng_state as set_rng_state
from gpugrad.cuda.random import set_rng_state_all as set_rng_state_all
from gpugrad.cuda.streams import Event as Event
from gpugrad.cuda.streams import Stream as Stream
from gpugrad.cuda.streams import StreamContext as StreamContext
from gpugrad.cuda.streams import current_stream as current_stream
from gpugrad.cuda.streams import default_stream as default_stream
from gpugrad.cuda.streams import set_stream as set_stream
from gpugrad.cuda.streams import stream as stream
from gpugrad.publish import namespace as _namespace

# Records of this home: FloatTensor and its like.
__getattr__, _names = _namespace("cuda")


def __dir__() -> list[str]:
    return sorted({*globals(), *_names()})
