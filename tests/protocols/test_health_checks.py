"""Active health checks against real and misbehaving targets: initial state, rise and fall, another port.

Covers `upstream.check_request`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from npserver.upstream.health_checks import HealthChecks
from npserver.upstream.health_state import Health
from tests.protocols.proxying import Connection, Origin, Stage, answering, get, ok, silent, until
from tests.stage.ports import free_port
from tests.stage.programs import needs_localhost
from tests.stage.serving import forgiving

CHUNKED = b"HTTP/1.1 200 O\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nwe\r\n2\r\nll\r\n0\r\n\r\n"
ILL = b"HTTP/1.1 503 F\r\nContent-Length: 0\r\n\r\n"


def stage(*urls: str, **check: Any) -> Stage:
    check = {"interval": 0.01, "timeout": 1, "rise": 2, "fall": 2, **check}
    return Stage("upstream://app", config={"upstreams": {"app": {"targets": list(urls), "health_check": check}}})


def checks(one: Stage) -> HealthChecks:
    (service,) = one.services
    assert isinstance(service, HealthChecks)
    return service


async def verdict(origin: Origin, **check: Any) -> str:
    async with stage(origin.url, **check) as one:
        return await checks(one).check(one.proxy.upstream.targets[0])


class TestOneCheck:
    async def test_asks_the_path_by_get(self) -> None:
        async with Origin(answering(ok())) as origin:
            assert await verdict(origin, path="/healthz?a", host="app.test") == ""
            assert origin.seen.startswith(b"GET /healthz?a HTTP/1.1\r\nHost: app.test\r\n")
            assert b"\r\nConnection: close\r\n" in origin.seen

    async def test_asks_with_the_method_and_header_fields_given(self) -> None:
        async with Origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as origin:
            fields = {"Authorization": "Bearer s3cret", "user-agent": "probe"}
            assert await verdict(origin, method="HEAD", headers=fields) == ""
            assert origin.seen.startswith(b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1:")
            assert b"\r\nAuthorization: Bearer s3cret\r\n" in origin.seen
            assert b"\r\nuser-agent: probe\r\n" in origin.seen
            assert b"npserver-health" not in origin.seen
        async with Origin(answering(ok())) as origin:
            assert await verdict(origin, method="POST", path="/ping") == ""
            assert b"\r\nContent-Length: 0\r\n" in origin.seen

    @pytest.mark.parametrize(
        ("answer", "expect", "fault"),
        [
            (ok(), {}, ""),
            (b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n", {}, ""),
            (b"HTTP/1.1 500 F\r\nContent-Length: 0\r\n\r\n", {}, "status 500"),
            (b"HTTP/1.1 302 F\r\nContent-Length: 0\r\n\r\n", {"status": 200}, "status 302"),
            (ok(b"all is well"), {"body": "well"}, ""),
            (ok(b"all is ill"), {"body": "well"}, "'well' not in the body"),
            (CHUNKED, {"body": "well"}, ""),
            (CHUNKED, {"body_regex": "^w.*l$"}, ""),
            (ok(b'{"state": "up"}'), {"body_regex": r'"state":\s*"up"'}, ""),
            (
                ok(b'{"state": "down"}'),
                {"body_regex": r'"state":\s*"up"'},
                "in the body (health_check.expect.body_regex)",
            ),
            (ok(b"a" * 100_000 + b"well"), {"body_regex": "well"}, "no match of 'well' in the body"),
            (ok(b"a" * 100_000 + b"well"), {"body": "well"}, "not in the body"),
            (b"garbage\r\n\r\n", {}, "not an HTTP response|bad status line"),
            (b"", {}, "closed without a response"),
            (b"HTTP/1.1 101 S\r\n\r\n", {}, "status 101"),
        ],
    )
    async def test_the_answer_decides(self, answer: bytes, expect: dict[str, Any], fault: str) -> None:
        async def script(connection: Connection) -> None:
            await connection.head()
            await connection.send(answer)

        async with Origin(script) as origin:
            found = await verdict(origin, expect=expect)
            assert any(part in found for part in fault.split("|"))
            assert bool(found) is bool(fault)

    async def test_silence_is_a_failure(self) -> None:
        async with Origin(silent) as origin:
            assert "health_check.timeout" in await verdict(origin, timeout=0.05)

    async def test_a_refused_connection_is_a_failure(self) -> None:
        async with stage(f"http://127.0.0.1:{free_port()}") as one:
            assert "refused" in await checks(one).check(one.proxy.upstream.targets[0])

    @needs_localhost
    @pytest.mark.filterwarnings("ignore")  # servers of the standard library say so when a client turns away
    async def test_https_targets_are_checked_over_tls(self, certificates: Callable[..., Any]) -> None:
        issued = certificates("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.cert, issued.key)
        origin = Origin(answering(ok()))
        origin.server = await asyncio.start_server(forgiving(origin._accept), "127.0.0.1", 0, ssl=context)
        origin.port = origin.server.sockets[0].getsockname()[1]
        try:
            for tls, fault in (({"ca": str(issued.ca)}, ""), ({}, "certificate")):
                upstream = {"targets": [f"https://localhost:{origin.port}"], "health_check": {}, "tls": tls}
                async with Stage("upstream://app", config={"upstreams": {"app": upstream}}) as one:
                    found = await checks(one).check(one.proxy.upstream.targets[0])
                    assert fault in found
                    assert bool(found) is bool(fault)
        finally:
            await origin.close()

    async def test_a_tcp_target_is_well_when_it_accepts(self) -> None:
        async with Origin(silent) as origin:
            assert await verdict(origin, type="tcp") == ""

    async def test_another_port_can_be_checked(self) -> None:
        async with Origin(silent) as target, Origin(answering(ok())) as checked:
            assert await verdict(target, port=checked.port) == ""
            assert target.seen == b""
            assert checked.seen


class TestFlips:
    async def test_target_is_taken_out_and_comes_back(self, caplog: pytest.LogCaptureFixture) -> None:
        is_well = True

        async def script(connection: Connection) -> None:
            while head := await connection.head():
                is_check = b"npserver-health" in head
                await connection.send(ok() if is_well or not is_check else ILL)

        async with Origin(script) as flapping, Origin(answering(ok())) as stable:
            async with stage(flapping.url, stable.url) as one:
                first, second = one.proxy.upstream.targets
                running = asyncio.create_task(checks(one).run())
                try:
                    with caplog.at_level(logging.INFO):
                        await until(lambda: first.health is Health.UP and second.health is Health.UP)
                        is_well = False
                        await until(lambda: first.health is Health.DOWN)
                        before = flapping.seen.count(b"GET /asked ")
                        for _ in range(4):
                            assert (await one.ask(get("/asked")))[0] == 200
                        assert flapping.seen.count(b"GET /asked ") == before
                        is_well = True
                        await until(lambda: first.health is Health.UP)
                        assert first.controller_slots[first.health_since_slot] > 0
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                lines = [record.message for record in caplog.records if record.name == "npserver.upstream"]
                assert len(lines) == 2
                assert "is down: status 503" in lines[0]
                assert "is up again" in lines[1]

    async def test_first_check_decides_alone(self) -> None:
        async with Origin(answering(b"HTTP/1.1 500 F\r\nContent-Length: 0\r\n\r\n")) as origin:
            async with stage(origin.url, interval=1000, fall=5) as one:
                (target,) = one.proxy.upstream.targets
                running = asyncio.create_task(checks(one).run())
                try:
                    await until(lambda: target.health is Health.DOWN)
                    status, head, _ = await one.ask(get())
                    assert status == 503
                    assert b"\r\nRetry-After: 1000\r\n" in head
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
