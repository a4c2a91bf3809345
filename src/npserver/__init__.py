"""npserver: static files, reverse proxy, TCP/UDP forwarding, DNS and TLS from one program with one JSON file.

Glossary:

listener    an address that clients connect or send to, with a name and a URI
front       serves the clients of one listener: HTTP, forwarding or DNS
route       a compiled HTTP rule of the config: what it matches, middleware and handler
middleware  checks or changes requests and responses of a route: networks, basic auth, header fields
handler     answers the requests of a route: static, proxy, redirect, respond, status
exchange    one HTTP request and its response
upstream    a named group of targets; a target is one server address, with its pool of idle connections
balancer    chooses the target of an upstream for the next request
relay       copies bytes both ways between two connections
session     the datagrams between one client and one target
zone        a domain with all names below it; a record set is all records of one name and type
runtime     a whole config compiled; a reload replaces the active runtime with a new one
master      the process that owns the listening sockets and starts all others
worker      a process that serves clients; the controller runs what is done once, such as health checks
context     what the objects of one process share: event loop, scoreboard row, access log
scoreboard  memory shared by all processes: counters, gauges, health
pubsub      passes the latest value of a topic, such as resolved addresses, to all processes
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npserver.embed import Server, serve

__version__ = "1.0.0"
__all__ = ["Server", "__version__", "serve"]


def __getattr__(name: str) -> Any:
    """Import `npserver.embed` on first use: the program itself does not need it, and starts faster without."""
    if name in {"Server", "serve"}:
        return getattr(import_module("npserver.embed"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
