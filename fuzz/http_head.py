"""Fuzzes the HTTP/1 request parser: `make fuzz ARGS="http_head --seconds 60"`.

Oracle: a head is refused with `BadRequest`, or parsed to a request with a canonical path; and the server answers a
stream of bytes the same whether it comes whole or byte by byte.
"""

from __future__ import annotations

from fuzz.driver import run
from npserver.errors import BadRequest
from npserver.http.request_parser import HeadLimits, parse_head
from npserver.http.request_target import canonical_path
from tests.conformance.test_rfc9112_requests import CASES
from tests.conformance.test_rfc9112_requests import run as serve

LIMITS = HeadLimits()


def target(data: bytes) -> None:
    """One input."""
    try:
        request = parse_head(data.split(b"\r\n\r\n")[0] + b"\r\n\r\n", LIMITS)
    except BadRequest as error:
        assert 400 <= error.status <= 505
    else:
        assert request.path == "*" or canonical_path(request.path.encode()) == request.path
    assert serve([data])[:2] == serve([data[i : i + 1] for i in range(len(data))])[:2]


if __name__ == "__main__":
    run(target, [case[1] for case in CASES if len(case[1]) < 500])
