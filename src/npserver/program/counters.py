"""Names the counters of the server itself, so that all processes have them in the same slots of the scoreboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.observe.process_usage import name_usage
from npserver.observe.reload_counters import RELOADED_AT, RELOADS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npserver.listen.listener import Listener
    from npserver.runtime.scoreboard import Row


def name_server_counters(listeners: Iterable[Listener], row: Row) -> None:
    """Give the counters their slots; those of TLS if a listener uses it."""
    names = [*RELOADS.values(), RELOADED_AT]
    if any(listener.server_tls is not None for listener in listeners):
        from npserver.tls.accept import HANDSHAKE_FAILURES, RESUMED, VERSIONS

        names += [*VERSIONS.values(), RESUMED, HANDSHAKE_FAILURES]
    for name in names:
        row.slot(name)
    name_usage(row)
