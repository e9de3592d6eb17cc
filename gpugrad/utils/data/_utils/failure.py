"""An exception of a worker, on its way to the training process."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass

from gpugrad.errors import WorkerError


class QuotedKeyError(KeyError):
    """A KeyError that shows its text as it is, where a plain one shows it quoted on one line."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass
class Failure:
    """What a worker caught.

    Attributes:
        kind: class of the exception; None where it cannot be named in another process.
        name: its name.
        text: its traceback.
    """

    kind: type[BaseException] | None
    name: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What is told of an exception that was just caught."""
        kind: type[BaseException] | None = type(error)
        try:
            pickle.dumps(kind)
        except Exception:  # a class that was made inside a function
            kind = None
        text = "".join(traceback.format_exception(error))
        return cls(kind, type(error).__qualname__, text)

    def raise_here(self, where: str) -> None:
        """Raise it in this process: of its class, with the worker's traceback in its text.

        A class that takes other arguments than a text is raised as ``WorkerError``.
        """
        text = f"Caught {self.name} in {where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            raise QuotedKeyError(text)
        try:
            error = WorkerError(text) if self.kind is None else self.kind(text)
        except Exception:
            error = WorkerError(text)
        raise error
