"""The request of an active health check of a FastCGI server (`"type": "fastcgi"`).

PHP-FPM answers the path that its key ping.path names by itself; any other is the file of a script to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.upstream.fastcgi_records import write_head, write_pair

if TYPE_CHECKING:
    from npserver.upstream.config import HealthCheck


def write_fastcgi_request(check: HealthCheck, authority: str) -> bytes:
    """Return the request of a check, up to its body. `authority`: the target's, for the Host field."""
    script, _, query = check.path.partition("?")
    variables = {
        "SCRIPT_FILENAME": script,
        "SCRIPT_NAME": script,
        "REQUEST_URI": check.path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": check.method,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "npserver",
        "REDIRECT_STATUS": "200",
        "HTTP_HOST": check.host or authority,
        "HTTP_USER_AGENT": "npserver-health",
    }
    variables |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in check.headers.items()}
    pairs = [write_pair(name.encode("latin-1"), value.encode("latin-1")) for name, value in variables.items()]
    return write_head(b"".join(pairs), keep=False)
