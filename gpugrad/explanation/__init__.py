"""What a call would run on a CUDA device, kernel by kernel: ``gpugrad.explain``.

``calling.py`` makes the call and its backward, ``watching.py`` is the target that notes the
kernels on the way, ``behind.py`` knows what does the rest, ``traffic.py`` counts bytes,
``timing.py`` measures on a device, ``report.py`` holds and prints the result.
"""

from __future__ import annotations

from gpugrad.explanation.calling import explain as explain
from gpugrad.explanation.report import Explanation as Explanation
from gpugrad.explanation.report import Kernel as Kernel
from gpugrad.explanation.report import Other as Other
from gpugrad.explanation.traffic import Traffic as Traffic
