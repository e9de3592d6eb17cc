"""Containers, where PyTorch has them."""

from gpugrad.nn.containers import ModuleDict as ModuleDict
from gpugrad.nn.containers import ModuleList as ModuleList
from gpugrad.nn.containers import Sequential as Sequential
from gpugrad.nn.parameter_containers import ParameterDict as ParameterDict
from gpugrad.nn.parameter_containers import ParameterList as ParameterList
