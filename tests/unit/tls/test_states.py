"""The states of certificates: the most urgent are published, whatever they say, and a reload leaves no gap."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import to_builtins

from npserver.runtime.pubsub import PubSub
from npserver.tls import states
from npserver.tls.states import (
    CertificateState,
    CertificateStates,
    Count,
    PublishedStates,
    Renewal,
    StatePublisher,
    published,
    select,
)
from npserver.tls.watch import TOPIC as CHANGED_TOPIC
from npserver.tls.x509 import Certificate

GOOD = CertificateState("acme", ("a.example",), "https://ca/dir", "", 1.0, 1000.0, 700.0)


def failing(name: str, expires: float = 0.0) -> CertificateState:
    return CertificateState("acme", (name,), expires=expires, failures=3, error="no")


def test_failures_come_first_and_then_what_expires_first() -> None:
    soon = CertificateState("file", ("soon.example",), expires=10.0)
    later = CertificateState("internal", ("later.example",), expires=5000.0)
    found = select([later, GOOD, failing("late.example", 9000.0), soon, failing("never.example")])
    assert [one.names[0] for one in found.shown] == [
        "never.example", "late.example", "soon.example", "a.example", "later.example",
    ]  # fmt: skip
    assert found.counts == {"internal": Count(1, 0), "acme": Count(3, 2), "file": Count(1, 0)}


def test_thousands_are_counted_and_a_hundred_are_shown() -> None:
    """Half of them at most because of failures, so that what expires soon is seen while thousands fail."""
    many = [failing(f"{number}.example", 9000.0 + number) for number in range(5000)]
    many += [CertificateState("file", (f"{number}.test",), expires=100.0 + number) for number in range(5000)]
    found = select(many)
    assert [one.source for one in found.shown] == ["acme"] * 50 + ["file"] * 50
    assert (found.shown[0].names, found.shown[50].names) == (("0.example",), ("0.test",))
    assert found.counts == {"acme": Count(5000, 5000), "file": Count(5000, 0)}
    assert len(select(many[:5000]).shown) == len(select(many[5000:]).shown) == 100


def test_the_text_of_a_ca_is_one_line_and_short_and_a_time_is_of_a_calendar() -> None:
    hostile = "\x1b[2J\r\nINFO forged\u202e\ud800" + "x" * 10_000
    one = CertificateState(
        "acme", tuple(f"{number}.example" for number in range(25)), hostile, hostile, -5.0, 1e300, 1e18, 1, hostile
    )
    found = one.bounded()
    assert found.error.startswith("[2J INFO forged x")
    assert {len(text) for text in (found.error, found.issuer, found.file)} == {300}
    assert (len(found.names), found.more_names) == (10, 15)
    assert (found.issued, found.expires, found.renew_at) == (0.0, states.MAX_TIME, states.MAX_TIME)


BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def loaded(problem: str = "") -> Any:
    certificate = Certificate(("f.example",), BEGIN, END, "EC", "CN=Example")
    return SimpleNamespace(certificate=certificate, problem=problem)


def test_those_of_files_are_read_from_what_is_loaded() -> None:
    """With the renewal of the local authority's, and why a changed file was not loaded."""
    found = CertificateStates()
    found.loaded = {"/f.pem": ("file", loaded("not a usable PEM file")), "/store/i.pem": ("internal", loaded())}
    found.report_renewal("/store/i.pem", Renewal(500.0, 2, "the root is damaged"))
    of_file, internal = found.all()
    begin, end = BEGIN.timestamp(), END.timestamp()
    assert of_file == CertificateState(
        "file", ("f.example",), "CN=Example", "/f.pem", begin, end, 0.0, 1, "not a usable PEM file"
    )
    assert internal == CertificateState(
        "internal", ("f.example",), "CN=Example", "", begin, end, 500.0, 2, "the root is damaged"
    )
    pubsub = PubSub()
    pubsub.deliver(states.TOPIC, json.loads(json.dumps(to_builtins(select([of_file, internal])))))  # between processes
    assert published(pubsub).shown == (of_file, internal)
    assert repr(found) == "<CertificateStates 0 of CAs, 2 of files>"


class Publishing:
    """A publisher that runs, and the number of its publications."""

    def __init__(self, pubsub: PubSub, reported: CertificateStates) -> None:
        self.pubsub = pubsub
        self.count = 0
        pubsub.subscribe(states.TOPIC, self._count)
        self.count = 0
        self.task = asyncio.ensure_future(StatePublisher(pubsub, reported).run())

    def _count(self, value: object) -> None:
        self.count += 1

    async def names(self, count: int) -> list[str]:
        """Wait for a publication, and return the names in it."""
        async with asyncio.timeout(30):
            while self.count < count:
                await asyncio.sleep(0)
        return [one.names[0] for one in published(self.pubsub).shown]

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "COALESCE_S", 0.0)


async def test_changes_are_published_and_nothing_else() -> None:
    pubsub, reported = PubSub(), CertificateStates()
    assert published(pubsub) == PublishedStates()
    one = Publishing(pubsub, reported)
    assert await one.names(1) == []
    reported.report("a", GOOD)
    reported.report("b", failing("b.example"))
    assert await one.names(2) == ["b.example", "a.example"]
    reported.report("a", GOOD)
    reported.forget("c")
    assert not reported.changed.is_set()
    reported.forget("b")
    assert await one.names(3) == ["a.example"]
    assert published(pubsub).shown == (GOOD,)
    reported.loaded["/f.pem"] = "file", cast("Any", loaded())
    pubsub.publish(CHANGED_TOPIC, ["/f.pem"])
    assert await one.names(4) == ["a.example", "f.example"]
    await one.end()
    pubsub.publish(CHANGED_TOPIC, [])
    assert not reported.changed.is_set()


async def test_after_a_reload_the_old_states_stay_until_the_new_are_known() -> None:
    pubsub, before, after = PubSub(), CertificateStates(), CertificateStates()
    before.report("a", GOOD)
    before.report("gone", failing("gone.example"))
    first = Publishing(pubsub, before)
    assert await first.names(1) == ["gone.example", "a.example"]
    await first.end()
    after.awaited = {"a", "/store/i.pem"}
    second = Publishing(pubsub, after)
    after.report("a", GOOD)
    for _ in range(20):
        await asyncio.sleep(0)
    assert second.count == 0
    after.report_renewal("/store/i.pem", Renewal(1.0))
    assert await second.names(1) == ["a.example"]
    await second.end()


async def test_what_is_never_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "AWAITED_S", 0.01)
    pubsub, reported = PubSub(), CertificateStates()
    pubsub.publish(states.TOPIC, {})
    reported.awaited = {"a", "b"}
    reported.report("a", GOOD)
    one = Publishing(pubsub, reported)
    assert await one.names(1) == ["a.example"]
    await one.end()
