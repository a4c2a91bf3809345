"""Traces of requests of all kinds: what applications and authorization servers are told, and the spans.

Covers `observe.tracing.trace`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import create_connection
from typing import Any

import grpc
import httpx
import pytest
from h2.errors import ErrorCodes
from websockets.sync.client import connect

from tests.stage.backends import Backends
from tests.stage.collector import Server, Span
from tests.stage.grpc_process import GrpcProcess, Stub, code_of
from tests.stage.http2_talk import Talk, WebSocket
from tests.stage.http3 import connected
from tests.stage.http3_websocket import WebSocket as WebSocket3
from tests.stage.php import running_php_cgi
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def app() -> Iterator[Server]:
    """An application, and the collector too."""
    one = Server()
    yield one
    one.close()


def config(port: int, app: Server, *rules: dict[str, Any], **tracing: Any) -> dict[str, Any]:
    return {
        "listen": [{"uri": f"http://127.0.0.1:{port}", "http2": True}],
        "workers": 1,
        "tracing": {"to": f"http://127.0.0.1:{app.port}", **tracing},
        "dispatch": list(rules),
        "logging": {"access_log": "off"},
    }


def spans_of(one: Program, app: Server, number: int) -> list[Span]:
    """Return so many spans of one trace, as each is the parent of the next: the order of the spans is that."""
    spans = one.wait_until(lambda: len(has := app.spans) >= number and has, "the spans")
    assert len(spans) == number
    assert len({span["traceId"] for span in spans}) == 1
    ordered = [span for span in spans if span["kind"] == 2]
    while len(ordered) < number:
        ordered += [span for span in spans if span.get("parentSpanId") == ordered[-1]["spanId"]]
    return ordered


def told(traceparent: str) -> tuple[str, str]:
    """Return trace and parent of a field."""
    _, trace, parent, flags = traceparent.split("-")
    assert flags == "01"
    return trace, parent


@pytest.mark.parametrize("parent", ["none", "all"])
def test_an_authorization_server_is_told_of_the_trace(
    program: Start, free_port: Callable[[], int], app: Server, parent: str
) -> None:
    port = free_port()
    auth = {"to": f"http://127.0.0.1:{app.port}", "path": "/auth"}
    rule = {"handler": "respond", "body": "x", "name": "guarded", "forward_auth": auth}
    one = program(config=config(port, app, rule, parent=parent))
    fields = {"traceparent": PARENT, "tracestate": "a=b"}
    assert httpx.get(f"http://127.0.0.1:{port}/", headers=fields, timeout=30).status_code == 200
    server, stage, question = spans_of(one, app, 3)
    assert [span["name"] for span in (server, stage, question)] == ["GET guarded", "forward_auth", "GET"]
    assert (question["kind"], question["attributes"]["http.response.status_code"]) == (3, "200")
    (head,) = (head for head in app.heads if head[":path"] == "/auth")
    assert told(head["traceparent"]) == (server["traceId"], question["spanId"])
    assert head.get("tracestate") == ("a=b" if parent == "all" else None)
    assert (server["traceId"] == PARENT[3:35]) == (parent == "all")


def test_an_authorization_server_that_fails_is_an_error(
    program: Start, free_port: Callable[[], int], app: Server
) -> None:
    port, closed = free_port(), free_port()
    rule = {"handler": "respond", "name": "guarded", "forward_auth": {"to": f"http://127.0.0.1:{closed}"}}
    one = program(config=config(port, app, rule))
    assert httpx.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 502
    server, _, question = spans_of(one, app, 3)
    assert question["status"]["code"] == server["status"]["code"] == 2
    assert f"127.0.0.1:{closed}" in question["status"]["message"]


@needs("php-cgi")
@pytest.mark.parametrize("parent", ["none", "all"])
def test_scripts_are_told_of_the_trace(
    program: Start, free_port: Callable[[], int], app: Server, tmp_path: Path, parent: str
) -> None:
    """In place of what the client says; each of several requests of its own."""
    (tmp_path / "info.php").write_text("<?php echo json_encode($_SERVER);")
    port = free_port()
    with running_php_cgi(tmp_path, 100) as uri:
        rule = {"handler": "fastcgi", "root": str(tmp_path), "to": uri, "name": "php"}
        one = program(config=config(port, app, rule, parent=parent))
        seen = []
        for _ in range(2):
            fields = {"traceparent": PARENT, "tracestate": "a=b"}
            reply = httpx.get(f"http://127.0.0.1:{port}/info.php", headers=fields, timeout=30)
            seen.append(json.loads(reply.text))
        spans = one.wait_until(lambda: len(has := app.spans) >= 4 and has, "the spans")
    attempts = {(span["traceId"], span["spanId"]) for span in spans if span["kind"] == 3}
    assert {told(variables["HTTP_TRACEPARENT"]) for variables in seen} == attempts
    assert len(attempts) == 2
    assert {variables.get("HTTP_TRACESTATE") for variables in seen} == {"a=b" if parent == "all" else None}


@pytest.mark.parametrize("sample", ["100%", "0%"])
def test_a_websocket_is_one_span_that_ends_with_it(
    program: Start, free_port: Callable[[], int], app: Server, backends: Backends, sample: str
) -> None:
    port, echo = free_port(), f"http://127.0.0.1:{backends.websocket_echo()}"
    rules = [
        {"handler": "proxy", "path": "/ws", "proxy_pass": echo, "name": "ws"},
        {"handler": "respond", "name": "last"},
    ]
    one = program(config=config(port, app, *rules, sample=sample))
    with connect(f"ws://127.0.0.1:{port}/ws") as socket:
        socket.send("hello")
        assert socket.recv()
        assert app.spans == []
    if sample == "0%":
        one.stop()
        assert app.spans == []
        return
    server, attempt = spans_of(one, app, 2)
    assert (server["name"], attempt["name"]) == ("GET ws", "GET")
    for span in (server, attempt):
        assert span["attributes"]["http.response.status_code"] == "101"
        assert "status" not in span


@pytest.mark.parametrize("ends_by", ["its close", "a reset"])
def test_a_websocket_over_http2_is_one_span_that_ends_with_it(
    program: Start, free_port: Callable[[], int], app: Server, backends: Backends, ends_by: str
) -> None:
    """Other requests over its connection have traces of their own, which do not wait for it."""
    port = free_port()
    one = program(config=config(port, app, *websocket_rules(backends), parent="all"))
    with create_connection(("127.0.0.1", port), 30) as client:
        talk = Talk(client)
        web_socket = WebSocket(talk, "/ws", {"traceparent": PARENT})
        web_socket.send("hello")
        assert (web_socket.status, web_socket.recv()) == ("200", "hello")
        assert talk.ask("/hello") == ("200", b"hello")
        (other,) = spans_of(one, app, 1)
        assert other["name"] == "GET last"
        app.bodies.clear()
        if ends_by == "a reset":
            talk.http2.reset_stream(web_socket.stream, ErrorCodes.CANCEL)
            client.sendall(talk.http2.data_to_send())
        else:
            web_socket.end()
            web_socket.wait_end()
        check_websocket(one, app, "2")
        assert app.spans[0]["traceId"] == PARENT[3:35] != other["traceId"]


async def test_a_websocket_over_http3_is_one_span_that_ends_with_it(
    program: Start, free_port: Callable[[], int], app: Server, backends: Backends
) -> None:
    port = free_port()
    text = config(port, app, *websocket_rules(backends))
    listen = [{"uri": f"https://127.0.0.1:{port}", "http3": True, "tls": "internal"}]
    one = program(config={**text, "listen": listen})
    async with connected(port) as client:
        web_socket = WebSocket3(client, "/ws")
        web_socket.send(b"hello")
        assert (await web_socket.answered(), await web_socket.recv()) == (200, b"hello")
        assert (await client.request(path="/hello")).body == b"hello"
        (other,) = spans_of(one, app, 1)
        assert other["name"] == "GET last"
        app.bodies.clear()
        client.body(web_socket.stream, b"", has_ended=True)
        await client.until(lambda: web_socket.answer.has_ended)
        check_websocket(one, app, "3")


@pytest.mark.parametrize(("path", "status"), [("/app/status/404", 404), ("/down", 502)])
def test_a_websocket_over_http2_that_is_refused_says_so(
    program: Start, free_port: Callable[[], int], app: Server, backends: Backends, path: str, status: int
) -> None:
    port = free_port()
    rules = [
        {"handler": "proxy", "path": "/app/**", "proxy_pass": f"http://127.0.0.1:{backends.http()}", "name": "app"},
        {"handler": "proxy", "path": "/down", "proxy_pass": f"http://127.0.0.1:{free_port()}", "name": "down"},
    ]
    one = program(config=config(port, app, *rules))
    with create_connection(("127.0.0.1", port), 30) as client:
        assert WebSocket(Talk(client), path).status == str(status)
        server, _ = spans_of(one, app, 2)
    assert server["attributes"]["http.response.status_code"] == str(status)
    assert ("status" in server) == (status >= 500)


def websocket_rules(backends: Backends) -> list[dict[str, Any]]:
    return [
        {
            "handler": "proxy",
            "path": "/ws",
            "proxy_pass": f"http://127.0.0.1:{backends.websocket_echo()}",
            "name": "ws",
        },
        {"handler": "respond", "name": "last", "body": "hello"},
    ]


def check_websocket(one: Program, app: Server, version: str) -> None:
    """Wait for the spans of a WebSocket that has ended: its client was told 200 (RFC 8441 §5), the target said 101."""
    server, attempt = spans_of(one, app, 2)
    assert (server["name"], attempt["name"]) == ("GET ws", "GET")
    assert server["attributes"]["network.protocol.version"] == version
    assert int(server["startTimeUnixNano"]) <= int(attempt["startTimeUnixNano"])
    assert int(attempt["endTimeUnixNano"]) <= int(server["endTimeUnixNano"])
    for span, status in ((server, "200"), (attempt, "101")):
        assert span["attributes"]["http.response.status_code"] == status
        assert "status" not in span


def test_calls_of_grpc_have_their_code(
    program: Start, free_port: Callable[[], int], app: Server, tmp_path: Path
) -> None:
    port, process = free_port(), GrpcProcess(free_port(), tmp_path / "calls")
    target = f"h2c://127.0.0.1:{process.port}"
    rules = [
        {
            "handler": "proxy",
            "path": "/test.Calls/**",
            "proxy_pass": target,
            "name": "calls",
        },
        {"handler": "proxy", "path": "/other.Service/**", "proxy_pass": "h2c://127.0.0.1:1", "name": "down"},
    ]
    try:
        one = program(config=config(port, app, *rules))
        with Stub(port) as stub:
            assert stub.unary(b"1") == b"1"
            assert code_of(lambda: stub.fail(b"x")) is grpc.StatusCode.FAILED_PRECONDITION
            assert code_of(lambda: stub.unknown(b"x")) is grpc.StatusCode.UNAVAILABLE
        spans = one.wait_until(lambda: len(has := app.spans) >= 6 and has, "the spans")
    finally:
        process.kill()
    found = {
        (span["attributes"].get("url.path", "attempt"), span["attributes"].get("rpc.grpc.status_code")): span.get(
            "status", {}
        ).get("message", "")
        for span in spans
    }
    down = found.pop(("attempt", None))
    assert "127.0.0.1:1" in down
    assert found == {
        ("/test.Calls/Unary", "0"): "",
        ("attempt", "0"): "",
        ("/test.Calls/Fail", "9"): "",  # the client's fault
        ("attempt", "9"): "grpc-status 9",
        ("/other.Service/Method", "14"): "status 502",
    }
    assert {span["attributes"].get("rpc.system", "grpc") for span in spans} == {"grpc"}


@pytest.mark.parametrize("sample", ["100%", "0%"])
def test_rules_can_tell_the_client_its_trace(
    program: Start, free_port: Callable[[], int], app: Server, sample: str
) -> None:
    port = free_port()
    text = {"headers": {"X-Trace-Id": "$trace_id"}, "body": "x"}
    one = program(config=config(port, app, {"handler": "respond", **text}, sample=sample))
    told = httpx.get(f"http://127.0.0.1:{port}/", timeout=30).headers["X-Trace-Id"]
    assert len(told) == 32
    one.stop()
    assert {span["traceId"] for span in app.spans} == ({told} if sample == "100%" else set())


@needs("php-cgi")
def test_a_rule_without_traces_passes_on_what_clients_say(
    program: Start, free_port: Callable[[], int], app: Server, tmp_path: Path
) -> None:
    """Applications, scripts and authorization servers are told the client's own; it has no spans."""
    (tmp_path / "info.php").write_text("<?php echo $_SERVER['HTTP_TRACEPARENT'];")
    port, to = free_port(), f"http://127.0.0.1:{app.port}"
    with running_php_cgi(tmp_path, 100) as uri:
        rules = [
            {"handler": "proxy", "path": "/app", "proxy_pass": to, "forward_auth": {"to": to, "path": "/auth"}},
            {"handler": "fastcgi", "root": str(tmp_path), "to": uri},
        ]
        one = program(config=config(port, app, *[{**rule, "trace": False} for rule in rules], parent="none"))
        fields = {"traceparent": PARENT}
        assert httpx.get(f"http://127.0.0.1:{port}/app", headers=fields, timeout=30).status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/info.php", headers=fields, timeout=30).text == PARENT
        assert {head[":path"]: head["traceparent"] for head in app.heads} == {"/app": PARENT, "/auth": PARENT}
        one.stop()
    assert app.spans == []
