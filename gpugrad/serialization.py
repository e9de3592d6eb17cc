"""PyTorch's home of saving and loading."""

from gpugrad.io.checkpoint import load as load
from gpugrad.io.checkpoint import save as save
from gpugrad.io.trusted import add_safe_globals as add_safe_globals
from gpugrad.io.trusted import clear_safe_globals as clear_safe_globals
from gpugrad.io.trusted import get_safe_globals as get_safe_globals
from gpugrad.io.trusted import safe_globals as safe_globals
