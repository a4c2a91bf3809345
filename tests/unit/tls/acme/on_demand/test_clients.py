"""What is one client, and how many names it may have asked about."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.store.files import StoreFiles
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.on_demand.clients import MAX_CLIENTS, PERIOD_S, ClientQuestions
from npserver.tls.acme.on_demand.config import OnDemand
from npserver.tls.acme.on_demand.entry import Entry
from npserver.tls.acme.on_demand.permission import parse_application
from npserver.tls.acme.on_demand.waits import ASK, Waits
from tests.stage.worker import make_context

APPLICATION = parse_application("http://127.0.0.1:1")
ENTRY = Entry(
    "acme.on_demand", OnDemand(), APPLICATION, (), lambda _: (), lambda _: Places(), StoreFiles("/none"), is_public=True
)


class Handshake:
    def decided(self, *, is_there: bool) -> None: ...


@pytest.mark.parametrize(
    ("address", "client"), [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("unix", "unix")]
)
def test_the_controller_is_told_of_which_client_a_handshake_is(address: str, client: str) -> None:
    context, asked = make_context(), list[dict[str, Any]]()
    context.pubsub.subscribe(ASK, asked.append)
    Waits(context).add(ENTRY, "a.example.com", Handshake(), address)
    assert [one["client"] for one in asked] == [client]


def test_each_client_has_its_limit_per_minute() -> None:
    now = [1000.0]
    questions = ClientQuestions(lambda: now[0])
    assert [questions.may_ask("a", 2) for _ in range(3)] == [True, True, False]
    assert questions.may_ask("b", 2)
    now[0] += PERIOD_S - 1
    assert not questions.may_ask("a", 2)
    now[0] += 1
    assert questions.may_ask("a", 2)


def test_memory_is_bounded() -> None:
    questions = ClientQuestions(lambda: 1000.0)
    for number in range(MAX_CLIENTS + 100):
        assert questions.may_ask(str(number), 1)
    assert repr(questions) == f"<ClientQuestions of {MAX_CLIENTS}>"
    assert not questions.may_ask("7", 1)
