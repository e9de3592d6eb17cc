"""Functions of functions, under the names of ``torch.func``: mapping, derivatives, stateless calls.

Everything is made of ordinary ops and the tape: ``vmap`` is a loop, derivatives are reverse mode.
"""

from gpugrad.func.derivatives import grad as grad
from gpugrad.func.derivatives import grad_and_value as grad_and_value
from gpugrad.func.derivatives import hessian as hessian
from gpugrad.func.derivatives import jacfwd as jacfwd
from gpugrad.func.derivatives import jacrev as jacrev
from gpugrad.func.derivatives import jvp as jvp
from gpugrad.func.derivatives import vjp as vjp
from gpugrad.func.stateless import functional_call as functional_call
from gpugrad.func.stateless import stack_module_state as stack_module_state
from gpugrad.func.vmap import vmap as vmap
