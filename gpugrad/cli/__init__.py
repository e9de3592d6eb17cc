"""The command line: ``gpugrad train``, ``gpugrad info``, ``gpugrad ops``.

A file per command.  Whatever goes wrong ends in one line on stderr and exit status 1; a run that
was interrupted by Ctrl-C ends with 130, as shells have it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        args: what follows the program's name; ``sys.argv`` where not given.
    """
    try:
        from gpugrad.cli import root
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        fail(f"the command line needs {error.name}, which is missing: pip install click rich")
    sys.exit(root.run(args))


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with one line on stderr."""
    print(f"gpugrad: {message}", file=sys.stderr)
    _drop_output()
    sys.exit(status)


def _drop_output() -> None:
    """Flush what can still be flushed: at exit, Python would complain about the rest."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
