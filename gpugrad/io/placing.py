"""Where loaded tensors go: ``map_location`` as PyTorch reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpugrad import backends, dtypes
from gpugrad.devices import CPU, META, Device
from gpugrad.errors import ArgumentError, DeviceError, SettingError
from gpugrad.io.source import Bytes
from gpugrad.tensor import Tensor, wrap

#: Moves the bytes of a block, which were saved on a device of that name.
Place = Callable[[Bytes, str], Any]


def placer(map_location: Any) -> Place:
    """A function that puts bytes where ``map_location`` wants them, as a flat uint8 array.

    Args:
        map_location: None for the device that they were saved on; a device or its name for all; a
            dict of names of devices, where missing ones stay; or a function of (bytes as a uint8
            tensor on the CPU, name of the device), which gives them back from where they should be,
            or None to leave the choice to the name.

    Raises:
        ArgumentError: if it is none of these.
    """
    if map_location is None:
        return _move
    if isinstance(map_location, str | Device | int) and not isinstance(map_location, bool):
        device = Device(map_location)
        return lambda data, _: _move(data, str(device))
    if isinstance(map_location, Mapping):
        names = {str(Device(k)): str(Device(v)) for k, v in map_location.items()}
        return lambda data, location: _move(data, names.get(location, location))
    if callable(map_location):
        return lambda data, location: _asked(map_location, data, location)
    raise ArgumentError(
        "load: map_location must be a device, its name, a dict of such, a function or None, got "
        f"{type(map_location).__name__}"
    )


def _move(data: Bytes, location: str) -> Any:
    try:
        device = Device(location)
        if device is CPU:
            return data
        if device is META:
            return None
        return backends.for_device(device).from_numpy(data, device)
    except DeviceError as error:
        raise DeviceError(
            f"load: the tensors belong on {location}, and that is not to be had: {error}; "
            "map_location='cpu' loads them into the host's memory"
        ) from None


def _asked(function: Callable[[Tensor, str], Any], data: Bytes, location: str) -> Any:
    try:
        found = function(wrap(data), location)
    except Exception as error:  # the user's; not to be taken for a fault of the file
        raise SettingError(f"load: map_location raised {error!r:.200}") from error
    if found is None:
        return _move(data, location)
    if (
        not isinstance(found, Tensor)
        or found.dtype is not dtypes.uint8
        or found.shape != (data.size,)
    ):
        raise ArgumentError(
            f"load: map_location must return None or the {data.size} bytes that it was given, on "
            f"any device; got {found!r:.80}"
        )
    return None if found.is_meta else found._array


__all__ = ["Place", "placer"]
