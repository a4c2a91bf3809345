"""The drained listeners of a server, as they are published: `process.control.listener_drains` decides on them.

The value of the topic: `{"number": 3, "listeners": {"https://:443": {"since": 1234.5, "deadline": 0.0, "label":
"web https://:443"}}}`. Keys are those of `Listener.key`, times those of `time.monotonic`, labels those of status pages;
a deadline of 0 is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npserver.listen.listener import Listener

LISTENER_DRAINS = "listeners:drains"  # the topic


def drained_listeners(latest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the drains by `Listener.key`, from the latest values of all topics."""
    drains: dict[str, Any] = (latest.get(LISTENER_DRAINS) or {}).get("listeners", {})
    return drains


def counter_of(listener: Listener) -> str:
    """Return the name of the counter of what a drained listener still has: one for all ports of a range, and for the
    UDP port of HTTP/3."""
    return f"gauge.drains.{listener.port_of or listener.group}"
