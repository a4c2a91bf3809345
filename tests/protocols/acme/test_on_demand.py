"""Handshakes that wait for certificates on demand, in one process, with an application that is asked.

Covers `tls.acme.on_demand.waits`, `tls.acme.on_demand.questions`, `tls.acme.on_demand.consent` and
`tls.acme.on_demand.counts`. The names get no certificate of a CA here: see `test_on_demand_names.py`, and `tests/e2e`.
"""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from cryptography import x509

from npserver.observe.metrics import prometheus, samples
from npserver.tls.acme.clock_jumps import ClockJumps
from npserver.tls.acme.on_demand.waits import WAITS
from npserver.tls.client_hello import MAX_WIRE_BYTES
from tests.stage.asked_application import asked_application
from tests.stage.on_demand import CONFIGURED, Serve, lines


async def test_a_name_that_is_refused_gets_the_default_certificate_and_is_remembered(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with asked_application(404) as application:
        async with serve(application) as served:
            for _ in range(3):
                assert await served.has_default("a.refused.test")
            assert await served.has_default("A.Refused.test")
            assert not await served.has_default(CONFIGURED)
            default = x509.load_der_x509_certificate(await served.certificate("a.refused.test"))
            names = default.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert [name.value for name in names] == ["default.internal"], "nothing of this machine"
            assert served.count("tls.on_demand.asks.no") == 1
            assert served.count("tls.on_demand.waits") == 1
            told = prometheus(samples(served.context.row.board))
            assert 'npserver_tls_on_demand_asks_total{answer="no"} 1' in told
            assert "npserver_tls_on_demand_waiting 0" in told
    assert application.asked == ["a.refused.test"]
    assert [line for line in lines(caplog, logging.DEBUG) if line.endswith("(tls[0].acme.on_demand.ask)")] == [
        f"{application.shown} refuses a certificate for a.refused.test: status 404 (tls[0].acme.on_demand.ask)"
    ]


async def test_what_cannot_have_a_certificate_is_not_asked_about(serve: Serve) -> None:
    with asked_application(404) as application:
        async with serve(application) as served:
            assert await served.has_default("nas")
            assert await served.has_default("a_b.refused.test")
            assert served.count("tls.on_demand.waits") == 0
    assert application.asked == []


async def test_an_application_that_agrees_to_all_is_warned_of(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with asked_application(lambda name: 200) as application:
        async with serve(application) as served:
            await served.until(lambda: lines(caplog, logging.WARNING))
    (line,) = lines(caplog, logging.WARNING)
    assert "a name that cannot exist: if it agrees to all names, anyone can have certificates ordered" in line
    assert line.endswith("(tls[0].acme.on_demand.ask)")


@pytest.mark.parametrize(
    ("status", "fields", "reason"),
    [(500, {}, "status 500"), (302, {"Location": "/yes"}, "status 302, and redirects are not followed")],
)
async def test_an_application_that_fails_is_warned_of_once(
    serve: Serve, caplog: pytest.LogCaptureFixture, status: int, fields: dict[str, str], reason: str
) -> None:
    with asked_application(lambda name: status) as application:
        application.fields = fields
        async with serve(application) as served:
            assert await served.has_default("a.failed.test")
            assert await served.has_default("b.failed.test")
            assert served.count("tls.on_demand.asks.failed") == 2
            application.status_of = lambda name: 404
            assert await served.has_default("c.failed.test")
            assert lines(caplog, logging.INFO)[-1] == f"{application.shown} answers again (tls[0].acme.on_demand.ask)"
    (line,) = lines(caplog, logging.WARNING)
    assert line == (
        f"no certificate for a.failed.test: {application.shown} gives no answer: {reason} (tls[0].acme.on_demand.ask)"
    )


async def test_one_that_is_slow_or_down_costs_its_time_only(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with asked_application(200) as application:
        application.may_answer.clear()
        async with serve(application, ask_timeout="50ms") as served:
            assert await served.has_default("a.slow.test")
            application.close()
            assert await served.has_default("b.slow.test")
            assert served.count("tls.on_demand.asks.failed") == 2
    assert "gives no answer: no answer within 0.05 s" in lines(caplog, logging.WARNING)[0]


async def test_many_handshakes_wait_for_one_answer_and_others_go_on(serve: Serve) -> None:
    with asked_application(404) as application:
        application.may_answer.clear()
        async with serve(application) as served:
            waiting = [asyncio.ensure_future(served.has_default("a.slow.test")) for _ in range(20)]
            await served.until_asked(application, 1)
            await served.until(lambda: served.count("gauge.tls.on_demand.waiting") == 20)
            assert not await served.has_default(CONFIGURED)
            assert not any(one.done() for one in waiting)
            application.may_answer.set()
            assert all(await asyncio.gather(*waiting))
            assert served.count("gauge.tls.on_demand.waiting") == 0
    assert application.asked == ["a.slow.test"]


async def test_a_flood_of_names_finds_bounds(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Further handshakes do not wait; those that go make room."""
    with asked_application(404) as application:
        application.may_answer.clear()
        async with serve(application, max_waiting=3) as served:
            first = [await served.begin(f"{letter}.flood.test") for letter in "abc"]
            await served.until_asked(application, 3)
            for letter in "defgh":
                assert await served.has_default(f"{letter}.flood.test")
            assert not await served.has_default(CONFIGURED)
            assert served.count("tls.on_demand.overflows") == 5
            first[0].close()
            await served.until(lambda: served.count("gauge.tls.on_demand.waiting") == 2)
            last = asyncio.ensure_future(served.has_default("i.flood.test"))
            await served.until_asked(application, 4)
            application.may_answer.set()
            assert await last
            await served.until(lambda: repr(WAITS.of(served.context)).startswith("<Waits 0 for 0 names"))
            for one in first:
                one.close()
    assert sorted(application.asked) == [f"{letter}.flood.test" for letter in "abci"]
    (line,) = lines(caplog, logging.WARNING)
    assert line == "no certificate for d.flood.test: 3 handshakes wait already (tls[0].acme.on_demand.max_waiting)"


async def test_refusals_of_a_flood_are_bounded_in_memory(serve: Serve) -> None:
    with asked_application(404) as application:
        async with serve(application, max_refusals=2) as served:
            for letter in "abcab":
                assert await served.has_default(f"{letter}.flood.test")
            assert repr(WAITS.of(served.context)).endswith("<Refusals 2>>")
    assert application.asked == [f"{letter}.flood.test" for letter in "abcab"]


async def test_questions_are_bounded_per_time(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with asked_application(404) as application:
        async with serve(application, max_asks=2) as served:
            for letter in "abcd":
                assert await served.has_default(f"{letter}.flood.test")
    assert application.asked == ["a.flood.test", "b.flood.test"]
    (line,) = lines(caplog, logging.WARNING)
    assert line == "no certificate for c.flood.test: 2 questions in a minute (tls[0].acme.on_demand.max_asks)"


async def test_one_client_does_not_use_up_the_questions_of_others(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with asked_application(404) as application:
        async with serve(application, max_asks_per_client=2) as served:
            for letter in "abcd":
                assert await served.has_default(f"{letter}.flood.test")
            assert await served.has_default("c.flood.test", source="127.0.0.2")
    assert application.asked == [f"{letter}.flood.test" for letter in "abc"]
    (line,) = lines(caplog, logging.WARNING)
    assert line == (
        "no certificate for c.flood.test: client 127.0.0.1 has asked about 2 names in a minute "
        "(tls[0].acme.on_demand.max_asks_per_client)"
    )


async def test_who_waits_too_long_goes_on_with_the_default(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with asked_application(200) as application:
        application.may_answer.clear()
        async with serve(application, wait="50ms", ask_timeout="40s") as served:
            assert await served.has_default("a.slow.test")
            assert served.count("tls.on_demand.late") == 1
            assert served.count("gauge.tls.on_demand.waiting") == 0
    late = [line for line in lines(caplog, logging.DEBUG) if line.endswith("(tls[0].acme.on_demand.wait)")]
    assert len(late) == 1
    assert "no certificate for a.slow.test within 0.05 s" in late[0]


async def test_a_client_that_sends_on_while_it_waits_fills_no_memory(serve: Serve) -> None:
    with asked_application(404) as application:
        application.may_answer.clear()
        async with serve(application) as served:
            writer = await served.begin("a.slow.test")
            await served.until_asked(application, 1)
            (connection,) = served.context.connections
            writer.write(bytes(8 << 20))
            await served.until(lambda: len(connection._hello.data) > MAX_WIRE_BYTES)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await writer.drain()
            assert len(connection._hello.data) < MAX_WIRE_BYTES + (512 << 10)
            application.may_answer.set()
            await served.until(lambda: not served.context.connections)  # what it sent is no TLS
            writer.close()


async def test_a_ca_that_is_down_is_asked_once_and_then_after_a_while(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    with asked_application(200) as application:
        async with serve(application, ask_timeout="100ms", refusal_time="100ms") as served:
            while served.count("tls.on_demand.asks.yes") < 2:  # each question may be too slow
                assert await served.has_default("a.ordered.test")
            assert served.count("tls.on_demand.orders") == 1
    (line,) = lines(caplog, logging.ERROR)
    assert re.search(r"the CA cannot be reached: .* next attempt in [56] min \(tls\[0\]\.acme\.on_demand\)$", line)
    told = [
        line for line in lines(caplog, logging.DEBUG) if "no certificate for a.ordered.test: next attempt in" in line
    ]
    assert len(told) == 1


@pytest.mark.parametrize(
    ("limit", "orders", "asked", "message"),
    [
        ("max_orders", 1, 2, "1 were ordered in an hour"),
        ("max_names", 1, 1, "1 names are kept already"),
    ],
)
async def test_orders_and_names_are_bounded(
    serve: Serve, caplog: pytest.LogCaptureFixture, limit: str, orders: int, asked: int, message: str
) -> None:
    with asked_application(200) as application:
        async with serve(application, **{limit: 1}) as served:
            assert await served.has_default("a.ordered.test")
            assert await served.has_default("b.ordered.test")
            assert served.count("tls.on_demand.orders") == orders
    assert len(application.asked) == asked
    (line,) = lines(caplog, logging.WARNING)
    assert line == f"no certificate for b.ordered.test: {message} (tls[0].acme.on_demand.{limit})"


async def test_one_for_all_certificates_looks_for_jumps_of_the_clock(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though certificates on demand are kept apart from those of the config: a jump is logged once."""
    looking = set()

    def look(jumps: ClockJumps) -> float:
        looking.add(jumps)
        return 0.0

    monkeypatch.setattr(ClockJumps, "_ahead_s", look)
    with asked_application(404) as application:
        async with serve(application) as served:
            assert await served.has_default("a.refused.test")  # so the service has begun
            await served.until(lambda: looking)
    assert len(looking) == 1
