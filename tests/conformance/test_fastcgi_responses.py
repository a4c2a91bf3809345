"""FastCGI 1.0: responses are read strictly, however their records and bytes are split.

Covers `upstream.fastcgi`.
"""

from __future__ import annotations

import pytest

from npserver.upstream.fastcgi import FastcgiClient
from tests.protocols.answering import read_answer
from tests.stage.fastcgi import STDERR, STDIN, STDOUT, end, page, record

LOST = "lost"
HEAD = b"Content-Type: text/plain\r\n\r\n"

# ruff: noqa: E501 - a table reads best with a case a line

#: title, bytes, status, body, end of the message, whether the connection is kept, error output
# fmt: off
CASES: list[tuple[str, bytes, int, bytes, str, bool, bytes]] = [
    ("one record", page(b"ok"), 200, b"ok", "complete", True, b""),
    ("§5.3 the end of the stream", record(STDOUT, HEAD + b"ok") + record(STDOUT) + end(), 200, b"ok", "complete", True, b""),
    ("§3.3 padding", record(STDOUT, HEAD + b"ok", padding=7) + record(STDOUT, b"!", padding=255) + end(), 200, b"ok!", "complete", True, b""),
    ("head in pieces", record(STDOUT, HEAD[:5]) + record(STDOUT, HEAD[5:-1]) + record(STDOUT, HEAD[-1:]) + end(), 200, b"", "complete", True, b""),
    ("§5.3 error output before", record(STDERR, b"bad") + page(b"ok"), 200, b"ok", "complete", True, b"bad"),
    ("§5.3 error output within", record(STDOUT, HEAD + b"o") + record(STDERR, b"bad") + record(STDOUT, b"k") + record(STDERR, b"!") + end(), 200, b"ok", "complete", True, b"bad!"),
    ("§5.5 the script's status", record(STDOUT, HEAD + b"ok") + end(255), 200, b"ok", "complete", True, b""),
    ("RFC 3875 §6.3.3 Status", record(STDOUT, b"Status: 404 Not Found\r\n\r\nno") + end(), 404, b"no", "complete", True, b""),
    ("RFC 3875 §6.2.3 Location", record(STDOUT, b"Location: /x\n\n") + end(), 302, b"", "complete", True, b""),
    ("by length", record(STDOUT, b"Content-Length: 2\r\n\r\nok") + end(), 200, b"ok", "complete", True, b""),
    ("by length, then error output", record(STDOUT, b"Content-Length: 2\r\n\r\nok") + record(STDERR, b"late") + end(), 200, b"ok", "complete", True, b"late"),
    ("more than the length", record(STDOUT, b"Content-Length: 2\r\n\r\no") + record(STDOUT, b"kmore") + end(), 200, b"ok", "complete", True, b""),
    ("204", record(STDOUT, b"Status: 204\r\n\r\n") + end(), 204, b"", "complete", True, b""),
    ("204 with a body", record(STDOUT, b"Status: 204\r\n\r\nno") + end(), 204, b"", "complete", True, b""),
    ("304 with a length", record(STDOUT, b"Status: 304\r\nContent-Length: 5\r\n\r\n") + end(), 304, b"", "complete", True, b""),
    ("records after the end", page(b"ok") + record(STDOUT, b"more"), 200, b"ok", "complete", False, b""),
    ("half a record after the end", page(b"ok") + b"\x01", 200, b"ok", "complete", False, b""),
    ("two ends", page(b"ok") + end(), 200, b"ok", "complete", False, b""),
    ("complete, then closed", record(STDOUT, b"Content-Length: 2\r\n\r\nok"), 200, b"ok", "complete", False, b""),
    ("complete, then another request's record", record(STDOUT, b"Content-Length: 2\r\n\r\nok") + record(STDOUT, b"x", request=7) + end(), 200, b"ok", "complete", False, b""),
    ("less than the length", record(STDOUT, b"Content-Length: 5\r\n\r\nok") + end(), 200, b"", LOST, False, b""),
    ("nothing", b"", 0, b"", LOST, False, b""),
    ("§5.5 an end alone", end(), 0, b"", LOST, False, b""),
    ("error output alone", record(STDERR, b"Primary script unknown") + end(), 0, b"", LOST, False, b"Primary script unknown"),
    ("half a head", record(STDOUT, HEAD[:-1]) + end(), 0, b"", LOST, False, b""),
    ("no end", record(STDOUT, HEAD + b"ok"), 200, b"", LOST, False, b""),
    ("§5.5 overloaded", end(0, 2), 0, b"", LOST, False, b""),
    ("§5.5 an end of another size", record(STDOUT, HEAD + b"ok") + record(3, b"\0" * 7), 200, b"", LOST, False, b""),
    ("another version", record(STDOUT, HEAD + b"ok", version=2) + end(), 0, b"", LOST, False, b""),
    ("another request", record(STDOUT, HEAD + b"ok", request=2) + end(), 0, b"", LOST, False, b""),
    ("§4.2 a record of the connection", record(11, bytes(8), request=0) + page(b"ok"), 0, b"", LOST, False, b""),
    ("a record of a client", record(STDIN, b"ok") + end(), 0, b"", LOST, False, b""),
    ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", 0, b"", LOST, False, b""),
    ("§6.2.1 no field", record(STDOUT, b"<html>\r\n\r\n") + end(), 0, b"", LOST, False, b""),
]
# fmt: on


@pytest.mark.parametrize(
    ("wire", "status", "body", "ending", "kept", "errors"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["bytes", "sevens", "whole"])
def test_each_response_is_read_or_refused(
    wire: bytes, status: int, body: bytes, ending: str, kept: bool, errors: bytes, size: int
) -> None:
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    answer = read_answer(pieces, client_type=FastcgiClient)
    assert (answer.end, answer.is_kept, answer.errors) == (ending, kept, errors)
    if ending != LOST:
        assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("size", [1, 1 << 20], ids=["bytes", "whole"])
@pytest.mark.parametrize("fields", [b"", b"Content-Length: 5\r\n"])
def test_a_head_request_gets_no_body(size: int, fields: bytes) -> None:
    wire = page(b"12345", fields)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    answer = read_answer(pieces, is_head=True, client_type=FastcgiClient)
    assert (answer.status, answer.body, answer.end, answer.is_kept) == (200, b"", "complete", True)
