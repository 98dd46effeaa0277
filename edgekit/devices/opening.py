"""Devices by their URIs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from edgekit.core.errors import UsageError
from edgekit.devices.adb import open_adb
from edgekit.devices.base import Device
from edgekit.devices.bench import LOCAL
from edgekit.devices.qemu import QemuDevice
from edgekit.devices.ssh import open_ssh

__all__ = ["open_device", "using"]

# Scheme → what opens the whole URI.
_SCHEMES: dict[str, Callable[[str], Device]] = {"adb": open_adb, "qemu": QemuDevice, "ssh": open_ssh}


def open_device(uri: str) -> Device:
    """The device that `uri` names. Nothing is reached before its first use.

    Raises:
        UsageError: no such kind of device, or the URI has not its form.
    """
    if uri == "local":
        return LOCAL
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise UsageError(
            f"{uri!r} names no device",
            blame="the command line",
            remedy=f"Give local{''.join(f', {known}://…' for known in _SCHEMES)}. Help: edgekit devices --help",
        )
    return _SCHEMES[scheme](uri)


@contextlib.contextmanager
def using(device: Device | str) -> Iterator[Device]:
    """A device, or the one that a URI names, which is closed afterwards.

    Raises:
        UsageError: as `open_device`.
    """
    if not isinstance(device, str):
        yield device
        return
    opened = open_device(device)
    try:
        yield opened
    finally:
        opened.close()
