"""``python -m pytest -p cupy_stand_in.plugin``: the stand-in is there before anything is imported.

``STAND_IN_DEVICES`` in the environment says how many devices answer, ``STAND_IN_SHARE`` which share
of the tests is run: ``2/3`` is the second of three.  ``STAND_IN_KERNELS=0`` leaves the work to
array code, which a device falls back on, instead of generated kernels.
"""

import os

import pytest

from cupy_stand_in import install

install(int(os.environ.get("STAND_IN_DEVICES", "1")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep this share of the tests, so that processes can divide them."""
    which, _, count = os.environ.get("STAND_IN_SHARE", "1/1").partition("/")
    items[:] = items[int(which) - 1 :: int(count)]


def pytest_sessionstart() -> None:
    """Let fresh and freed memory be NaN, so that reading it is seen."""
    from gpugrad import backends

    if os.environ.get("STAND_IN_KERNELS") == "0":
        from gpugrad.codegen.target import TARGETS

        TARGETS[backends.cuda().array_type] = None
    for index in range(backends.cuda().device_count()):
        backends.cuda().pool(index).poison()
