"""An exchange with just the attributes that variables and header changes read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from npserver.http.request import NO_BODY, HeaderBlock, HeadValues, Request

VALUES = HeadValues(True, "example.com", "example.com:8080", NO_BODY, 0, True, True, False, b"", None)
BLOCK = HeaderBlock([], (), VALUES)


def exchange(**changes: Any) -> Any:
    """Return an exchange; `changes` replace attributes of it, or of its request."""
    request = Request("GET", "/a?b", "/a", "b=1", True, 1, "example.com", "example.com:8080", BLOCK, b"")
    for name in list(changes):
        if hasattr(request, name):
            setattr(request, name, changes.pop(name))
    values: dict[str, Any] = {
        "request": request, "client_ip": "192.0.2.1", "client_port": 4711, "peer_ip": "198.51.100.1", "scheme": "https",
        "local": ("192.0.2.80", 443), "upstream": "http://10.0.0.1", "request_id": "f" * 32, "tls": None,
        "user": "", "trace": None,
        "context": SimpleNamespace(wall_clock=lambda: 784111777.0),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})
