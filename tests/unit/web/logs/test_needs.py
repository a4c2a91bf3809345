"""What the texts of access logs ask of requests."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.web.logs.needs import NEEDS, Needs
from tests.unit.web.logs.test_formats import compiled


@pytest.mark.parametrize(
    ("log", "needs"),
    [
        ({"format": "json"}, Needs()),
        ({"fields": {"a": "$status $header.user-agent $rule $user $duration"}}, Needs()),
        ({"fields": {"a": "$request_id"}}, Needs(ids=True)),
        ({"fields": {"a": "$tls_version"}}, Needs(exchange=True)),
        ({"fields": {"a": "$map.port"}}, Needs(exchange=True)),
        ({"fields": {"a": "$map.kind"}}, Needs()),
        ({"format": "$response.etag"}, Needs(exchange=True, responses=True)),
        ({"format": "$upstream_ms"}, Needs(exchange=True, attempts=True)),
    ],
)
def test_what_texts_ask_for(log: dict[str, Any], needs: Needs) -> None:
    maps = {"kind": {"from": "$host", "to": {"a": "b"}}, "port": {"from": "$local_port", "to": {"443": "x"}}}
    assert NEEDS.of(compiled(log, maps=maps)) == needs
