"""A rule with `forward_auth` in front of an application, both played by raw servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.protocols.proxying import Connection, Origin, answering, ok, until
from tests.stage.site import Reply, Site, site

PASS = ok(b"", b"Remote-User: john\r\nRemote-Groups: admins,dev\r\n")
BROWSER = {"Accept": "text/html,application/xhtml+xml", "Sec-Fetch-Mode": "navigate"}
ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIGN_IN = "https://auth.example.com/?rd=$url"


def answer(status: int, fields: bytes = b"", body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(body), body)


@asynccontextmanager
async def guarded(
    *answers: bytes,
    script: Callable[[Connection], Any] | None = None,
    config: dict[str, Any] | None = None,
    **auth: Any,
) -> AsyncIterator[tuple[Site, Origin, Origin]]:
    """Serve an application behind an authorization server that answers so: the site, the server, the application."""
    async with Origin(script or answering(*answers)) as asked, Origin(answering(ok(b"in"))) as application:
        rule = {
            "handler": "proxy", "proxy_pass": application.url, "path": "/**",
            "forward_auth": {"to": asked.url, "path": "/api/authz/forward-auth", **auth},
        }  # fmt: skip
        async with site(rule, **(config or {})) as running:
            yield running, asked, application
            await until(lambda: not in_progress(running))


def in_progress(running: Site) -> int:
    """Return the requests to upstreams that are counted as active: none may be left."""
    row = running.server._single.data_plane.context.row
    names = row.board.directory.names
    return sum(row.board.total(slot) for name, slot in names.items() if name.startswith("gauge.upstream."))


async def raw(running: Site, data: bytes) -> Reply:
    """Send bytes, and read one answer."""
    client = await running.connect()
    client.writer.write(data)
    try:
        return await client.read()
    finally:
        client.close()


def fields_of(head: bytes) -> dict[str, str]:
    """Return the fields of a request by lower-case name; each occurs once."""
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    pairs = [line.split(": ", 1) for line in lines]
    found = {name.lower(): value for name, value in pairs}
    assert len(found) == len(pairs), lines
    return found
