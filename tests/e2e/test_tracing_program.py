"""Traces of the real program, received by a collector that reads OTLP.

Covers `observe.tracing.spans`, `observe.tracing.trace` and `web.traces`.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as TracesSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.stage.collector import Server
from tests.stage.collector import traced_config as config
from tests.stage.program import Program

Start = Callable[..., Program]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def get(port: int, path: str, **fields: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=fields, timeout=30).status_code


def test_a_request_and_its_attempt_are_spans_of_one_trace(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    one = program(config=config(port, app.port, collector.port, service="edge"))
    began = time.time_ns()
    for _ in range(4):
        assert get(port, "/app/x?secret=1", traceparent=PARENT, tracestate="a=b") == 200
    one.wait_until(lambda: len(collector.spans) == 8, "spans of both workers")
    spans = {span["spanId"]: span for span in collector.spans}
    servers = [span for span in spans.values() if span["kind"] == 2]
    assert len(servers) == 4
    for span in servers:
        (child,) = (other for other in spans.values() if other.get("parentSpanId") == span["spanId"])
        assert child["traceId"] == span["traceId"] != PARENT[3:35], "of a client that is not trusted"
        assert "parentSpanId" not in span
        assert (child["kind"], child["name"]) == (3, "GET")
        assert (span["name"], span["service"]) == ("GET app", "edge")
        assert (child["attributes"]["server.address"], child["attributes"]["server.port"]) == (
            "127.0.0.1",
            str(app.port),
        )
        assert span["attributes"]["url.path"] == "/app/x"
        assert span["attributes"]["http.response.status_code"] == "200"
        times = [int(value) for value in (span["startTimeUnixNano"], child["startTimeUnixNano"],
                                          child["endTimeUnixNano"], span["endTimeUnixNano"])]  # fmt: skip
        assert began - 10**9 < times[0] and times == sorted(times) and times[-1] < time.time_ns() + 10**9
        (head,) = (head for head in app.heads if head["traceparent"].split("-")[2] == child["spanId"])
        assert head["traceparent"] == f"00-{span['traceId']}-{child['spanId']}-01"
        assert "tracestate" not in head
    assert "secret" not in repr(collector.bodies)


def test_batches_are_what_the_protocol_defines(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    """By the classes of OpenTelemetry's protocol: no field that it does not know, no value of another type."""
    port, app, collector = free_port(), server(), server()
    one = program(config={**config(port, app.port, collector.port, service="edge"), "workers": 1})
    assert [get(port, path) for path in ("/app/x", "/guarded", "/dead")] == [200, 200, 502]
    one.stop()
    spans: list[Any] = []
    for body in collector.bodies:
        content = json.loads(body)
        for span in content["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            ids = {key: value for key, value in span.items() if key.endswith("Id")}
            # The one deviation of OTLP from the JSON form of Protobuf, which has bytes in base64
            span.update({key: b64encode(bytes.fromhex(value)).decode() for key, value in ids.items()})
        request = ParseDict(content, ExportTraceServiceRequest())
        (resource,) = request.resource_spans
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        assert (about["service.name"], about["host.name"]) == ("edge", socket.gethostname())
        spans += resource.scope_spans[0].spans
    assert len(spans) == 7
    assert {(len(span.trace_id), len(span.span_id), len(span.parent_span_id)) for span in spans} == {
        (16, 8, 0),
        (16, 8, 8),
    }
    assert all(0 < span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    assert sorted(TracesSpan.SpanKind.Name(span.kind) for span in spans) == [
        *["SPAN_KIND_CLIENT"] * 3, "SPAN_KIND_INTERNAL", *["SPAN_KIND_SERVER"] * 3,
    ]  # fmt: skip
    failed = [span for span in spans if span.status.code == Status.STATUS_CODE_ERROR]
    assert {span.name for span in failed} == {"GET dead", "GET"}


@pytest.mark.parametrize(
    ("parent", "sent", "is_continued", "spans"),
    [
        ("all", PARENT, True, 2),
        ("all", UNSAMPLED, True, 0),
        ("all", PARENT.replace("00-", "ff-", 1), False, 2),
        ("all", f"{PARENT}, {PARENT}", False, 2),
        ("all", "00-" + "0" * 32 + PARENT[35:], False, 2),
        ("none", PARENT, False, 2),
        ("trusted", PARENT, True, 2),
    ],
)
def test_a_trace_of_a_client_goes_on(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server],
    parent: str, sent: str, is_continued: bool, spans: int,
) -> None:  # fmt: skip
    port, app, collector = free_port(), server(), server()
    text = config(port, app.port, collector.port, parent=parent)
    if parent == "trusted":
        text["trusted_proxies"] = ["127.0.0.1"]
    one = program(config={**text, "workers": 0})
    assert get(port, "/app/x", traceparent=sent, tracestate="a=b") == 200
    head = app.heads[0]
    assert (head["traceparent"].split("-")[1] == PARENT[3:35]) == is_continued
    assert head.get("tracestate") == ("a=b" if is_continued else None)
    assert head["traceparent"].split("-")[2] not in sent
    one.stop()
    assert len(collector.spans) == spans, "what is left is sent at the end"
    assert all((span["traceId"] == PARENT[3:35]) == is_continued for span in collector.spans)


def test_middleware_that_waits_and_attempts_that_fail_are_spans(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    one = program(config={**config(port, app.port, collector.port), "workers": 1})
    assert get(port, "/guarded") == 200
    assert get(port, "/dead") == 502
    assert get(port, "/app/503") == 503
    one.stop()
    found = {(span["name"], span["kind"]): span for span in collector.spans}
    assert found.keys() == {
        ("GET guarded", 2), ("forward_auth", 1), ("GET dead", 2), ("GET app", 2), ("GET", 3),
    }  # fmt: skip
    assert found["forward_auth", 1]["parentSpanId"] == found["GET guarded", 2]["spanId"]
    attempts = {span["parentSpanId"]: span for span in collector.spans if span["kind"] == 3}
    dead = attempts[found["GET dead", 2]["spanId"]]
    assert dead["status"]["code"] == 2
    assert "127.0.0.1:9" in dead["status"]["message"]
    assert attempts[found["GET app", 2]["spanId"]]["status"] == {"code": 2, "message": "status 503"}
    assert found["GET dead", 2]["attributes"]["http.response.status_code"] == "502"


def test_whatever_clients_send_is_valid_in_spans(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    one = program(config={**config(port, app.port, collector.port, parent="all"), "workers": 1})
    heads = [
        b"GET /app/%FF%ED%A0%80%22\\ HTTP/1.1\r\nHost: x\r\n",
        b"GET /app/" + b"a" * 4000 + b" HTTP/1.1\r\nHost: x\r\n",
        b"GET /app/\xff\xfe HTTP/1.1\r\nHost: x\r\n",
        b"GET /app/x HTTP/1.1\r\nHost: \xff.test\r\n",
        b"GET /app/x HTTP/1.1\r\nHost: x\r\nTraceparent: \xff\xfe\r\nTracestate: " + b"x" * 2000 + b"\r\n",
    ]
    for head in heads:
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(head + b"Connection: close\r\n\r\n")
            while client.recv(4096):
                pass
    assert get(port, "/app/last") == 200
    one.stop()
    paths = [span["attributes"].get("url.path", "") for span in collector.spans]
    assert "/app/last" in paths
    assert max(map(len, paths)) < 300
    assert "error in" not in one.errors


def test_a_reload_changes_the_collector_and_ends_tracing(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, first, second = free_port(), server(), server(), server()
    one = program(config=config(port, app.port, first.port))
    assert get(port, "/app/x") == 200
    one.wait_until(lambda: len(first.spans) == 2, "the first spans")
    reload(one, config(port, app.port, second.port))
    assert get(port, "/app/x") == 200
    one.wait_until(lambda: len(second.spans) == 2, "the later spans")
    text = config(port, app.port, second.port)
    del text["tracing"]
    reload(one, text)
    assert get(port, "/app/x", traceparent=PARENT) == 200
    assert app.heads[-1]["traceparent"] == PARENT, "without tracing it is passed on as it is"
    one.stop()
    assert len(first.spans) == len(second.spans) == 2


def reload(one: Program, text: dict[str, Any]) -> None:
    one.configure(text)
    one.forget_errors()
    one.send_signal(signal.SIGHUP)
    one.wait_for_new("reloaded")


def test_of_many_traces_the_share_is_recorded(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    one = program(config={**config(port, app.port, collector.port, sample="30%"), "workers": 1})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for _ in range(300):
            assert client.get("/app/x").status_code == 200
    one.stop()
    assert 40 < len(collector.spans) / 2 < 150
    flags = [head["traceparent"][-2:] for head in app.heads]
    assert flags.count("01") == len(collector.spans) / 2
    assert len({head["traceparent"].split("-")[1] for head in app.heads}) == 300
