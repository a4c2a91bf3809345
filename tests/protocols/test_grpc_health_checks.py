"""Health checks of gRPC, against a server of another HTTP/2 library and against targets that misbehave.

Covers `upstream.grpc_check`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hyperframe import frame as frames

from npserver.config.load import load_text
from npserver.runtime.compilation import Compilation
from npserver.upstream.compile import UPSTREAMS
from npserver.upstream.health_checks import HealthChecks
from npserver.upstream.health_state import Health
from tests.protocols.proxying import Connection, Origin, Stage, answering, ok, silent, until
from tests.stage.grpc_server import HEAD, Answer, GrpcServer, framed
from tests.stage.programs import needs_localhost
from tests.stage.worker import make_context

SETTINGS = frames.SettingsFrame(0).serialize()
NOT_SERVING = framed(b"\x08\x02")


def stage(url: str, tls: dict[str, Any] | None = None, **check: Any) -> Stage:
    health_check = {"type": "grpc", "interval": 0.01, "timeout": 5, "rise": 1, "fall": 1, **check}
    app = {"targets": [url], "health_check": health_check, "tls": tls or {}}
    return Stage("upstream://app", config={"upstreams": {"app": app}})


async def verdict(url: str, tls: dict[str, Any] | None = None, **check: Any) -> str:
    async with stage(url, tls, **check) as one:
        (service,) = one.services
        assert isinstance(service, HealthChecks)
        return await service.check(one.proxy.upstream.targets[0])


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("", b""),
        ("shop.Orders", b"\x0a\x0bshop.Orders"),
        ("é" * 100, b"\x0a\xc8\x01" + "é".encode() * 100),
    ],
)
async def test_asks_the_health_service_about_the_service(service: str, message: bytes) -> None:
    async with GrpcServer() as server:
        assert await verdict(f"http://127.0.0.1:{server.port}", service=service, host="orders.test") == ""
        ((fields, body),) = server.requests
    assert fields == {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Check",
        ":authority": "orders.test",
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "npserver-health",
    }
    assert body == framed(message)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(framed(b"\x12\x02ab\x19" + bytes(8) + b"\x25" + bytes(4) + b"\x18\x05\x08\x01")), ""),
        (Answer(head=[(":status", "200"), ("content-type", "application/grpc+proto")]), ""),
        (Answer(NOT_SERVING), "status NOT_SERVING (health_check.service)"),
        (Answer(framed(b"")), "status UNKNOWN"),
        (Answer(framed(b"\x08\x00")), "status UNKNOWN"),
        (Answer(framed(b"\x08\x03")), "status SERVICE_UNKNOWN"),
        (Answer(framed(b"\x08\x63")), "status 99"),
        (Answer(trailers=[("grpc-status", "13"), ("grpc-message", "no\tluck")]), "grpc-status '13': 'no\\tluck'"),
        (Answer(b"", trailers=[("grpc-status", "5")]), "grpc-status '5': the target does not know the service"),
        (Answer(b"", trailers=[("grpc-status", "12")]), "the target has no health service"),
        (Answer(b"", trailers=[("grpc-status", "0")]), "not one gRPC message"),
        (Answer(trailers=[("x", "y")]), "no grpc-status"),
        (Answer(trailers=[]), "no grpc-status"),
        (Answer(head=[(":status", "200"), ("content-type", "text/html")]), "answer of gRPC: content-type 'text/"),
        (Answer(head=[(":status", "200"), ("content-type", "application/grpc-web")]), "not an answer of gRPC"),
        (Answer(head=[(":status", "200")]), "not an answer of gRPC: content-type ''"),
        (Answer(head=[(":status", "503"), *HEAD[1:]]), "HTTP status 503 instead of 200"),
        (Answer(framed(b"\x08\x01", flag=1)), "compressed"),
        (Answer(framed(b"\x08\x01") * 2), "not one gRPC message"),
        (Answer(b"\0\xff\xff\xff\xff\x08\x01"), "not one gRPC message"),
        (Answer(b"\0"), "not one gRPC message"),
        (Answer(framed(b"\x08")), "not a HealthCheckResponse"),
        (Answer(framed(b"\x08" + b"\xff" * 20)), "not a HealthCheckResponse"),
        (Answer(framed(b"\x0a\x01\x01")), "not a HealthCheckResponse"),
        (Answer(framed(b"\x12\xff\xff\xff\xff\x0f\x08\x01")), "not a HealthCheckResponse"),
        (Answer(framed(b"\x13")), "not a HealthCheckResponse"),
        (Answer(framed(bytes(2000))), "more than 1024 bytes"),
        (Answer(is_reset=True), "the request was reset, HTTP/2 error 7"),
        (Answer(goes_away=True), "ended the connection, HTTP/2 error 11: b'too_many_pings'"),
    ],
)  # fmt: skip
async def test_the_answer_decides(answer: Answer, fault: str) -> None:
    async with GrpcServer(answer) as server:
        found = await verdict(f"http://127.0.0.1:{server.port}")
    assert fault in found
    assert bool(found) is bool(fault)


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "not an HTTP/2 connection"),
        (b"", "closed without a complete answer"),
        (SETTINGS, "closed without a complete answer"),
        (SETTINGS + frames.PingFrame(0, b"12345678").serialize() * 5000, ""),
        (SETTINGS + frames.WindowUpdateFrame(0, 1).serialize() * 9000, "more than 64 KiB"),
        (
            SETTINGS
            + frames.HeadersFrame(1, b"\x88" * 16000).serialize()
            + frames.ContinuationFrame(1, b"\x88" * 16000).serialize() * 3,
            "",
        ),
        (SETTINGS + frames.HeadersFrame(1, b"\xff" * 9, flags=["END_HEADERS"]).serialize(), ""),
        (SETTINGS + frames.DataFrame(1, b"early").serialize(), ""),
    ],
)  # fmt: skip
async def test_broken_and_hostile_targets_fail_the_check(sent: bytes, fault: str) -> None:
    async def script(connection: Connection) -> None:
        await connection.reader.readexactly(24)
        await connection.send(sent)

    async with Origin(script) as origin:
        found = await verdict(origin.url)
    assert found
    assert fault in found
    assert "health_check.timeout" not in found


async def test_http1_and_silence_fail_the_check() -> None:
    async with Origin(answering(ok())) as origin:
        assert "not an HTTP/2 connection" in await verdict(origin.url)
    async with Origin(silent) as origin:
        assert "health_check.timeout" in await verdict(origin.url, timeout=0.05)


@needs_localhost
@pytest.mark.filterwarnings("ignore")  # servers of the standard library say so when a client turns away
async def test_https_targets_agree_on_http2(certificates: Callable[..., Any]) -> None:
    issued = certificates("localhost")
    for protocols, is_trusted, fault in (
        (["h2"], True, ""),
        (["http/1.1"], True, "alert|ALPN h2"),
        ([], True, "does not offer HTTP/2 (ALPN h2)"),
        (["h2"], False, "certificate not accepted"),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.cert, issued.key)
        if protocols:
            context.set_alpn_protocols(protocols)
        async with GrpcServer(context=context) as server:
            found = await verdict(f"https://localhost:{server.port}", {"ca": str(issued.ca)} if is_trusted else {})
        assert any(part in found for part in fault.split("|"))
        assert bool(found) is bool(fault)
        assert [fields[":scheme"] for fields, _ in server.requests] == ([] if fault else ["https"])


@needs_localhost
async def test_targets_of_forwards_are_asked_in_plain_http2_or_over_tls(certificates: Callable[..., Any]) -> None:
    issued = certificates("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    context.set_alpn_protocols(["h2"])
    async with GrpcServer() as plain, GrpcServer(context=context) as secured:
        app = {
            "targets": [f"tcp://127.0.0.1:{plain.port}", f"ssl://localhost:{secured.port}"],
            "health_check": {"type": "grpc"},
            "tls": {"ca": str(issued.ca)},
        }
        document = load_text(json.dumps({"upstreams": {"app": app}}), "test.json")
        compilation = Compilation(document, make_context(asyncio.get_running_loop()))
        targets = UPSTREAMS.of(compilation)["app"].targets
        compilation.report.raise_errors()
        (service,) = compilation.services
        assert isinstance(service, HealthChecks)
        assert [await service.check(target) for target in targets] == ["", ""]
        assert [len(server.requests) for server in (plain, secured)] == [1, 1]
        secured.answer = Answer(NOT_SERVING)
        assert "NOT_SERVING" in await service.check(targets[1])


async def test_a_target_that_stops_serving_is_taken_out_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async with GrpcServer() as server, stage(f"http://127.0.0.1:{server.port}") as one:
        (target,), (service,) = one.proxy.upstream.targets, one.services
        running = asyncio.create_task(service.run())
        try:
            with caplog.at_level(logging.INFO):
                await until(lambda: target.health is Health.UP)
                server.answer = Answer(NOT_SERVING)
                await until(lambda: target.health is Health.DOWN)
                server.answer = Answer()
                await until(lambda: target.health is Health.UP)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    lines = [record.message for record in caplog.records if record.name == "npserver.upstream"]
    assert lines[0].endswith("is down: status NOT_SERVING (health_check.service)")
    assert "is up again" in lines[1]
