"""The parts of a loader, under PyTorch's names where programs import them."""

from gpugrad.utils.data._utils import collate as collate
from gpugrad.utils.data._utils import fetch as fetch
from gpugrad.utils.data._utils import pin_memory as pin_memory
from gpugrad.utils.data._utils import worker as worker
