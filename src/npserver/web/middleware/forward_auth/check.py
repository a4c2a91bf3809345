"""The check of `forward_auth`: each request waits until an authorization server lets it pass.

The server's answer decides: 2xx lets the request pass, with the fields that `copy` names; 401, 403 and redirects are
sent to the client. Any other answer, or none, is an error: nobody comes in without a good one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.http.field_names import fold
from npserver.http.forwarded import client_scheme
from npserver.web.exchange import Middleware, ResponseFilter, ResponseStart
from npserver.web.handlers.proxy.request_head import prepare_fields
from npserver.web.middleware.forward_auth.question import Question, Terms
from npserver.web.middleware.forward_auth.request_head import question_head, request_uri
from npserver.web.server.refusals import level_of, log_refusal
from npserver.web.signed_in import response_fields_of, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Request
    from npserver.http.response_parser import ResponseHead
    from npserver.networks import AddressSet
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.variables import Template

_PASSED_ON = frozenset({301, 302, 303, 307, 308, 401, 403})


class AuthSettings(Struct, frozen=True, eq=False):
    """A `forward_auth` section, compiled."""

    terms: Terms
    line: bytes  # the request line of each question
    copy: tuple[tuple[bytes, bytes], ...]  # the application's names of fields, with the answer's in lower case
    user: bytes  # the answer's field with the user's name, in lower case; empty for none
    sign_in: Template | None
    preserve_host: bool
    trusted: AddressSet | None  # the trusted proxies
    on_failure: Callable[[str], None] | None = None  # called with the address of a client whose login failed


class AuthCheck(Middleware):
    """Lets requests pass that an authorization server lets pass."""

    def __init__(self, settings: AuthSettings) -> None:
        self.settings = settings
        self._names = frozenset([fold(name.lower()) for name, _ in settings.copy])
        self._removed = self._names - {b"authorization"}  # what a question leaves out of the client's fields

    def request(self, exchange: Exchange) -> None:
        """Ask about the request."""
        request, settings = exchange.request, self.settings
        key = settings.terms.key
        if not request.authority and settings.preserve_host:
            exchange.fail(400, "the authorization server needs a host, but the request has none", key)
            return
        if prepare_fields(request.block).is_loop:
            exchange.fail(508, "the request has passed this server before: a loop", f"{key}.to")
            return
        nearest_ip = exchange.peer_ip if is_behind(exchange, settings.trusted) else None

        def compose(target: Target) -> bytes:
            return question_head(
                request,
                scheme=exchange.scheme,
                client_ip=exchange.client_ip,
                nearest_ip=nearest_ip,
                line=settings.line,
                host_line=None if settings.preserve_host else target.host_line,
                removed=self._removed,
                close=not settings.terms.client.pool_size,
                trace=exchange.trace,
            )

        Question(settings.terms, exchange, compose, self._answered).start()

    def response(self, exchange: Exchange) -> ResponseFilter | None:
        """Return a filter that adds the cookies of the authorization server."""
        fields = response_fields_of(exchange.request)
        return _Cookies(fields) if fields else None

    def _answered(self, exchange: Exchange, head: ResponseHead, body: bytes) -> None:
        status, settings = head.status, self.settings
        if 200 <= status < 300:
            settings.terms.count("passed")
            self._let_pass(exchange, head)
            return
        settings.terms.count("refused" if status in _PASSED_ON else "failed")
        if status == 401 and settings.on_failure is not None and b"authorization" in exchange.request.fields:
            settings.on_failure(exchange.client_ip)
        if status == 401 and settings.sign_in is not None and is_navigation(exchange.request):
            location = settings.sign_in(exchange).encode("utf-8", "replace")
            fields = b"Location: %b\r\nCache-Control: no-store\r\n%b" % (location, _cookie_lines(head.fields))
            exchange.respond(302, fields)
        elif status in _PASSED_ON:
            reason = f"authorization server answered {status}"
            log_refusal(
                status, lambda: exchange.request, exchange.client_ip, reason, settings.terms.key, level_of(status)
            )
            exchange.respond(status, head.fields, body)
        else:
            exchange.fail(502, f"authorization server answered {status}", f"{settings.terms.key}.to")

    def _let_pass(self, exchange: Exchange, head: ResponseHead) -> None:
        settings = self.settings
        found: dict[bytes, bytes] = {}
        for line in head.fields.split(b"\r\n"):
            name, _, value = line.partition(b":")
            key, value = name.lower(), value.strip(b" \t")
            if value:
                found[key] = b"%b, %b" % (found[key], value) if key in found else value
        copied = [(name, found[key]) for name, key in settings.copy if key in found]
        cookies = _cookie_lines(head.fields)
        exchange.request = sign_in(exchange.request, self._names, copied, response_fields=cookies)
        if settings.user:
            exchange.user = found.get(settings.user, b"").decode("utf-8", "replace")
        exchange.proceed()


class _Cookies(ResponseFilter):
    __slots__ = ("_fields",)

    def __init__(self, fields: bytes) -> None:
        self._fields = fields

    def start(self, head: ResponseStart) -> bool:
        """Add the cookies; the body passes by."""
        head.fields += self._fields
        return False


def is_behind(exchange: Exchange, trusted: AddressSet | None) -> bool:
    """Return whether a trusted proxy has sent the request, whose fields tell the client's scheme and host."""
    return trusted is not None and exchange.peer_ip in trusted


def requested_url(exchange: Exchange, trusted: AddressSet | None) -> str:
    """Return the URL that the client has asked for."""
    request, scheme = exchange.request, exchange.scheme
    authority = request.authority
    if is_behind(exchange, trusted):
        scheme = client_scheme(request.fields) or scheme
        authority = request.fields.get(b"x-forwarded-host", b"").decode("latin-1") or authority
    return f"{scheme}://{authority}{request_uri(request)}"


def is_navigation(request: Request) -> bool:
    """Return whether a browser asks for a page to show, so that it can be redirected to one that asks for a password.

    A script, which would follow the redirect and take the page for its data, gets the 401 itself.
    """
    fields = request.fields
    return (
        request.method in ("GET", "HEAD")
        and not request.upgrade
        and b"text/html" in fields.get(b"accept", b"").lower()
        and fields.get(b"sec-fetch-mode", b"navigate") == b"navigate"
        and b"x-requested-with" not in fields
    )


def _cookie_lines(block: bytes) -> bytes:
    lines = [line for line in block.split(b"\r\n") if line[:11].lower() == b"set-cookie:"]
    return b"".join([line + b"\r\n" for line in lines])
