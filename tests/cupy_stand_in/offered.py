"""What CuPy offers, as recorded in ``api.json`` by ``record.py``."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

API: dict[str, Any] = json.loads(Path(__file__).with_name("api.json").read_text())


def signature_of(name: str) -> inspect.Signature | None:
    """CuPy's own signature, as recorded."""
    text = API["functions"][name]
    if text is None:
        return None
    space: dict[str, Any] = {}
    exec(f"def f{text}: pass", space)
    return inspect.signature(space["f"])
