"""Checks for gradients and for op records, usable for a user's own ops.

from gpugrad.testing import check_op, gradcheck

check_op("my_op")                       # a record: everything it promises
gradcheck(my_function, (x,))            # any function of float64 tensors
"""

from __future__ import annotations

from gpugrad.autograd.gradcheck import GradcheckError as GradcheckError
from gpugrad.autograd.gradcheck import gradcheck as gradcheck
from gpugrad.autograd.gradcheck import gradgradcheck as gradgradcheck
from gpugrad.testing.check_op import CHECKS as CHECKS
from gpugrad.testing.check_op import OpCheckError as OpCheckError
from gpugrad.testing.check_op import check_op as check_op
from gpugrad.testing.comparing import assert_allclose as assert_allclose
from gpugrad.testing.comparing import assert_close as assert_close
