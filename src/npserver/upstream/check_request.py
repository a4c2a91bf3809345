"""The request of an active health check, and what its answer must be: from the keys of `health_check`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.regex import regex
from npserver.regex_bounds import compile_bounded

if TYPE_CHECKING:
    from npserver.upstream.config import Expect, HealthCheck

_TOKEN = regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_VALUE = regex(r"[\t\x20-\x7e\x80-\xff]*")
MAX_REGEX_BYTES = 16 << 10  # of a body: a search may take time that grows with the square of its length
_DEFAULTS = {"User-Agent": "npserver-health", "Accept": "*/*"}
#: Fields that the check sets itself, and why they cannot be given.
_OWN = {
    "host": "use 'host'",
    "connection": "a check has a connection of its own",
    "content-length": "a check has no body",
    "transfer-encoding": "a check has no body",
    "upgrade": "a check asks for no upgrade",
    "expect": "a check has no body",
}


def faults(check: HealthCheck) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong with the request and the answer that is expected: the place in `health_check`, and why."""
    if not check.path.startswith("/") or not _VALUE.fullmatch(check.path) or " " in check.path:
        yield ("path",), f"must start with '/', without spaces and control characters, got {clip(check.path)}"
    if not _TOKEN.fullmatch(check.method) or check.method == "CONNECT":
        yield ("method",), f"not a method of a check: {clip(check.method)}; use GET, HEAD, OPTIONS or POST"
    if check.host is not None and (not _VALUE.fullmatch(check.host) or " " in check.host):
        yield ("host",), f"not a host: {clip(check.host)}"
    for name, value in check.headers.items():
        if not _TOKEN.fullmatch(name):
            yield ("headers", name), f"{clip(name)} is not a header name"
        elif name.lower() in _OWN:
            yield ("headers", name), f"{name} cannot be set: {_OWN[name.lower()]}"
        elif not _VALUE.fullmatch(value):
            yield ("headers", name), f"the value of {name} has control characters, or others than Latin-1"
    expect = check.expect
    if check.method == "HEAD" and (expect.body or expect.body_regex):
        yield ("expect",), "the answer to HEAD has no body: use GET"
    if expect.body_regex is not None:
        try:
            compile_bounded(expect.body_regex.encode().decode("latin-1"), "[^,]+")
            re.compile(expect.body_regex.encode())
        except (ValueError, re.error) as error:
            yield ("expect", "body_regex"), str(error)


def write_request(check: HealthCheck, authority: str) -> bytes:
    """Return the request of a check. `authority`: the target's, for the Host field."""
    given = {name.lower() for name in check.headers}
    fields = {name: value for name, value in _DEFAULTS.items() if name.lower() not in given} | check.headers
    if check.method in ("POST", "PUT", "PATCH"):
        fields["Content-Length"] = "0"
    lines = [f"{check.method} {check.path} HTTP/1.1", f"Host: {check.host or authority}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def body_fault(expect: Expect, body: bytes) -> str:
    """Return why a body is not the expected one; "" if it is."""
    if expect.body is not None and expect.body.encode() not in body:
        return f"{expect.body!r:.60} not in the body (health_check.expect.body)"
    if expect.body_regex is not None and re.search(expect.body_regex.encode(), body[:MAX_REGEX_BYTES]) is None:
        return f"no match of {expect.body_regex!r:.60} in the body (health_check.expect.body_regex)"
    return ""
