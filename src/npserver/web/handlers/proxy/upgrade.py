"""Validation of 101 responses of upstreams (RFC 9110 §7.8, RFC 6455 §4.1), and a reason why there was none. Pure.

A connection becomes a tunnel only after this check: an unrequested 101 would let a client send requests to the
upstream that bypass all rules.
"""

from __future__ import annotations

import re

from npserver.http.extended_connect import KEY, accept_value
from npserver.http.request import Request
from npserver.http.response_parser import ResponseHead
from npserver.regex import regex

#: The statuses by which servers refuse a WebSocket whose Origin is not their own (RFC 6455 §4.2.2 has 403).
_REFUSALS = frozenset((400, 403, 404, 421))
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_HOST = regex(rb"^host:[ \t]*([^\r]*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)
_ACCEPT = regex(rb"^sec-websocket-accept:[ \t]*([^\r]*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE)


def switch_fault(request: Request, asked: bytes, head: ResponseHead) -> str:
    """Return what is wrong with a 101 response, or "". `asked` is the value of Upgrade that was sent."""
    if not asked:
        return "101 response, but no upgrade was requested"
    answered = [one.strip() for one in head.upgrade.split(b",")] if head.upgrade else []
    if not answered:
        return "101 response without Upgrade and Connection"
    wanted = {one.strip() for one in asked.split(b",")}
    if not wanted.issuperset(answered):
        return "101 response with a protocol that was not requested"
    key = request.fields.get(KEY)
    if b"websocket" in answered and key is not None and _ACCEPT.findall(head.fields) != [accept_value(key)]:
        return "101 response with a wrong Sec-WebSocket-Accept"
    return ""


def foreign_host(request: Request, head: bytes, status: int) -> str:
    """Return the Host for which an upstream likely refused a WebSocket, or "".

    A browser's page and its WebSocket have the same origin for the client, but not for an application that compares
    Origin with another Host than the client sent, as Jupyter and code-server do (RFC 6455 §10.2).

    Args:
        request: the client's.
        head: as it was forwarded.
        status: of the answer.
    """
    origin = request.fields.get(b"origin", b"").decode("latin-1").lower()
    if status not in _REFUSALS or not origin:
        return ""
    scheme, _, own = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    sent = [host.decode("latin-1") for host in _HOST.findall(head)]
    if not sent or request.authority.lower().removesuffix(port) != own.removesuffix(port):
        return ""
    return "" if sent[0].lower().removesuffix(port) == own.removesuffix(port) else sent[0]
