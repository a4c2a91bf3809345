"""DNS queries explained: view, zone and records, block list, resolvers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from npserver.config.load import load_text
from npserver.explain.explanation import Explanation
from npserver.explain.question import parse_question
from npserver.process.explaining import explaining
from npserver.testing import asking
from tests.stage.explained import steps

Ask = Callable[..., Explanation]


@pytest.mark.parametrize(
    ("question", "client", "gets", "data", "to"),
    [
        ("nas.home", None, "NOERROR", ["10.0.0.5"], []),
        ("nas.home", "10.0.0.1", "NOERROR", ["10.0.0.99"], []),
        ("nas.home AAAA", None, "NOERROR", [], []),
        ("none.home", None, "NXDOMAIN", [], []),
        ("www.home", None, "NOERROR", ["nas.home.", "10.0.0.5"], []),
        ("example.org", None, "REFUSED", [], []),
        ("example.org", "10.0.0.1", "", [], ["udp://9.9.9.9:53"]),
        ("host.corp.example", "10.0.0.1", "", [], ["udp://10.0.0.1:53"]),
        ("x.ads.example", "10.0.0.1", "NXDOMAIN", [], []),
        ("nas.home", "203.0.113.9", "REFUSED", [], []),
        ("nas.home TXT", None, "NOERROR", [], []),
    ],
)
def test_the_answer(ask: Ask, question: str, client: str | None, gets: str, data: list[str], to: list[str]) -> None:
    found = ask(question, client=client)
    assert (found.gets, found.data, found.to) == (gets, data, to)


def test_view_zone_and_list_are_named(ask: Ask) -> None:
    assert steps(ask("nas.home", client="10.0.0.1"), "view") == ["dns_views[0]"]
    assert steps(ask("nas.home"), "zone") == ["home"]
    assert steps(ask("x.ads.example", client="10.0.0.1"), "block list") == ["has the name (dns_block.block[0])"]
    (access,) = steps(ask("nas.home", client="203.0.113.9"), "access")
    assert access.startswith("refused: 'allow' and 'deny' of dispatch[12]")


def test_many_queries_meet_no_rate_limit() -> None:
    config = {
        "listen": ["udp://127.0.0.1:5300"],
        "dns": {"a.example": {"A": "10.0.0.1"}},
        "dispatch": [{"handler": "dns", "public": True, "rate_limit": 1}],
    }
    with explaining(load_text(json.dumps(config), "config")) as explainer:
        found = [explainer.explain(parse_question("a.example")).gets for _ in range(50)]
    assert set(found) == {"NOERROR"}


def test_a_name_server_over_https_is_asked_too(directory: Path) -> None:
    config = {
        "listen": ["https://127.0.0.1:8443"],
        "tls": {"cert": f"{directory}/nas.pem", "key": f"{directory}/nas.key"},
        "dns": {"a.example": {"A": "10.0.0.1"}},
        "dispatch": [
            {"path": "/dns-query", "handler": "dns", "listener": "https://127.0.0.1:8443", "deny": "10.0.0.0/8"}
        ],
    }
    with asking(config) as question:
        assert question("a.example").data == ["10.0.0.1"]
        refused = question("a.example", from_="10.1.1.1")
        assert (refused.gets, steps(refused, "refused")) == (403, ["403: dispatch[0].deny"])
        web = question("https://127.0.0.1:8443/dns-query")
        assert steps(web, "name server") == ["DNS over HTTPS: ask dns:NAME for what it answers"]
