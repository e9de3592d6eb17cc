"""Who takes memory: the op that runs, and the user's line, for a memory pool that records it."""

from __future__ import annotations

import os
import sys
from types import FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def holder() -> str:
    """``op at file:line`` of the allocation that is being made.

    The user's line is the one that called into gpugrad; array libraries below have lines, too.
    """
    frame: FrameType | None = sys._getframe(1)
    name = None
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith((_PACKAGE, "<gpugrad")):
            name = name or _what(frame)
        elif name is not None:
            return f"{name} at {file}:{frame.f_lineno}"
        frame = frame.f_back
    return name or "an allocation outside gpugrad"


def _what(frame: FrameType) -> str | None:
    """What a frame of ours runs, where it is one that knows: its record or its node has a name."""
    match frame.f_globals.get("__name__"), frame.f_code.co_name:
        case "gpugrad.dispatch", "call":
            return str(frame.f_locals["op"].name)
        case "gpugrad.publish", "public" if "record" in frame.f_locals:
            return str(frame.f_locals["record"].name)
        case "gpugrad.tape.nodes", "apply":
            return f"gradient of {frame.f_locals['self'].op.name}"
        case "gpugrad.tape.engine", "run" if "node" in frame.f_locals:
            node = frame.f_locals["node"]
            return f"gradient of {node.op.name}" if hasattr(node, "op") else "gradient of a leaf"
    return None
