"""``python -m pytest -p cupy_stand_in.plugin``: the stand-in is there before anything is imported.

``STAND_IN_DEVICES`` in the environment says how many devices answer.
"""

import os

from cupy_stand_in import install

install(int(os.environ.get("STAND_IN_DEVICES", "1")))


def pytest_sessionstart() -> None:
    """Let fresh and freed memory be NaN, so that reading it is seen."""
    from gpugrad import backends

    for index in range(backends.cuda().device_count()):
        backends.cuda().pool(index).poison()
