"""Files: checkpoints, tensors as safetensors, and writing that leaves a file whole or absent."""

from gpugrad.io.checkpoint import load as load
from gpugrad.io.checkpoint import save as save
from gpugrad.io.files import named as named
from gpugrad.io.files import replacing as replacing
from gpugrad.io.files import staged as staged
from gpugrad.io.safetensors import load_file as load_file
from gpugrad.io.safetensors import save_file as save_file
