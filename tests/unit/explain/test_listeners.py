"""The listener that the address of a question leads to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from npserver.explain.explanation import Explanation
from tests.stage.explained import steps

Ask = Callable[..., Explanation]


@pytest.mark.parametrize(
    ("question", "options", "listener"),
    [
        ("http://nas.home:8080/", {}, "http://:8080"),
        ("http://127.0.0.1:9000/", {}, "http://127.0.0.1:9000"),
        ("http://localhost:9000/", {}, "http://127.0.0.1:9000"),
        ("http://10.0.0.1:9000/", {}, ""),
        ("http://nas.home/", {}, "http://:8080"),  # as if its port were mapped
        ("https://nas.home:8443/", {}, "https://:8443"),
        ("http://nas.home:8443/", {}, ""),
        ("http://nas.home:1/", {}, ""),
        ("http://x/", {"listener": "admin"}, "http://127.0.0.1:9000"),
        ("http://x/", {"listener": "none"}, ""),
        ("https://x/", {"listener": "admin"}, ""),
        ("tcp://:5432", {}, "tcp://:5432"),
        ("tcp://:8080", {}, ""),
        ("udp://:5432", {}, ""),
        ("nas.home", {}, "udp://192.0.2.53:53"),
        ("nas.home", {"listener": "echo"}, ""),
    ],
)
def test_the_address_leads_to_one(ask: Ask, question: str, options: dict[str, str], listener: str) -> None:
    assert ask(question, **options).listener == listener


@pytest.mark.parametrize(
    ("question", "options", "text"),
    [
        ("http://nas.home:8443/", {}, "https://:8443 speaks https: ask https://"),
        ("http://nas.home:5432/", {}, "tcp://:5432 does not speak HTTP: ask tcp://"),
        ("tcp://:8080", {}, "http://:8080 speaks http: ask http://"),
        ("udp://192.0.2.53:53", {}, "dns udp://192.0.2.53:53 answers DNS queries: ask dns:NAME"),
        ("http://nas.home:1/", {}, "no listener takes 'http://nas.home:1/'; for http:// there are: http://:8080,"),
        ("http://x/", {"listener": "none"}, "there is no listener 'none'; there are: 'http://:8080', 'admin'"),
        ("nas.home", {"listener": "echo"}, "echo udp://:7000 is for udp://, and answers no DNS queries"),
    ],
)
def test_it_is_said_why_there_is_none(ask: Ask, question: str, options: dict[str, str], text: str) -> None:
    (found,) = steps(ask(question, **options), "listener")
    assert found.startswith(text)


def test_the_client_is_anybody_unless_only_this_machine_can_ask(ask: Ask) -> None:
    assert ask("http://nas.home:8080/").client == "192.0.2.1"
    assert ask("http://localhost:9000/").client == "127.0.0.1"
    assert ask("http://nas.home:8080/", client="10.1.1.1").client == "10.1.1.1"
