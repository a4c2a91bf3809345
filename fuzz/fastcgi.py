"""Fuzzes the reading of FastCGI servers' responses: `make fuzz ARGS="fastcgi --seconds 60"`.

Oracle: the client reports the same response whether its records come whole or byte by byte, loses only the connection
if they are faulty, and keeps it only after a complete response; a CGI head is parsed, or refused with `BadResponse`.
"""

from __future__ import annotations

from fuzz.driver import run
from npserver.errors import BadResponse
from npserver.http.cgi_response import find_head_end, parse_cgi_head
from npserver.upstream.fastcgi import FastcgiClient
from tests.conformance.test_fastcgi_responses import CASES
from tests.protocols.answering import same_answer
from tests.stage.fastcgi import STDOUT, end, record


def target(data: bytes) -> None:
    """One input: as records, and as the output of a script."""
    _check(data)
    _check(record(STDOUT, data[:60_000]) + end())
    try:
        size = find_head_end(data, 0)
        head = parse_cgi_head(data[:size]) if size else None
    except BadResponse:
        return
    if head is not None:
        assert 200 <= head.status <= 599
        assert b"\n" not in head.fields.replace(b"\r\n", b"")
        assert not head.fields or head.fields.endswith(b"\r\n")


def _check(data: bytes) -> None:
    for is_head in (False, True):
        pieces = [data[at : at + 1] for at in range(len(data))]
        answer = same_answer(pieces, [data] if data else [], is_head=is_head, client_type=FastcgiClient)
        assert not answer.is_kept or answer.end == "complete"


if __name__ == "__main__":
    run(target, [case[1] for case in CASES if case[1]])
