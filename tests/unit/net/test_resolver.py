"""Names to addresses: kept fresh by the controller, asked for where it has said nothing, in no connection's way."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from npserver.net import resolver as module
from npserver.net.resolver import RESOLVER, Resolution
from npserver.runtime.pubsub import PubSub
from tests.stage.worker import running_context

Answer = Sequence[str] | OSError
GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Names:
    """Stands for the system's resolver."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def look_up(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        await self.gate.wait()
        answer = self.answers.get(host, GONE)
        if isinstance(answer, OSError):
            raise answer
        return tuple(answer)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    found = Names()
    monkeypatch.setattr(module, "look_up", found.look_up)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass for resolvers."""
    passed = 0.0

    def advance(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    loop_time = asyncio.BaseEventLoop.time
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda self: loop_time(self) + passed)
    return advance


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


CLOCK = pytest.mark.asyncio(loop_factories=["asyncio"])  # the clock of uvloop cannot be set


class TestResolver:
    """One process's view."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "2001:db8::1"])
    async def test_addresses_are_their_own(self, names: Names, host: str) -> None:
        async with running_context() as context:
            assert RESOLVER.of(context).known(host) == (host,)
            assert await RESOLVER.of(context).resolve(host) == (host,)
        assert names.asked == []

    async def test_a_process_has_one_resolver(self) -> None:
        async with running_context() as context:
            assert RESOLVER.of(context) is RESOLVER.of(context)

    async def test_asks_once_for_all_who_wait(self, names: Names) -> None:
        names.answers["db.test"] = ["192.0.2.1", "2001:db8::1"]
        async with running_context() as context:
            resolver = RESOLVER.of(context)
            assert resolver.known("db.test") is None
            found = await asyncio.gather(*(resolver.resolve("db.test") for _ in range(20)))
            assert set(found) == {("192.0.2.1", "2001:db8::1")}
            assert resolver.known("db.test") == ("192.0.2.1", "2001:db8::1")
        assert names.asked == ["db.test"]

    @CLOCK
    async def test_stale_answers_serve_while_fresh_ones_are_asked_for(
        self, names: Names, clock: Callable[[float], None]
    ) -> None:
        names.answers["db.test"] = ["192.0.2.1"]
        async with running_context() as context:
            resolver = RESOLVER.of(context)
            await resolver.resolve("db.test")
            names.answers["db.test"] = ["192.0.2.2"]
            clock(module.FRESH_S + 1)
            assert resolver.known("db.test") == ("192.0.2.1",)
            await settle()
            assert resolver.known("db.test") == ("192.0.2.2",)
        assert names.asked == ["db.test"] * 2

    @CLOCK
    async def test_an_old_address_is_better_than_none(self, names: Names, clock: Callable[[float], None]) -> None:
        names.answers["db.test"] = ["192.0.2.1"]
        async with running_context() as context:
            resolver = RESOLVER.of(context)
            await resolver.resolve("db.test")
            names.answers["db.test"] = AGAIN
            clock(module.FRESH_S + 1)
            resolver.known("db.test")
            await settle()
            assert resolver.known("db.test") == ("192.0.2.1",)
            names.answers["db.test"] = GONE
            clock(module.RETRY_S + 1)
            resolver.known("db.test")
            await settle()
            with pytest.raises(OSError, match="name or service not known"):
                await resolver.resolve("db.test")

    async def test_a_waiter_that_gives_up_does_not_spoil_it_for_others(self, names: Names) -> None:
        names.answers["db.test"] = ["192.0.2.1"]
        names.gate.clear()
        async with running_context() as context:
            resolver = RESOLVER.of(context)
            hasty = asyncio.ensure_future(resolver.resolve("db.test"))
            patient = asyncio.ensure_future(resolver.resolve("db.test"))
            await settle()
            hasty.cancel()
            await settle()
            names.gate.set()
            assert await patient == ("192.0.2.1",)

    async def test_news_from_the_controller_come_first(self, names: Names) -> None:
        async with running_context() as context:
            publish = context.pubsub.publish
            publish("resolved:db.test", {"addresses": ["192.0.2.1"], "error": ""})
            resolver = RESOLVER.of(context)
            assert resolver.known("db.test") == ("192.0.2.1",)
            publish("resolved:db.test", {"addresses": ["192.0.2.2"], "error": ""})
            assert resolver.known("db.test") == ("192.0.2.2",)
            publish("resolved:db.test", {"addresses": [], "error": "it is gone"})
            assert resolver.known("db.test") is None
            with pytest.raises(OSError, match="it is gone"):
                await resolver.resolve("db.test")
        assert names.asked == []

    async def test_families_alternate_and_silent_addresses_come_last(self) -> None:
        """RFC 8305 §4: families alternate; what did not answer lately comes last."""
        async with running_context() as context:
            resolver = RESOLVER.of(context)
            hosts = ("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3")
            first = resolver.order(hosts)
            assert sorted(first) == sorted(hosts)
            assert [":" in one for one in first] == [True, False, True, False, False]
            assert resolver.order(hosts)[0] != first[0]
            resolver.avoid(["2001:db8::1", "2001:db8::2"])
            assert [":" in one for one in resolver.order(hosts)] == [False] * 3 + [True] * 2


class TestResolution:
    """The controller's service."""

    @staticmethod
    async def told(pubsub: PubSub, host: str, names: Names, *answers: Answer) -> list[Any]:
        values: list[Any] = []
        pubsub.subscribe(f"resolved:{host}", values.append)
        service = Resolution(pubsub, {host: 30.0})
        for answer in answers:
            names.answers[host] = answer
            await service.refresh(host)
        return values

    async def test_changes_are_published_and_said_once(self, names: Names, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "npserver.upstream")
        one, two = ["192.0.2.1"], ["192.0.2.2", "192.0.2.3"]
        values = await self.told(PubSub(), "db.test", names, one, one, two, two[::-1], GONE, GONE, one)
        assert [(each["addresses"], bool(each["error"])) for each in values] == [
            (one, False),
            (two, False),
            ([], True),
            (one, False),
        ]
        assert [record.getMessage() for record in caplog.records] == [
            "host db.test is now at 192.0.2.2, 192.0.2.3",
            "host db.test does not resolve: name or service not known",
            "host db.test is now at 192.0.2.1",
        ]

    async def test_a_failing_resolver_keeps_addresses(self, names: Names, caplog: pytest.LogCaptureFixture) -> None:
        values = await self.told(PubSub(), "db.test", names, ["192.0.2.1"], AGAIN, AGAIN)
        assert [each["addresses"] for each in values] == [["192.0.2.1"]] * 2
        assert [record.getMessage() for record in caplog.records] == [
            "host db.test does not resolve: temporary failure in name resolution, still using 192.0.2.1"
        ]

    async def test_it_runs_until_cancelled(self, names: Names) -> None:
        names.answers["db.test"] = ["192.0.2.1"]
        pubsub = PubSub()
        published = asyncio.Event()
        pubsub.subscribe("resolved:db.test", lambda values: published.set())
        service = Resolution(pubsub, {"db.test": 0.01, "127.0.0.1": 30.0, "": 30.0})
        running = asyncio.ensure_future(service.run())
        async with asyncio.timeout(20):
            await published.wait()
            while len(names.asked) < 3:
                await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert set(names.asked) == {"db.test"}
        assert repr(service) == "<Resolution db.test>"
