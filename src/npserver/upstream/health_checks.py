"""Active health checks of an upstream. They run in the controller only, and write the results to the scoreboard.

The first check of a target is made within a second, and decides alone; after it, `rise` good or `fall` bad results in a
row change the target's health. Each change is logged once, with the reason.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from npserver.address import HTTP, Address, schemes_reaching
from npserver.errors import UpstreamError
from npserver.net.dialer import dial
from npserver.upstream.health_state import Health, HealthTrack, parse_statuses
from npserver.upstream.http1 import HttpClient
from npserver.upstream.response_sink import ClientSettings

if TYPE_CHECKING:
    from npserver.http.response_parser import ResponseHead
    from npserver.runtime.context import Context
    from npserver.upstream.config import HealthCheck
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target

log = logging.getLogger("npserver.upstream")

MAX_BODY_BYTES = 64 << 10  # part of a response body that is searched for `expect.body`
JITTER = 0.1  # part of the interval by which a pause varies, so that the checks of many servers do not coincide
_CHECK = ClientSettings(pool_size=0)


class HealthChecks:
    """The health checks of all targets of one upstream; a `runtime.front.Service`."""

    __slots__ = ("_check", "_context", "_is_http", "_statuses", "_text", "_upstream")

    def __init__(self, context: Context, upstream: Upstream, check: HealthCheck) -> None:
        self._context = context
        self._upstream = upstream
        self._check = check
        self._statuses = parse_statuses(check.expect.status)
        self._text = (check.expect.body or "").encode()
        speaks_http = {target.address.scheme for target in upstream.targets} <= schemes_reaching(HTTP)
        self._is_http = check.type == "http" or (check.type is None and speaks_http)

    def __repr__(self) -> str:
        return f"<HealthChecks {self._upstream.name}>"

    async def run(self) -> None:
        """Check all targets until cancelled."""
        targets = self._upstream.targets
        async with asyncio.TaskGroup() as group:
            for index, target in enumerate(targets):
                group.create_task(self._check_repeatedly(target, min(self._check.interval, 1.0) * index / len(targets)))

    async def _check_repeatedly(self, target: Target, delay_s: float) -> None:
        track = HealthTrack(self._check.rise, self._check.fall, target.health)
        await asyncio.sleep(delay_s)
        while True:
            reason = await self.check(target)
            self._record(target, track, reason)
            await asyncio.sleep(self._check.interval * random.uniform(1 - JITTER, 1 + JITTER))

    async def check(self, target: Target) -> str:
        """Check a target once. Return the reason why it failed the check, or an empty text."""
        try:
            async with asyncio.timeout(self._check.timeout):
                return await (self._request(target) if self._is_http else self._connect(target))
        except TimeoutError:
            return f"no response within {self._check.timeout:g} s (health_check.timeout)"
        except UpstreamError as error:
            return str(error)

    def _record(self, target: Target, track: HealthTrack, reason: str) -> None:
        before = track.state
        if not track.record(not reason):
            return
        if before is not Health.UNKNOWN:
            target.controller_slots[target.health_since_slot] = int(self._context.loop.time() * 1000)
        target.controller_slots[target.health_slot] = track.state
        name = self._upstream.name
        if track.state is Health.DOWN:
            log.warning("target %s of upstream %s is down: %s (health_check)", target.uri, name, reason)
        elif before is Health.DOWN:
            log.info("target %s of upstream %s is up again", target.uri, name)

    def _address(self, target: Target) -> Address:
        address = target.address
        if self._check.port is None or address.is_unix:
            return address
        return Address(address.scheme if address.is_stream else "tcp", address.host, self._check.port)

    async def _connect(self, target: Target) -> str:
        transport, _ = await dial(
            self._context,
            self._address(target),
            asyncio.Protocol,
            timeout_s=self._check.timeout,
            tls=target.tls,
            server_name=target.server_name,
        )
        transport.abort()
        return ""

    async def _request(self, target: Target) -> str:
        _, client = await dial(
            self._context,
            self._address(target),
            lambda: HttpClient(self._context, target, _CHECK),
            timeout_s=self._check.timeout,
            tls=target.tls,
            server_name=target.server_name,
        )
        response = _CheckResponse(self._context.loop)
        head = (
            f"GET {self._check.path} HTTP/1.1\r\nHost: {self._check.host or target.authority}\r\n"
            "User-Agent: npserver-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        client.begin(response, _CHECK, is_head=False, has_body=False)
        client.write(head.encode("latin-1"))
        try:
            status, body = await response.done
        finally:
            client.abandon()
        if status not in self._statuses:
            return f"status {status} (health_check.expect.status)"
        if self._text not in body:
            return f"{self._check.expect.body!r:.60} not in the body (health_check.expect.body)"
        return ""


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

    def request_pause(self) -> None:
        """Do nothing: the request has no body."""

    def request_resume(self) -> None:
        """Do nothing: the request has no body."""

    def _complete(self, status: int, body: bytes) -> None:
        if not self.done.done():
            self.done.set_result((status, body[:MAX_BODY_BYTES]))
