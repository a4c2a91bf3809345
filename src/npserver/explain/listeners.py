"""The listener that a question leads to."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from npserver.address import QUIC, SCHEMES
from npserver.dns.message import codes
from npserver.errors import clip
from npserver.explain.explanation import DROPPED, TURNED_AWAY
from npserver.explain.question import ANYBODY, LOOPBACK, Kind
from npserver.listen.drains import drained_listeners
from npserver.networks import UNIX_PEER, is_ip_address
from npserver.program.summary import label_listener
from npserver.web.server.front import HttpFront

if TYPE_CHECKING:
    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.explanation import Explanation
    from npserver.explain.question import Question
    from npserver.listen.listener import Listener

_LOOPBACKS = ("localhost", "127.0.0.1", "::1")


def find_listener(config: CompiledConfig, question: Question, found: Explanation) -> Listener | None:
    """Return the listener; None if there is none, which the explanation then says."""
    listeners = [one for one in config.runtime.listeners if one.key in config.runtime.fronts]
    if question.listener is not None:
        named = [one for one in listeners if question.listener in (one.name, one.key, str(one.address))]
        if not named:
            known = ", ".join([clip(one.name) for one in listeners[:8]]) or "none"
            found.add("listener", f"there is no listener {clip(question.listener)}; there are: {known}")
            return None
        if not _speaks(config, question, named[0]):
            found.add("listener", f"{label_listener(named[0])} {_why_not(config, question, named[0])}", named[0].place)
            return None
        return _taken(question, named[0], found, "")
    reached = [one for one in listeners if _is_reached(question, one)]
    for one in reached:
        if _speaks(config, question, one):
            others = [other for other in reached if other is not one and _speaks(config, question, other)]
            also = ", ".join([label_listener(other) for other in others])
            return _taken(
                question, one, found, f"; the host may lead to {also} instead: name a listener" if also else ""
            )
    if reached:
        found.add(
            "listener", f"{label_listener(reached[0])} {_why_not(config, question, reached[0])}", reached[0].place
        )
        return None
    if question.kind is Kind.HTTP and question.port is None:  # a port that is mapped, as for containers
        for one in listeners:
            if (
                _speaks(config, question, one)
                and not one.address.is_unix
                and _has_host(question.host, one.address.host)
            ):
                port = SCHEMES[question.scheme].default_port
                return _taken(
                    question, one, found, f"; no listener has port {port}: taken as if it were mapped to this one"
                )
    what = question.kind.value if question.kind is Kind.DNS else f"{question.scheme}://"
    fits = ", ".join([label_listener(one) for one in listeners if _speaks(config, question, one)]) or "none"
    found.add("listener", f"no listener takes {clip(question.ask)}; for {what} there are: {fits}")
    return None


def is_drained(config: CompiledConfig, listener: Listener, found: Explanation) -> bool:
    """Whether a listener of a running server takes no new clients: the explanation then says so."""
    if listener.key not in drained_listeners(config.compilation.context.pubsub.latest):
        return False
    address = listener.address
    if address.is_stream or address.scheme == QUIC:
        found.gets, what = TURNED_AWAY, "refuses new connections; those that are open end in order"
    elif _answers_names(config, listener):
        found.gets, what = codes.rcode_name(codes.SERVFAIL), "answers no query, so that clients ask another server"
    else:
        found.gets, what = DROPPED, "begins no session; those of before go on"
    found.add("drained", f"{what} (npserver undrain {listener.name})")
    return True


def client_of(question: Question, listener: Listener) -> str:
    """Return the address of who asks: the default depends on who can reach the listener."""
    if question.client is not None:
        return question.client
    if listener.address.is_unix:
        return UNIX_PEER
    host = listener.address.host
    is_loopback = host == "localhost" or (is_ip_address(host) and ip_address(host).is_loopback)
    return ("::1" if host == "::1" else LOOPBACK) if is_loopback else ANYBODY


def _taken(question: Question, listener: Listener, found: Explanation, remark: str) -> Listener:
    found.listener = str(listener.address)
    found.client = client_of(question, listener)
    found.add("listener", label_listener(listener) + remark, listener.place)
    return listener


def _speaks(config: CompiledConfig, question: Question, listener: Listener) -> bool:
    """Whether a listener serves questions of this kind."""
    is_http = isinstance(config.runtime.fronts[listener.key], HttpFront)
    address = listener.address
    if question.kind is Kind.HTTP:
        return is_http and address.is_tls is (question.scheme == "https")
    if question.kind is Kind.DNS:
        return _answers_names(config, listener)
    return not is_http and address.scheme == question.scheme and not _answers_names(config, listener)


def _answers_names(config: CompiledConfig, listener: Listener) -> bool:
    from npserver.explain.names import access_policy

    return access_policy(config, listener) is not None


def _why_not(config: CompiledConfig, question: Question, listener: Listener) -> str:
    is_http = isinstance(config.runtime.fronts[listener.key], HttpFront)
    if is_http:
        scheme = "https" if listener.address.is_tls else "http"
        return f"speaks {scheme}: ask {scheme}://"
    if _answers_names(config, listener):
        return "answers DNS queries: ask dns:NAME"
    if question.kind is Kind.HTTP:
        return f"does not speak HTTP: ask {listener.address.scheme}://"
    return f"is for {listener.address.scheme}://, and answers no DNS queries" if question.kind is Kind.DNS else (
        f"is for {listener.address.scheme}://"
    )  # fmt: skip


def _is_reached(question: Question, listener: Listener) -> bool:
    """Whether the address in a question may lead to a listener."""
    address = listener.address
    if question.kind is Kind.DNS:
        return True
    if address.is_unix or question.path:
        return address.is_unix and address.path == question.path and address.scheme == question.scheme
    port = question.port if question.port is not None else SCHEMES[question.scheme].default_port
    is_stream = SCHEMES[question.scheme].is_stream
    return address.port == port and address.is_stream is is_stream and _has_host(question.host, address.host)


def _has_host(asked: str, host: str) -> bool:
    """Whether clients that ask for a host may reach a listener on `host`. A name may lead to any address."""
    if not asked or host in ("", asked):
        return True
    if asked == "localhost" or host == "localhost":
        return {asked, host} <= {*_LOOPBACKS, "0.0.0.0", "::"}
    if not is_ip_address(asked):
        return True
    return host == ("::" if ":" in asked else "0.0.0.0")
