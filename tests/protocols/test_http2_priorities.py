"""Priorities of HTTP/2 responses (RFC 9218), which the library schedules: what waits for its turn is not timed."""

from __future__ import annotations

from hyperframe import frame as frames

from npserver.web.config import Timeouts
from tests.stage.http2 import GET, begin

CANCEL = 8
WINDOW = 4  # SETTINGS_INITIAL_WINDOW_SIZE
BODY = bytes(200_000)


def test_the_urgent_response_is_sent_first_and_the_other_is_not_timed() -> None:
    handler, client = begin(timeouts=Timeouts(write=10))
    client.send(frames.SettingsFrame(0, settings={WINDOW: 1 << 24}))
    less, urgent = client.request([*GET, ("priority", "u=5")]), client.request([*GET, ("priority", "u=1")])
    for exchange in handler.exchanges:
        exchange.respond(200, b"", BODY)
    client.read()
    assert (len(less.body), len(urgent.body)) == (0, 65_535)
    for _ in range(5):
        client.server.pass_time(6)
        client.send(frames.WindowUpdateFrame(0, 20_000))
    assert (len(less.body), len(urgent.body)) == (0, 165_535)
    assert less.reset is None
    client.send(frames.WindowUpdateFrame(0, 1 << 24))
    assert (less.body, urgent.body) == (BODY, BODY)


def test_all_are_reset_when_the_client_reads_nothing() -> None:
    handler, client = begin(timeouts=Timeouts(write=10))
    client.send(frames.SettingsFrame(0, settings={WINDOW: 1 << 24}))
    answers = [client.request([*GET, ("priority", f"u={urgency}")]) for urgency in range(3)]
    for exchange in handler.exchanges:
        exchange.respond(200, b"", BODY)
    client.read()
    client.server.pass_time(6)
    client.send(frames.PingFrame(0, b"12345678"))
    client.server.pass_time(6)
    client.read()
    assert [answer.reset for answer in answers] == [CANCEL] * 3


def test_a_closed_stream_window_is_timed_while_others_go_on() -> None:
    handler, client = begin(timeouts=Timeouts(write=10))
    client.send(frames.WindowUpdateFrame(0, 1 << 24))
    urgent, less = client.request([*GET, ("priority", "u=1")]), client.request([*GET, ("priority", "u=5")])
    for exchange in handler.exchanges:
        exchange.respond(200, b"", BODY)
    client.read()
    for _ in range(3):
        client.server.pass_time(6)
        client.send(frames.WindowUpdateFrame(3, 20_000))
    assert (urgent.reset, less.reset, len(less.body)) == (CANCEL, None, 125_535)
