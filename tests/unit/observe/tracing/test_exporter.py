"""What waits for a collector is bounded, and what is dropped is counted."""

from __future__ import annotations

import asyncio

import pytest

from npserver.observe.tracing.collector import Collector
from npserver.observe.tracing.exporter import BATCH, COUNTERS, MAX_QUEUED, SpanExporter
from npserver.observe.tracing.spans import SERVER, Span
from npserver.runtime.context import Context
from npserver.runtime.http_get import parse_url
from tests.stage.answering import answering
from tests.stage.worker import running_context

SENT, DROPPED, WAITING = COUNTERS


def span(number: int) -> Span:
    return Span(f"{number:032x}", f"{number:016x}", "", "GET x", SERVER, 1, 2, {})


def counted(context: Context, name: str) -> int:
    row = context.row
    return row.slots[row.slot(name)]


async def test_of_more_than_fit_the_oldest_are_dropped_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running_context() as context, answering(stays=True) as (url, requests):
        exporter = SpanExporter(context)
        exporter.use(Collector(url, "test"))
        for number in range(BATCH):
            exporter.add(span(number))
        async with asyncio.timeout(20):
            while not requests:
                await asyncio.sleep(0.01)
        for number in range(2 * MAX_QUEUED):
            exporter.add(span(BATCH + number))
        assert repr(exporter).endswith(f"queued={MAX_QUEUED + BATCH}>")
        assert counted(context, DROPPED) == MAX_QUEUED
        assert counted(context, WAITING) == MAX_QUEUED + BATCH
        assert [record.message.count("dropping spans: more than 8192 wait") for record in caplog.records] == [1]
        await exporter.close()
        assert counted(context, DROPPED) == 2 * MAX_QUEUED + BATCH
        assert (counted(context, SENT), counted(context, WAITING)) == (0, 0)
        exporter.add(span(0))
        assert counted(context, DROPPED) == 2 * MAX_QUEUED + BATCH + 1, "after the end"


@pytest.mark.parametrize("spans", [1, BATCH, 2 * BATCH + 1])
async def test_what_is_left_at_the_end_is_sent(spans: int) -> None:
    async with (
        running_context() as context,
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (url, requests),
    ):
        exporter = SpanExporter(context)
        exporter.use(Collector(url, "test"))
        for number in range(spans):
            exporter.add(span(number))
        await exporter.close()
        assert counted(context, SENT) == spans
        assert len(requests) == -(-spans // BATCH)


async def test_another_collector_is_not_kept_waiting_for_the_former_one(caplog: pytest.LogCaptureFixture) -> None:
    busy = b"HTTP/1.1 429 X\r\nRetry-After: 300\r\nContent-Length: 0\r\n\r\n"
    async with (
        running_context() as context,
        answering(busy) as (first, _),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (second, requests),
    ):
        exporter = SpanExporter(context)
        exporter.use(Collector(first, "test"))
        exporter.add(span(0))
        async with asyncio.timeout(20):
            while not caplog.records:
                await asyncio.sleep(0.01)
            exporter.use(Collector(second, "test"))
            while not counted(context, SENT):
                await asyncio.sleep(0.01)
        assert len(requests) == 1
        await exporter.close()


async def test_a_part_that_is_refused_delays_nothing(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with running_context() as context, answering(head + body) as (url, requests):
        exporter = SpanExporter(context)
        exporter.use(Collector(url, "test"))
        for number in range(4 * BATCH):
            exporter.add(span(number))
        async with asyncio.timeout(2):
            while counted(context, SENT) < 4 * (BATCH - 1):
                await asyncio.sleep(0.01)
        assert counted(context, DROPPED) == len(requests) == 4
        assert [record.message.count("has not taken 1 spans: too old") for record in caplog.records] == [1]
        await exporter.close()


def test_no_repr_has_the_headers() -> None:
    shown = repr(Collector(parse_url("http://otel/key-in-path"), "test", "Authorization: secret\r\n"))
    assert shown == "<Collector <Url http://otel:80>>"
