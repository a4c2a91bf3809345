"""Fixed responses, and those with variables."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.web.handlers.respond.handler import RespondHandler
from npserver.web.variables import compile_template
from tests.stage.answered import Answered

PLAIN = "text/plain; charset=utf-8"


def answered(handler: Any) -> Answered:
    exchange: Any = Answered()
    handler.handle(exchange)
    return exchange  # type: ignore[no-any-return]


def test_a_constant_body_is_encoded_once() -> None:
    handler = RespondHandler(200, PLAIN, compile_template("never used"), "grüß dich\n")
    answer = answered(handler)
    assert (answer.status, answer.body) == (200, "grüß dich\n".encode())
    assert answer.fields == b"Content-Type: text/plain; charset=utf-8\r\n"
    request: Any = None
    assert handler.prepared(request) is handler


def test_a_body_with_variables_is_made_for_each_request() -> None:
    handler = RespondHandler(200, PLAIN, compile_template("$client_ip\n"), None)
    assert answered(handler).body == b"192.0.2.1\n"
    request: Any = None
    assert handler.prepared(request) is None


@pytest.mark.parametrize(("status", "constant"), [(204, "unsendable"), (205, "x"), (304, None), (200, "")])
def test_an_answer_without_body_has_no_content_type(status: int, constant: str | None) -> None:
    handler = RespondHandler(status, PLAIN, compile_template("x"), constant)
    answer = answered(handler)
    assert (answer.status, answer.fields, answer.body) == (status, b"", b"")
    request: Any = None
    assert handler.prepared(request) is None
