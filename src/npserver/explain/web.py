"""What comes of an HTTP request: the front of its listener, its route's gates, middleware and handler are asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from npserver.errors import BadRequest, clip
from npserver.explain.exchange import AskedConnection, AskedExchange, AskedTls
from npserver.explain.explanation import Step, show_field
from npserver.explain.handlers import ask_handler
from npserver.explain.middleware import ask_request, describe_side, named_steps, show_gate
from npserver.explain.rules import index_of, show_rule
from npserver.http.field_names import fold
from npserver.web.server.front import HttpFront
from npserver.web.traces import untraced

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.explanation import Explanation
    from npserver.explain.question import Question
    from npserver.http.request import Request
    from npserver.listen.listener import Listener
    from npserver.tls.certificates import LoadedCertificate, ServerTls
    from npserver.web.exchange import Exchange, Handler, Refusal, Route
    from npserver.web.server.roles import FrontRole


def explain_request(
    config: CompiledConfig, question: Question, listener: Listener, found: Explanation, *, is_brief: bool
) -> None:
    """Explain a request to a listener that speaks HTTP."""
    front = config.runtime.fronts[listener.key]
    assert isinstance(front, HttpFront)
    certificate = None
    if listener.server_tls is not None:
        certificate = show_certificate(config, listener.server_tls, question.server_name, found)
    try:
        request, route = front.find(_head(question))
    except BadRequest as error:
        found.gets = error.status
        found.add("refused", f"{error.status}: {error} ({error.decided_by})", config.place_of_key(error.decided_by))
        return
    exchange = _exchange(question, listener, front, certificate, request, route, found)
    walk = _Walk(config, found, exchange)
    exchange.instrument = walk.instrument
    if exchange.find_client():
        if exchange.client_ip != found.client:
            found.add("client", f"{exchange.client_ip}, by the fields of the trusted proxy {found.client}",
                      config.place(("trusted_proxies",)))  # fmt: skip
        exchange.route = walk.instrument(exchange.route)
        exchange.run()
    show_rule(config, listener, exchange, found, is_brief=is_brief)
    walk.show()
    exchange.end()
    _show_answer(config, exchange, found)


def show_certificate(
    config: CompiledConfig, server_tls: ServerTls, name: str, found: Explanation
) -> LoadedCertificate | None:
    """Add the step about the certificate, and return it; None if it would have to be made first."""
    asked = f"server name {clip(name)}" if name else "no server name"
    chosen = server_tls.choose(name)
    if chosen is None:
        found.add("certificate", f"{asked}: made on demand, the handshake waits for it")
        return None
    names = ", ".join(chosen.certificate.names[:8])
    default = "" if _is_for(chosen, name) else ", the default: no certificate is for it" if name else ", the default"
    new = "" if os.path.exists(chosen.settings.cert) else ", made by the server"
    found.add("certificate", f"{chosen.settings.cert} for {names} ({asked}{default}{new})")
    if chosen.settings.client_ca is not None:
        must = "must" if chosen.settings.client_auth == "require" else "may"
        found.add("client certificate", f"the client {must} show a certificate of {chosen.settings.client_ca}")
    return chosen


def _is_for(certificate: LoadedCertificate, name: str) -> bool:
    names = certificate.certificate.names
    return name in names or f"*.{name.partition('.')[2]}" in names


def _head(question: Question) -> bytes:
    """Return the head of the request."""
    lines = [f"{question.method} {question.target} HTTP/1.1"]
    if question.authority and not any(name.lower() == "host" for name, _ in question.headers):
        lines.append(f"Host: {question.authority}")
    lines += [f"{name}: {value}" for name, value in question.headers]
    return "".join([f"{line}\r\n" for line in (*lines, "")]).encode("utf-8", "surrogateescape")


def _exchange(
    question: Question,
    listener: Listener,
    front: HttpFront,
    certificate: LoadedCertificate | None,
    request: Request,
    route: Route,
    found: Explanation,
) -> AskedExchange:
    address = listener.address
    server_tls = listener.server_tls
    tls = AskedTls(question.server_name, certificate.context) if certificate is not None else None
    local = ("", 0) if address.is_unix else (address.host, address.port)
    scheme = "https" if address.is_tls else "http"
    connection = AskedConnection(cast("FrontRole", front), found.client, scheme, local, tls)
    if server_tls is not None and certificate is not None and server_tls.verifies_differently:
        used, settings = certificate, server_tls
        connection.misdirected_by = lambda host: settings.misdirected_by(used, host)
    return AskedExchange(connection, front.context, request, route, found.client)


class _Walk:
    """Follows a request through its route, and keeps a step for each part that has decided something."""

    def __init__(self, config: CompiledConfig, found: Explanation, exchange: AskedExchange) -> None:
        self._config = config
        self._found = found
        self._exchange = exchange
        self._steps: list[Step] = []
        self._decided: dict[str, Step] = {}  # by the name of the middleware
        self._route: Route | None = None

    def instrument(self, route: Route) -> Route:
        """Return a route that passes a request on as `route` does, and tells of it."""
        self._route = route
        self._steps, self._decided = [], {}
        return replace(
            route,
            handler=cast("Handler", _Asked(route.handler, self._handle)),
            gates=tuple([self._gate(gate) for gate in route.gates]),
            requests=tuple([self._request(side) for side in untraced(route.requests)]),
            prepared=None,
            direct=None,
            is_guarded=True,
        )

    def show(self) -> None:
        """Add the steps: of all middleware in order, then of the handler."""
        found, config, route = self._found, self._config, self._exchange.route
        index = index_of(route)
        if index is not None:
            for name, place in named_steps(config, index):
                if (step := self._decided.pop(name, None)) is not None:
                    found.add(name, step.text, step.place or place)
                elif not self._exchange.key and (text := describe_side(name)):
                    found.add(name, text, place)
        found.steps += [*self._decided.values(), *self._steps]

    def _gate(self, gate: Callable[[str, Request], Refusal | None]) -> Callable[[str, Request], Refusal | None]:
        def asked(client_ip: str, request: Request) -> Refusal | None:
            refusal = gate(client_ip, request)
            name, text = show_gate(self._config, self._route, gate, refusal)
            self._decided[name] = Step(
                name, text, self._config.place_of_key(refusal.key) if refusal is not None else ""
            )
            return refusal

        return asked

    def _request(self, side: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
        def asked(exchange: Exchange) -> None:
            name, text = ask_request(self._config, self._route, side, self._exchange)
            if text:
                self._decided[name] = Step(name, text)

        return asked

    def _handle(self, handler: Handler) -> None:
        ask_handler(self._config, handler, self._exchange, self._found, self._steps)


class _Asked:
    """Stands in for a handler."""

    def __init__(self, handler: Handler, ask: Callable[[Handler], None]) -> None:
        self._handler = handler
        self._ask = ask

    def handle(self, exchange: Exchange) -> None:
        """Ask it."""
        self._ask(self._handler)


def _show_answer(config: CompiledConfig, exchange: AskedExchange, found: Explanation) -> None:
    """Add what is answered, if it is known."""
    if exchange.status:
        found.gets = exchange.status
        found.to, found.shown_to = [], ""
        if exchange.status not in range(200, 400):
            found.file = ""
        for line in exchange.fields.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if fold(name.lower()) == fold(b"location"):
                found.location = value.strip().decode("utf-8", "replace")
    if exchange.key:
        status = f"{exchange.status}: " if exchange.status else ""
        found.add("refused", f"{status}{exchange.reason} ({exchange.key})", config.place_of_key(exchange.key))
    route = exchange.route
    if route.change_fields is not None and (lines := route.change_fields(b"")):
        found.add("response adds", _fields(lines))


def _fields(lines: bytes) -> str:
    return "; ".join([show_field(line) for line in lines.strip(b"\r\n").split(b"\r\n")])
