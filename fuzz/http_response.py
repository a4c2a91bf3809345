"""Fuzzes the parsing of upstreams' responses: `make fuzz ARGS="http_response --seconds 60"`.

Oracle: a head is parsed, or refused with `BadResponse`; the upstream client reports the same response whether it comes
whole or byte by byte, and keeps the connection only if the response ended where its framing says.
"""

from __future__ import annotations

from fuzz.driver import run
from npserver.errors import BadResponse
from npserver.http.request import Framing
from npserver.http.response_parser import parse_response_head
from tests.conformance.test_rfc9112_responses import CASES
from tests.protocols.answering import same_answer


def target(data: bytes) -> None:
    """One input."""
    try:
        head = parse_response_head(data.split(b"\r\n\r\n")[0] + b"\r\n\r\n")
    except BadResponse:
        pass
    else:
        assert 100 <= head.status <= 599
        assert b"\n" not in head.fields.replace(b"\r\n", b"")
        assert not head.fields or head.fields.endswith(b"\r\n")
        assert head.framing is not Framing.LENGTH or head.length
    for is_head in (False, True):
        pieces = [data[at : at + 1] for at in range(len(data))]
        answer = same_answer(pieces, [data] if data else [], is_head=is_head)
        assert not answer.is_kept or answer.end == "complete"


if __name__ == "__main__":
    run(target, [case[1] for case in CASES if case[1]])
