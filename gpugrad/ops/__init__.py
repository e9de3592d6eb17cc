"""Definitions of ops: a file per family, nothing but records.

Every module of this folder is imported, so a new file is a new family and no list names it.
"""

from __future__ import annotations

import importlib
import pkgutil

from gpugrad import publish

for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")

publish.start()
