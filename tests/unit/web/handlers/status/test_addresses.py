"""The public addresses on the status page, in JSON and in the metrics."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from msgspec.structs import replace

from npserver.runtime.public_addresses import TOPIC, public_addresses
from npserver.runtime.pubsub import PubSub
from npserver.web.exchange import Exchange
from npserver.web.handlers.status.config import StatusRule
from npserver.web.handlers.status.handler import StatusHandler
from tests.stage.answered import Answered
from tests.stage.worker import make_context

PUBLISHED = {
    "public": [
        {"address": "9.9.9.9", "source": "https://ip.example.net:8443/?key=secret", "since": 1_700_000_000.5},
        {"address": "2620:fe::fe", "source": "interface", "since": 1_700_000_060.0},
    ],
    "private": ["10.0.0.1"],
    "serials": {},
}


def ask(published: object, **request: Any) -> bytes:
    pubsub = PubSub()
    if published is not None:
        pubsub.publish(TOPIC, published)
    handler = StatusHandler(replace(make_context(), pubsub=pubsub), StatusRule(), [], [])
    answered = Answered(**request)
    handler.handle(cast("Exchange", answered))
    return answered.body


def test_the_page_has_a_table_of_them() -> None:
    page = ask(PUBLISHED, accept=b"text/html")
    for cell in (b">9.9.9.9<", b">https://ip.example.net:8443<", b">2023-11-14 22:13 UTC<", b">2620:fe::fe<"):
        assert cell in page
    assert b"Public address" in page
    assert b"Public address" not in ask(None, accept=b"text/html")


def test_json_has_a_list_of_them() -> None:
    assert json.loads(ask(PUBLISHED, query="format=json"))["public_addresses"] == [
        {"address": "9.9.9.9", "source": "https://ip.example.net:8443", "since": "2023-11-14T22:13:20Z"},
        {"address": "2620:fe::fe", "source": "interface", "since": "2023-11-14T22:14:20Z"},
    ]
    assert json.loads(ask(None, query="format=json"))["public_addresses"] == []


def test_the_metrics_tell_since_when() -> None:
    text = ask(PUBLISHED).decode()
    name = "npserver_public_address_since_timestamp_seconds"
    assert f"# TYPE {name} gauge\n" in text
    assert f'{name}{{address="9.9.9.9",source="https://ip.example.net:8443"}} 1700000000\n' in text


@pytest.mark.parametrize("form", [{"accept": b"text/html"}, {"query": "format=json"}, {}])
def test_a_secret_in_a_url_is_not_shown(form: dict[str, Any]) -> None:
    assert b"secret" not in ask(PUBLISHED, **form)


def test_a_value_of_another_form_is_none() -> None:
    pubsub = PubSub()
    pubsub.publish(TOPIC, {"public": 7})
    assert public_addresses(pubsub) == ()
