"""Active health checks of an upstream. They run in the controller only, and write the results to the scoreboard.

The first check of a target is made within a second, and decides alone; after it, `rise` good or `fall` bad results in a
row change the target's health. Each change is logged once, with the reason.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, cast

from npserver.address import HTTP, Address, schemes_reaching
from npserver.errors import UpstreamError
from npserver.net.dialer import dial
from npserver.upstream.check_request import body_fault, write_request
from npserver.upstream.health_state import Health, HealthTrack, parse_statuses
from npserver.upstream.http1 import HttpClient
from npserver.upstream.registry import tell_reason
from npserver.upstream.response_sink import ClientSettings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from npserver.http.response_parser import ResponseHead
    from npserver.runtime.context import Context
    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.config import HealthCheck
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target

log = logging.getLogger("npserver.upstream")

MAX_BODY_BYTES = 64 << 10  # part of a response body that is searched for `expect.body`
JITTER = 0.1  # part of the interval by which a pause varies, so that the checks of many servers do not coincide
_CHECK = ClientSettings(pool_size=0)

P = TypeVar("P", bound=asyncio.Protocol)


class HealthChecks:
    """The health checks of all targets of one upstream; a `runtime.front.Service`."""

    __slots__ = ("_check", "_context", "_is_asked", "_statuses", "_tls", "_upstream")

    def __init__(
        self, context: Context, upstream: Upstream, check: HealthCheck, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls`: of gRPC checks, which offer HTTP/2; other checks use that of each target."""
        self._context = context
        self._upstream = upstream
        self._check = check
        self._tls = tls
        self._statuses = parse_statuses(check.expect.status)
        speaks_http = {target.address.scheme for target in upstream.targets} <= schemes_reaching(HTTP)
        self._is_asked = check.type in ("http", "fastcgi") or (check.type is None and speaks_http)

    def __repr__(self) -> str:
        return f"<HealthChecks {self._upstream.name}>"

    async def run(self) -> None:
        """Check all targets until cancelled."""
        targets = self._upstream.targets
        if self._upstream.section.health is None:
            for target in targets:  # a config before may have had it
                target.set_ejected(0)
        async with asyncio.TaskGroup() as group:
            for index, target in enumerate(targets):
                group.create_task(self._check_repeatedly(target, min(self._check.interval, 1.0) * index / len(targets)))

    async def _check_repeatedly(self, target: Target, delay_s: float) -> None:
        track = HealthTrack(self._check.rise, self._check.fall, target.checked)
        await asyncio.sleep(delay_s)
        while True:
            reason = await self.check(target)
            self._record(target, track, reason)
            await asyncio.sleep(self._check.interval * random.uniform(1 - JITTER, 1 + JITTER))

    async def check(self, target: Target) -> str:
        """Check a target once. Return the reason why it failed the check, or an empty text."""
        try:
            async with asyncio.timeout(self._check.timeout):
                if self._check.type == "grpc":
                    return await self._ask_grpc(target)
                return await (self._request(target) if self._is_asked else self._connect(target))
        except TimeoutError:
            return f"no response within {self._check.timeout:g} s (health_check.timeout)"
        except UpstreamError as error:
            return str(error).removeprefix(f"{target.uri}: ")  # whoever shows the reason names the target

    def _record(self, target: Target, track: HealthTrack, reason: str) -> None:
        before = track.state
        if not track.record(not reason):
            return
        target.set_checked(track.state)
        tell_reason(self._context, self._upstream.name, target.uri, reason)
        name = self._upstream.name
        if track.state is Health.DOWN:
            key = "" if "(health_check." in reason else f" (upstreams.{name}.health_check)"
            log.warning("target %s of upstream %s is down: %s%s", target.uri, name, reason, key)
        elif before is Health.DOWN:
            log.info("target %s of upstream %s is up again", target.uri, name)

    async def _dial(
        self, target: Target, make: Callable[[], P], tls: ssl.SSLContext | None
    ) -> tuple[asyncio.Transport, P]:
        """Connect to the target, at `port` if the check has one. Raises: UpstreamError."""
        address = target.address
        if self._check.port is not None and not address.is_unix:
            address = Address(address.scheme if address.is_stream else "tcp", address.host, self._check.port)
        server_name, timeout_s = target.server_name, self._check.timeout
        return await dial(self._context, address, make, timeout_s=timeout_s, tls=tls, server_name=server_name)

    async def _connect(self, target: Target) -> str:
        transport, _ = await self._dial(target, asyncio.Protocol, target.tls)
        transport.abort()
        return ""

    async def _ask_grpc(self, target: Target) -> str:
        from npserver.upstream.grpc_check import GrpcCheck

        authority = self._check.host or target.authority
        transport, check = await self._dial(
            target,
            lambda: GrpcCheck(self._context.loop, self._check.service or "", authority),
            target.tls and self._tls,
        )
        try:
            return await check.done
        finally:
            transport.abort()

    async def _request(self, target: Target) -> str:
        response = _CheckResponse(self._context.loop)
        is_head = self._check.method == "HEAD"
        client: UpstreamClient
        if self._check.type == "fastcgi":
            from npserver.upstream.fastcgi import FastcgiClient
            from npserver.upstream.fastcgi_check import write_fastcgi_request

            _, script = await self._dial(target, lambda: FastcgiClient(self._context, target, _CHECK), None)
            script.begin(response, _CHECK, is_head=is_head, has_body=False)
            script.send_head(write_fastcgi_request(self._check, target.authority))
            client = script
        else:
            client = await self._client(target)
            client.begin(response, _CHECK, is_head=is_head, has_body=False)
            client.write(write_request(self._check, target.authority))
        try:
            status, body = await response.done
        finally:
            client.abandon()
        if status not in self._statuses:
            return f"status {status} (health_check.expect.status)"
        return body_fault(self._check.expect, body)

    async def _client(self, target: Target) -> UpstreamClient:
        """Return a connection of the target's kind, for one check."""
        if target.settings.http2 is None:
            return (await self._dial(target, lambda: HttpClient(self._context, target, _CHECK), target.tls))[1]
        from npserver.upstream.http2.connection import Http2Connection
        from npserver.upstream.http2.dialing import protocol_factory

        _, protocol = await self._dial(target, protocol_factory(self._context, target, _CHECK), target.tls)
        if not isinstance(protocol, Http2Connection):
            return cast("HttpClient", protocol)
        try:
            await protocol.ready
        except asyncio.CancelledError:
            protocol.abort()
            raise
        return protocol.open_stream(is_reused=False)


class _CheckResponse:
    """A response sink that collects the status and body for one check."""

    __slots__ = ("_body", "_status", "done")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[tuple[int, bytes]] = loop.create_future()
        self._status = 0
        self._body = b""

    def response_interim(self, head: ResponseHead) -> None:
        """Ignore a 1xx response."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Complete the check with a response that arrived in one read."""
        self._complete(head.status, body)

    def response_start(self, head: ResponseHead) -> None:
        """Store the status; the body follows."""
        self._status = head.status

    def response_data(self, data: bytes) -> None:
        """Collect the next data of the body, up to `MAX_BODY_BYTES`."""
        self._body += data
        if len(self._body) >= MAX_BODY_BYTES:
            self._complete(self._status, self._body)

    def response_end(self, trailers: bytes) -> None:
        """Complete the check with the status and the collected body."""
        self._complete(self._status, self._body)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Complete the check with a 101 response, which the request did not ask for."""
        self._complete(head.status, b"")

    def response_lost(self, error: UpstreamError) -> None:
        """Make the check fail with the error."""
        with suppress(asyncio.InvalidStateError):
            self.done.set_exception(error)

    def error_output(self, data: bytes, offset: int) -> None:
        """Ignore error output of a FastCGI server."""

    def request_pause(self) -> None:
        """Do nothing: the request has no body."""

    def request_resume(self) -> None:
        """Do nothing: the request has no body."""

    def _complete(self, status: int, body: bytes) -> None:
        if not self.done.done():
            self.done.set_result((status, body[:MAX_BODY_BYTES]))
