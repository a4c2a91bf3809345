"""The variables of access logs, in JSON."""

from __future__ import annotations

import re
from typing import Any

import pytest

from npserver.web.variables import VARIABLES
from tests.unit.observe.test_access_log import record, request
from tests.unit.web.logs.test_formats import full_record, in_json, made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$status", 502),
        ("${status}", 502),
        ("$status of $host", "502 of example.com"),
        ("$received_bytes/$sent_bytes", "7/1234"),
        ("$duration", 0.012),
        ("$duration_ms", 12.3),
        ("$retries", 1),
        ("$tried", "http://10.0.0.1, http://10.0.0.2"),
        ("$upstream", "http://10.0.0.2"),
        ("$upstream_connect_ms", 125.0),
        ("$upstream_head_ms", 500.0),
        ("$upstream_ms", 750.0),
        ("$rule", "shop"),
        ("$response.content-type|$response.x-none", "text/html|"),
        ("$response.Vary", "Accept, Origin"),
        ("$trace_id", "ab" * 16),
        ("$method $target $protocol", "GET /A?b HTTP/1.1"),
        ("$path|$query|$request_uri", "/a|?b|/a?b"),
        ("$client_ip via $remote_ip:$client_port", "203.0.113.9 via 198.51.100.1:4711"),
        ("on $local_ip:$local_port", "on 192.0.2.80:443"),
        ("$local_port", 443),
        ("$cache_status", "fwd=uri-miss"),
        ("$header.user-agent|$header.none|$cookie.lang|$query.b", "test|||"),
        ("$map.kind", "ours"),
        ("$map.port", "secure"),
        ("plain $$5", "plain $5"),
    ],
)  # fmt: skip
def test_values_and_numbers(text: str, value: Any) -> None:
    maps = {
        "kind": {"from": "$host", "to": {"example.com": "ours"}},
        "port": {"from": "$local_port", "to": {"443": "secure"}},
    }
    assert in_json(text, full_record(), maps=maps) == value


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("$time_iso", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
        ("$time_local", r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"),
        ("$time", r"[A-Z][a-z]{2}, .* GMT"),
        ("at $time_unix", r"at \d{10,}\.\d{3}"),
        ("$tls_version$sni$tls_cipher", ""),
    ],
)
def test_times_and_values_of_connections(text: str, pattern: str) -> None:
    assert re.fullmatch(pattern, in_json(text, full_record()))


def test_every_variable_has_a_value_without_an_exchange() -> None:
    """As of a request that is refused before it has one."""
    one = record(request("/a"))
    for name in VARIABLES:
        assert isinstance(in_json(f"x$({name})".replace("(", "{").replace(")", "}"), one), str)
    for name in ("upstream_ms", "client_port"):
        assert in_json(f"${name}", one) is None
    assert in_json("$retries", one) == 0
    text = made({"format": "$client_port $upstream_ms $rule"})
    assert text.request(one) == "- - -\n"
