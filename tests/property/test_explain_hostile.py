"""Whatever is asked, and by whomever: the question is refused with a reason, or explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npserver.testing import Ask, asking

CONFIG: dict[str, Any] = {
    "listen": [
        "http://:8080",
        {"name": "dns", "uri": "udp://127.0.0.1:53"},
        "tcp://:99",
        {"name": "web", "uri": "unix:///tmp/x.sock"},
        {"name": "relay", "uri": "unix:///tmp/y.sock"},
    ],
    "dns": {"a.home": {"A": "10.0.0.1"}},
    "dispatch": [
        {"handler": "respond", "path_regex": "/[a-z]+", "body": "$client_ip $header.x $query.y"},
        {"handler": "proxy", "host": "*.home", "proxy_pass": "http://127.0.0.1:1"},
        {"handler": "dns", "listener": "dns"},
        {"handler": "forward", "listener": "tcp://:99", "forward_to": "tcp://127.0.0.1:5"},
        {"handler": "forward", "listener": "relay", "forward_to": "tcp://127.0.0.1:5"},
        {"handler": "respond", "listener": "web"},
    ],
}
PARTS = (
    "http://", "https://", "ws://", "tcp://", "udp://", "unix:///tmp/x.sock", "unix:///tmp/y.sock", "unixgram://",
    "dns:", "a.home",
    ":8080", ":99", "/", "?", "#", "%", "%zz", "\0", "\r\n", " ", "A", "AAAA", "ANY", "TYPE65535", "TYPE99999", "é",
    "\ud800", "[::1]",
    "[", "]", "@", "*", "..", ":", "99999", "-1", "x" * 300, "xn--", "\t", "127.0.0.1", "unix:", "fe80::1%lo", "1e9",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS), max_size=6).map("".join)
FIELDS = st.dictionaries(
    st.sampled_from(("Host", "X", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Cookie", "é")),
    st.one_of(TEXTS, st.sampled_from(("chunked", "5", "websocket", "close"))),
    max_size=3,
)


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with asking(CONFIG) as found:
        yield found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    TEXTS,
    st.fixed_dictionaries(
        {},
        optional={
            "from_": TEXTS,
            "method": st.sampled_from(("GET", "POST", "CONNECT", "OPTIONS", "PRI", "é", "")),
            "headers": FIELDS,
            "sni": TEXTS,
            "listener": st.sampled_from(("web", "relay", "dns", "tcp://:99", "none", "")),
        },
    ),
)
def test_a_question_is_refused_or_explained(ask: Ask, text: str, options: dict[str, Any]) -> None:
    try:
        found = ask(text, **options)
    except ValueError as error:
        assert str(error).partition(": ")[0] in ("ask", "from", "method", "headers", "sni")
        return
    assert found.as_json()
    assert str(found).splitlines()[-1].strip().startswith("result ")
    assert bool(found.listener) == (found.result != "no listener takes it")
