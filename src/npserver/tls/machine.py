"""The names and private addresses of this machine, for certificates of listeners whose rules name no host."""

from __future__ import annotations

import socket

from npserver.runtime.interfaces import interface_addresses
from npserver.tls.local_names import is_local_name

MAX_ADDRESSES = 50  # a host of containers may have thousands


def machine_names() -> tuple[str, ...]:
    """Return localhost, the host name where it is a local one and below `.local`, and the private addresses."""
    host = socket.gethostname().lower().rstrip(".")
    label = host.partition(".")[0]
    names = ["localhost"]
    if label and label != "localhost" and label.replace("-", "").isalnum() and label.isascii():
        names.append(f"{label}.local")
        if host != label and is_local_name(host):
            names.append(host)
    found = sorted({one for one in _addresses() if is_local_name(one)}, key=lambda one: (":" in one, one))
    return tuple(dict.fromkeys([*names, "127.0.0.1", "::1", *found[:MAX_ADDRESSES]]))


def _addresses() -> list[str]:
    return [str(one.ip) for one in interface_addresses()]
