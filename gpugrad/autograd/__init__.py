"""Automatic differentiation, under PyTorch's names."""

from gpugrad.autograd import functional as functional
from gpugrad.autograd import graph as graph
from gpugrad.autograd import profiler as profiler
from gpugrad.autograd.anomaly import detect_anomaly as detect_anomaly
from gpugrad.autograd.anomaly import set_detect_anomaly as set_detect_anomaly
from gpugrad.autograd.function import Function as Function
from gpugrad.autograd.gradcheck import gradcheck as gradcheck
from gpugrad.autograd.gradcheck import gradgradcheck as gradgradcheck
from gpugrad.autograd.run import backward as backward
from gpugrad.autograd.run import grad as grad
from gpugrad.autograd.variable import Variable as Variable
from gpugrad.modes import enable_grad as enable_grad
from gpugrad.modes import inference_mode as inference_mode
from gpugrad.modes import no_grad as no_grad
from gpugrad.modes import set_grad_enabled as set_grad_enabled
