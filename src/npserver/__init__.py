"""npserver: static files, reverse proxy, TCP/UDP forwarding, DNS and TLS from one program with one JSON file.

The words used throughout:

listener    a socket that clients reach, with its name and URI
front       what serves a listener's clients: HTTP, a forward, DNS
route       a rule of the config, compiled: pattern, handler, settings
handler     what answers a route's requests: static, proxy, redirect, ...
exchange    one request and its response
upstream    a named group of targets; target: one address in it
pool        a target's idle connections
balancer    how an upstream's next target is chosen
relay       two joined transports; session: one UDP client
zone        an apex and all names below it; record set: the records of a name and type
downstream  the client's side
runtime     a whole config, compiled; a reload swaps one runtime for the next
scoreboard  memory shared by all processes: counters, health, limits
bulletin    the latest news (resolved addresses, ...) passed between the processes
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npserver.embed import Server, serve

__version__ = "1.0.0"
__all__ = ["Server", "__version__", "serve"]


def __getattr__(name: str) -> Any:
    """Import what embedding needs only when it is asked for: the program itself starts faster without."""
    if name in {"Server", "serve"}:
        return getattr(import_module("npserver.embed"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
