"""How traces reach a collector: TLS, headers, and one that refuses, asks for time, hangs, is away, or is none.

Covers `observe.tracing.collector`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stage.collector import Server
from tests.stage.collector import traced_config as config
from tests.stage.program import Program

Start = Callable[..., Program]


def server_context(certificate: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def get(port: int, path: str, **fields: str) -> int:
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=fields, timeout=30).status_code


def metric(port: int, name: str, **labels: str) -> int:
    reply = httpx.get(f"http://127.0.0.1:{port}/status?format=json", timeout=30).json()
    found = reply["metrics"][name]
    if isinstance(found, int):
        return found
    return sum(one["value"] for one in found if labels.items() <= one.items())


def dropped(port: int) -> int:
    return metric(port, "npserver_trace_spans_total", result="dropped")


@pytest.mark.parametrize(("status", "answer"), [(400, b""), (500, b""), (307, b""), (200, b"<html>It works!</html>")])
def test_what_the_collector_does_not_take_is_dropped_and_told_of_once(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server], status: int, answer: bytes
) -> None:
    """It refuses, or is none; then it is there again."""
    port, app, collector = free_port(), server(), server()
    collector.status, collector.answer = status, answer
    one = program(config={**config(port, app.port, collector.port), "workers": 1})
    for _ in range(3):
        assert get(port, "/app/x") == 200
    one.wait_until(lambda: dropped(port) >= 6, "the count")
    one.wait_for(r"cannot send traces to http://127\.0\.0\.1:\d+ \(tracing\.to\), dropping spans: ")
    collector.status, collector.answer = 200, b"{}"
    collector.bodies.clear()
    one.wait_until(lambda: get(port, "/app/x") and collector.bodies, "spans")
    one.wait_for("traces can be sent to .* again")
    assert one.errors.count("cannot send traces") == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504, 0])
def test_spans_wait_while_the_collector_asks_for_it_or_is_away(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server], status: int
) -> None:
    port, app, at = free_port(), server(), free_port()
    if status:
        collector = server(at)
        collector.status = status
    one = program(config={**config(port, app.port, at), "workers": 1})
    for _ in range(3):
        assert get(port, "/app/x") == 200
    one.wait_for(r"cannot send traces to http://127\.0\.0\.1:\d+ \(tracing\.to\), trying again: ")
    one.wait_until(lambda: metric(port, "npserver_trace_spans_waiting") >= 6, "the gauge")
    if status:
        collector.status = 200
    else:
        collector = server(at)
    one.wait_until(lambda: len([1 for span in collector.spans if "app" in span["name"]]) == 3, "the spans")
    one.wait_for("traces can be sent to .* again")
    assert dropped(port) == 0


def test_no_batch_is_sent_before_the_time_that_the_collector_asks_for(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    collector.status, collector.fields = 429, {"Retry-After": "4"}
    one = program(config={**config(port, app.port, collector.port), "workers": 1})
    assert get(port, "/app/x") == 200
    one.wait_until(lambda: collector.posts, "the first attempt")
    collector.status = 200
    one.wait_until(lambda: collector.bodies, "the second")
    first, second = (at for at, _ in collector.posts)
    assert 3.9 < second - first < 10


@pytest.mark.parametrize(
    "answer",
    [
        b'{"partialSuccess":{"rejectedSpans":"-5"}}',
        b'{"partialSuccess":{"rejectedSpans":"99999999999999999999999999"}}',
        b'{"partialSuccess":{"rejectedSpans":' + b"9" * 5000 + b"}}",
        b'{"partialSuccess":{"rejectedSpans":1e300}}',
        b'{"partialSuccess":{"rejectedSpans":"x","errorMessage":"' + b"y" * 100_000 + b'"}}',
        b'{"partialSuccess":[[[[',
        b"[" * 60_000,
        b"\x0a\x05\xff\xfe",
        b"",
    ],
)
def test_whatever_a_collector_answers_counts_are_whole(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server], answer: bytes
) -> None:
    port, app, collector = free_port(), server(), server()
    collector.answer = answer
    one = program(config={**config(port, app.port, collector.port), "workers": 1})
    assert get(port, "/app/x") == 200
    sent = "npserver_trace_spans_total"
    one.wait_until(lambda: metric(port, sent, result="sent") + metric(port, sent, result="dropped") >= 2, "the counts")
    assert metric(port, sent, result="sent") >= 0
    assert "Traceback" not in one.errors


def test_a_collector_that_warns_is_heard(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    collector.answer = b'{"partialSuccess":{"rejectedSpans":"0","errorMessage":"old version\\n"}}'
    one = program(config={**config(port, app.port, collector.port), "workers": 1})
    assert get(port, "/app/x") == 200
    one.wait_for(r"the collector of traces http://\S+ \(tracing\.to\) warns: old version")
    assert dropped(port) == 0


def test_a_collector_over_tls_is_shown_the_headers(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server],
    certificates: Callable[..., Any], tmp_path: Path,
) -> None:  # fmt: skip
    """With a CA of its own, and a secret from a file."""
    certificate = certificates("otel.test")
    port, app, collector = free_port(), server(), server(tls=server_context(certificate))
    (tmp_path / "token").write_text("Bearer s3cret-of-the-collector\n")
    text = config(
        port, app.port, collector.port,
        to=f"https://127.0.0.1:{collector.port}/v1/traces",
        headers={"Authorization": f"${{file:{tmp_path / 'token'}}}", "X-Tenant": "sh\u00f6p"},
        tls={"ca": str(certificate.ca), "server_name": "otel.test"},
        gzip=True,
    )  # fmt: skip
    one = program(config={**text, "workers": 1})
    assert get(port, "/app/x") == 200
    one.wait_until(lambda: len(collector.spans) >= 2, "the spans")
    (_, fields), *_ = collector.posts
    assert fields["authorization"] == "Bearer s3cret-of-the-collector"
    assert fields["x-tenant"] == "sh\u00f6p"
    assert fields["content-encoding"] == "gzip"
    assert "s3cret" not in one.output + one.errors


def test_a_collector_whose_certificate_is_not_trusted_gets_nothing(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server], certificates: Callable[..., Any]
) -> None:
    port, app, collector = free_port(), server(), server(tls=server_context(certificates("otel.test")))
    text = config(port, app.port, collector.port, to=f"https://127.0.0.1:{collector.port}/v1/traces")
    one = program(config={**text, "workers": 1})
    assert get(port, "/app/x") == 200
    one.wait_for(r"cannot send traces to https://127\.0\.0\.1:\d+ \(tracing\.to\), trying again: .*certificate")
    assert collector.posts == []


def test_spans_that_a_collector_rejects_are_counted(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    collector.answer = b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no room"}}'
    one = program(config={**config(port, app.port, collector.port), "workers": 1})
    assert get(port, "/app/x") == 200
    one.wait_until(lambda: dropped(port) >= 1, "the count")
    one.wait_for(r"the collector of traces http://\S+ \(tracing\.to\) has not taken 1 spans: no room")


def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end(
    program: Start, free_port: Callable[[], int], server: Callable[..., Server]
) -> None:
    port, app, collector = free_port(), server(), server()
    one = program(config=config(port, app.port, collector.port))
    collector.hangs.clear()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for _ in range(200):
            assert client.get("/app/x").status_code == 200
    began = time.monotonic()
    one.stop()
    assert time.monotonic() - began < 6
    assert "killed" not in one.errors
