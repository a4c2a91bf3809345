"""Every kind of rule: the handlers of HTTP requests, and those that serve a listener of another protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npserver.address import BYTES, DATAGRAMS, DNS
from npserver.forward.config import ForwardRule
from npserver.nameserver.config import DnsRule
from npserver.port_range import first_of
from npserver.web.config import Rule
from npserver.web.handlers.kinds import HANDLERS, HandlerKind

FORWARD = HandlerKind(
    ForwardRule,
    lambda rule: f"forward to {rule.forward_to}{_only('for', rule.sni)}{_only('from', rule.from_)}",
    front="npserver.forward.compile:compile_forward_front",
    targets=lambda rule: [first_of(rule.forward_to)],
    protocols=frozenset({BYTES, DATAGRAMS}),
    log_area="forward",
)
NAME_SERVER = HandlerKind(
    DnsRule,
    lambda rule: "name server",
    handler="npserver.nameserver.compile:compile_doh",
    front="npserver.nameserver.compile:compile_dns_front",
    protocols=frozenset({DNS}),
    log_area="dns",
)

KINDS: tuple[HandlerKind[Any], ...] = (*HANDLERS, FORWARD, NAME_SERVER)
_BY_SECTION: dict[type[Rule], HandlerKind[Any]] = {kind.section: kind for kind in KINDS}


def kind_of(rule: Rule) -> HandlerKind[Any]:
    """Return the kind of a rule, which another installed package may have brought."""
    section = type(rule)
    kind = _BY_SECTION.get(section)
    if kind is None:
        from npserver.config.extensions import find

        kind = find("handler", str(section.__struct_config__.tag))
        assert isinstance(kind, HandlerKind)  # `config.decode` has found it already
    return kind


def _only(word: str, names: str | Sequence[str] | None) -> str:
    return f" {word} {names if isinstance(names, str) else ', '.join(names)}" if names else ""
