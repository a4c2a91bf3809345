"""Fields of responses in access logs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from npserver.web.exchange import ResponseStart
from npserver.web.logs.responses import KeptFields, response_field
from tests.unit.observe.test_access_log import record, request

LINES = b"Content-Type: text/html\r\nX-A: 1\r\nx-a:2\r\nX-Bytes: \xff\xc3\xa9\r\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("content-type", "text/html"), ("X-A", "1, 2"), ("x-bytes", "\ufffdé"), ("x", ""), ("", "")],
)
def test_values(name: str, value: str) -> None:
    exchange: Any = SimpleNamespace(response_fields=b"", route=SimpleNamespace(change_fields=None))
    look = KeptFields().response(exchange)
    assert look is not None
    assert not look.start(ResponseStart(200, LINES, 5, has_body=True))
    assert response_field(name)(record(request(), exchange=exchange)) == value


def test_what_the_rule_adds_to_each_response_is_there_too() -> None:
    route = SimpleNamespace(change_fields=lambda lines: lines + b"X-Own: yes\r\n")
    exchange: Any = SimpleNamespace(response_fields=LINES, route=route)
    assert response_field("x-own")(record(request(), exchange=exchange)) == "yes"
    assert response_field("x-own")(record(request())) == ""  # it was refused before it had an exchange
