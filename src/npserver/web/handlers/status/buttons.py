"""The buttons of the status page: a form whose buttons drain and undrain targets, as `npserver drain` does.

A request counts only if a person has pressed a button of this page: it is a POST from a page of the same origin
(Fetch Metadata, https://www.w3.org/TR/fetch-metadata/, or Origin, RFC 6454) with the token that only the page has, to a
host that no stranger's DNS can point here (DNS rebinding): one that the rule names, an IP address, or localhost.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from hmac import compare_digest
from html import escape
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs

from msgspec.json import encode

from npserver.networks import is_ip_address
from npserver.upstream.drain_requests import DRAIN_REQUESTS, EMBEDDED, NO_ANSWER, TOO_MANY
from npserver.web.checks import rule_key
from npserver.web.exchange import Refusal
from npserver.web.handlers.status.table import Markup
from npserver.web.routing import ANY_HOST
from npserver.web.server.whole_body import WholeBody

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.status.config import StatusRule
    from npserver.web.handlers.status.targets import TargetState

MAX_BYTES = 4096  # of a form
_FORM = b"application/x-www-form-urlencoded"
_NO_STORE = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
_VERBS: tuple[Literal["drain", "undrain"], ...] = ("drain", "undrain")


class Buttons:
    """The buttons of one rule."""

    __slots__ = ("_context", "_has_host", "_host_key", "_key", "_token")

    def __init__(self, context: Context, path: Path, rule: StatusRule) -> None:
        self._context = context
        hosts = rule.host if isinstance(rule.host, list) else [rule.host or ""]
        self._has_host = bool(hosts) and ANY_HOST not in hosts and "*" not in hosts
        self._host_key = rule_key(path, "host")
        self._key = rule_key(path, "buttons")
        self._token = blake2b(b"status page", key=context.row.board.cells_seed, digest_size=16).hexdigest()
        DRAIN_REQUESTS.of(context)

    def form(self, table: str) -> str:
        """Return a table with buttons in their form; "" for none."""
        token = f'<input type="hidden" name="token" value="{self._token}">'
        return f'<form method="post">{token}{table}</form>' if table else ""

    def press(self, exchange: Exchange) -> None:
        """Answer a POST: do what the pressed button says."""
        if (refusal := self._refusal(exchange)) is not None:
            exchange.fail(refusal.status, refusal.reason, refusal.key)
        else:
            exchange.receive(WholeBody(MAX_BYTES, partial(self._take, exchange)))

    def _refusal(self, exchange: Exchange) -> Refusal | None:
        """Return why a request is none of a person on this page; None if it is one."""
        request = exchange.request
        site, origin = request.fields.get(b"sec-fetch-site"), request.fields.get(b"origin")
        if not self._has_host and not _is_literal(request.host):
            reason = "buttons work at an IP address, at localhost, and at the hosts that the rule names"
            return Refusal(403, reason, self._host_key)
        if site is None and origin is None:
            return Refusal(403, "the request does not tell from which page it comes", self._key)
        if site is not None and site != b"same-origin":
            return Refusal(403, "the request comes from a page of another site", self._key)
        if origin is not None and origin.lower().partition(b"://")[2] != request.authority.lower().encode("latin-1"):
            return Refusal(403, "the request comes from a page of another origin", self._key)
        if request.fields.get(b"content-type", b"").partition(b";")[0].strip().lower() != _FORM:
            return Refusal(415, "the buttons of the status page send a form", self._key)
        return None

    def _take(self, exchange: Exchange, data: bytes | None) -> None:
        """Act on a form."""
        if data is None:
            exchange.fail(413, f"the form of a button has at most {MAX_BYTES} bytes")
            return
        values = parse_qs(data.decode("latin-1"))
        if not compare_digest(values.get("token", [""])[0].encode(), self._token.encode()):
            exchange.fail(403, "the token is not that of this page: load it again", self._key)
            return
        pressed = [(verb, values[verb][0]) for verb in _VERBS if verb in values]
        if len(pressed) != 1:
            exchange.fail(400, "expected one button: drain or undrain", self._key)
            return
        by = f"{exchange.client_ip} {exchange.user}".strip()
        verb, target = pressed[0]
        DRAIN_REQUESTS.of(self._context).ask(verb, target, by, lambda fault: _answer(exchange, fault))


def button_of(target: TargetState) -> Markup:
    """Return the button of a target, in the form of `Buttons.form`."""
    verb = "undrain" if target.health == "draining" else "drain"
    return Markup(f'<button name="{verb}" value="{escape(target.target)}">{verb}</button>')


def _is_literal(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or is_ip_address(host.strip("[]"))


def _answer(exchange: Exchange, fault: str) -> None:
    """Tell a script the outcome; without one, show the page again, or why not."""
    if exchange.is_gone:
        return
    status = 503 if fault in (EMBEDDED, NO_ANSWER, TOO_MANY) else 409
    if b"application/json" in exchange.request.fields.get(b"accept", b""):
        body = encode({"error": fault or None})
        exchange.respond(status if fault else 200, b"Content-Type: application/json\r\n" + _NO_STORE, body)
    elif fault:
        exchange.respond(status, b"Content-Type: text/plain; charset=utf-8\r\n" + _NO_STORE, f"{fault}\n".encode())
    else:
        exchange.respond(303, b"Location: ?\r\n" + _NO_STORE)
