"""Questions explained without opening or sending anything.

Covers `process.explaining`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from npserver.explain.explanation import Explanation
from npserver.explain.question import parse_question
from npserver.process.explaining import explaining

Ask = Callable[..., Explanation]


def test_nothing_is_opened_and_nothing_sent(document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a socket was used")

    with explaining(document) as explainer:
        for name in ("connect", "bind", "sendto", "send", "listen"):
            monkeypatch.setattr(socket, "socket", type("Refusing", (socket.socket,), {name: refuse}))
        for question in ("http://nas.home/api/x", "http://sso.example/", "example.org", "tcp://:5432"):
            explainer.explain(parse_question(question, client="10.0.0.1" if "org" in question else None))
