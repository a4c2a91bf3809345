"""What the tests of both kinds of buffering share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import npserver

LARGE = bytes(range(256)) * 12_000  # 3 MB


def secure(certificates: Callable[..., Any], url: str, **keys: Any) -> Any:
    """Serve a proxy rule over TLS."""
    issued = certificates()
    tls = {"cert": str(issued.cert), "key": str(issued.key)}
    listener = {"name": "in", "uri": "https://127.0.0.1:0", "tls": tls}
    rule = {"handler": "proxy", "proxy_pass": url, **keys}
    return npserver.serve({"listen": [listener], "dispatch": [rule]}, shutdown_s=0)
