"""What a client is answered to a DNS query: its view, zone and records, a block list, or which resolvers are asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.query import Query, make_question
from npserver.dns.zone.tables import ancestors
from npserver.nameserver.blocking.answers import BlockedReply
from npserver.nameserver.https import DnsOverHttps
from npserver.nameserver.query_processor import Recursion
from npserver.nameserver.stream_front import DnsStreamFront
from npserver.nameserver.udp import DnsOverUdp
from npserver.web.compile import RULES
from npserver.web.server.front import HttpFront

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.explanation import Explanation
    from npserver.explain.question import Question
    from npserver.listen.listener import Listener
    from npserver.nameserver.access_policy import AccessPolicy
    from npserver.nameserver.query_processor import QueryProcessor

_STEP_S = 3600.0  # between two queries, for rate limits


def access_policy(config: CompiledConfig, listener: Listener) -> AccessPolicy[Any] | None:
    """Return what decides for the clients of a listener's name server; None if it answers no queries."""
    front = config.runtime.fronts[listener.key]
    if isinstance(front, (DnsOverUdp, DnsStreamFront)):
        return front.policy
    if isinstance(front, HttpFront):
        made = RULES.of(config.compilation)
        for index, _ in config.rules_of(listener):
            for _, _, route in made[index].entries:
                if isinstance(route.handler, DnsOverHttps):
                    return route.handler.policy
    return None


def explain_name(
    config: CompiledConfig, question: Question, listener: Listener, found: Explanation, number: int
) -> None:
    """Explain a DNS query. `number`: how many questions were asked before: no rate limit counts them together."""
    policy = access_policy(config, listener)
    assert policy is not None
    server, client = policy.server, found.client
    _show_rule(config, listener, found)
    if refusal := _refused_by_gates(config, listener, client):
        found.gets = refusal[0]
        found.add("refused", f"{refusal[0]}: {refusal[1]}", config.place_of_key(refusal[1]))
        return
    processor = policy.choose(client)
    key = question.name.lower()
    if policy.refuses(processor):
        found.add(
            "access",
            f"refused: 'allow' and 'deny' of {policy.key} keep the client out",
            config.place_of_key(policy.key),
        )
    else:
        _show_view(config, processor, server, key, found)
    wire = make_question(0, question.name, question.rtype, is_for_resolver=True)
    reply = processor.respond(wire, client, _STEP_S * number, time.time())
    if isinstance(reply, Recursion):
        answers: list[bytes] = []
        asked: list[Query] = []
        resolvers, server.resolver_client = server.resolver_client, _Asked(asked)  # type: ignore[assignment]
        try:
            server.resolve(processor, reply.query, answers.append)
        finally:
            server.resolver_client = resolvers
        if asked and resolvers is not None:
            _show_resolvers(asked[0], processor, resolvers.group_of, found)
            return
        reply = answers[0] if answers else None
    _show_reply(config, reply, found)


class _Asked:
    """Stands in for the resolvers: keeps what they would be asked."""

    def __init__(self, asked: list[Query]) -> None:
        self._asked = asked

    def ask(self, query: Query, deliver: Callable[[bytes], None]) -> None:
        """Keep a query."""
        self._asked.append(query)


def _show_rule(config: CompiledConfig, listener: Listener, found: Explanation) -> None:
    for index, rule in config.rules_of(listener):
        if rule.__struct_config__.tag == "dns":
            found.rule = f"dispatch[{index}]"
            found.name = getattr(rule, "name", None) or ""
            found.add("rule", f"{found.rule}  name server", config.place(("dispatch", index)))
            return


def _refused_by_gates(config: CompiledConfig, listener: Listener, client: str) -> tuple[int, str] | None:
    """Return the status and the key by which a rule keeps a client from DNS over HTTPS; None if it lets it in."""
    if not isinstance(config.runtime.fronts[listener.key], HttpFront):
        return None
    from npserver.web.middleware.networks.gate import NetworkGate

    request: Any = None  # the gate does not look at it
    for index, _ in config.rules_of(listener):
        for _, _, route in RULES.of(config.compilation)[index].entries:
            if isinstance(route.handler, DnsOverHttps):
                for gate in route.gates:
                    if isinstance(getattr(gate, "__self__", None), NetworkGate) and (refusal := gate(client, request)):
                        return refusal.status, refusal.key
                return None
    return None


def _show_view(config: CompiledConfig, processor: QueryProcessor, server: Any, key: bytes, found: Explanation) -> None:
    """Add the view of a client and the zone of a name."""
    for view, (networks, _) in enumerate(server.views):
        if server.responder(view, processor.may_recurse) is processor.responder:
            if networks is not None:
                found.add("view", f"dns_views[{view}]", config.place(("dns_views", view)))
            elif len(server.views) > 1:
                found.add("view", "none: the records for all clients", config.place(("dns",)))
    zones = processor.responder.tables.zones
    zone = next((above for above in ancestors(key) if above in zones), None)
    if zone is not None:
        found.add("zone", to_text(zone).removesuffix(".") or ".")
    else:
        may = "may ask the resolvers" if processor.may_recurse else "may not ask the resolvers"
        found.add("zone", f"none of ours: the client {may}" if server.resolver_client is not None else "none of ours")


def _show_resolvers(
    asked: Query, processor: QueryProcessor, group_of: Callable[[bytes], Any], found: Explanation
) -> None:
    group = group_of(asked.key)
    if processor.blocker is not None:
        verdict = processor.blocker.judge(asked.key)
        if verdict is not None:
            found.add("block list", f"lets {to_text(verdict.entry)} pass ({verdict.key})")
        else:
            found.add("block list", f"no list of {processor.blocker.key} has it")
    if group is None:
        found.gets = "REFUSED"
        found.add("resolvers", "none for this domain")
        return
    addresses = list(dict.fromkeys([str(one.address) for one in group.resolvers]))
    found.to = addresses
    found.shown_to = ", ".join(addresses)
    found.add("resolvers", f"{found.shown_to}, for {to_text(asked.key)} {codes.type_name(asked.qtype)}")


def _show_reply(config: CompiledConfig, reply: object, found: Explanation) -> None:
    if not isinstance(reply, bytes):
        found.gets = "dropped"
        found.add("answer", "none: the query is dropped")
        return
    if isinstance(reply, BlockedReply):
        found.add("block list", f"has the name ({reply.key})", config.place_of_key(reply.key))
    from dns.message import from_wire
    from dns.rcode import to_text as rcode_text

    message = from_wire(reply)
    found.gets = rcode_text(message.rcode())
    for rrset in message.answer:
        found.records += rrset.to_text().split("\n")
        found.data += [record.to_text() for record in rrset]
    for record in found.records:
        found.add("record", record)
