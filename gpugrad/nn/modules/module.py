"""``Module`` and the hooks of all modules, where PyTorch has them."""

from gpugrad.nn.hooks import register_module_forward_hook as register_module_forward_hook
from gpugrad.nn.hooks import register_module_forward_pre_hook as register_module_forward_pre_hook
from gpugrad.nn.hooks import (
    register_module_full_backward_hook as register_module_full_backward_hook,
)
from gpugrad.nn.hooks import (
    register_module_full_backward_pre_hook as register_module_full_backward_pre_hook,
)
from gpugrad.nn.module import Module as Module
