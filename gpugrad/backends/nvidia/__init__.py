"""NVIDIA's toolchain and libraries: what compiles and launches kernels on CUDA devices.

``text`` finds the CUDA C++ of a file, ``compile`` turns CUDA C++ into machine code (no GPU needed),
``launch`` loads that and runs it, ``failures`` says what failed on a device.  The libraries are
imported inside functions, so the package works where they are not installed.
"""

#: Ends the message of every error about a library that is not there.
INSTALL = "pip install 'gpugrad[cuda13]' (or cuda12 for a CUDA 12 driver)"
