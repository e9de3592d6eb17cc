"""Every exception that gpugrad raises on purpose.

Each class also derives from the builtin that PyTorch raises in the same situation, so that an
existing ``except RuntimeError`` keeps working.  Messages name the op, show both sides and say what
would be accepted.
"""

from pickle import UnpicklingError


class GpugradError(Exception):
    """Base of all errors raised by gpugrad."""


class ShapeError(GpugradError, RuntimeError):
    """Shapes of the operands do not fit each other or the op."""


class DTypeError(GpugradError, RuntimeError):
    """A dtype that the op does not take, or a cast that would lose the kind of the number."""


class DeviceError(GpugradError, RuntimeError):
    """Operands live on different devices, or the device is not there."""


class DimError(GpugradError, IndexError, RuntimeError):
    """A dimension outside ``[-ndim, ndim)``, or named twice."""


class IndexingError(GpugradError, IndexError):
    """An index out of range, or of a kind that cannot index."""


class ArgumentError(GpugradError, TypeError, RuntimeError):
    """An argument is missing, unknown, or of the wrong type."""


class SettingError(GpugradError, ValueError, RuntimeError):
    """An argument has the right type but an impossible value."""


class AutogradError(GpugradError, RuntimeError):
    """Misuse of the tape: a freed graph, a stale saved tensor, a root that is not a scalar."""


class ViewError(GpugradError, RuntimeError):
    """A view that the memory layout cannot express, or a write through overlapping memory."""


class DivisionError(GpugradError, RuntimeError, ZeroDivisionError):
    """An integer was divided by zero."""


class LinAlgError(GpugradError, RuntimeError):
    """A matrix that cannot be inverted or factored as asked."""


class RegistrationError(GpugradError, TypeError):
    """An op record that breaks the rules of the form (see ``gpugrad.op``)."""


class FileFormatError(GpugradError, UnpicklingError, ValueError, RuntimeError):
    """A file that is damaged, cut short, of another kind, or asks for what is not allowed."""


class OutOfMemoryError(GpugradError, RuntimeError, MemoryError):
    """There is no memory of a device or of the host, even after the cache was given back."""


class WorkerError(GpugradError, RuntimeError):
    """A worker process of a data loader died, kept silent for too long, or could not start."""


class KernelError(GpugradError, RuntimeError):
    """A kernel did not compile or run; the message has its source, or says where it is kept."""


class NotSupportedError(GpugradError, NotImplementedError):
    """Something that gpugrad does not do (yet); the message says what to use instead."""
