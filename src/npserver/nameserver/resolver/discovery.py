"""Discovery of our own encrypted listeners (DDR, RFC 9462): the records of `_dns.resolver.arpa`.

A client that knows the address of its resolver asks it for them, and goes on over TLS, HTTPS or QUIC. It takes only a
server whose certificate has the name, so a listener is told of where its name is known: `host` of its `dns` rule, or
`names` of its `tls`. Without any, the name has no such records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver.address import SCHEMES, Address, parse_listen
from npserver.listen.compile import entries
from npserver.nameserver.config import DnsRule
from npserver.networks import is_ip_address
from npserver.tls.config import Tls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.config.schema import Config
    from npserver.listen.config import Listen

NAME = "_dns.resolver.arpa"
_PROTOCOLS = {"ssl": "dot", "https": "h2", "quic": "doq"}  # their names in ALPN


def discovery_records(config: Config) -> dict[str, dict[str, object]]:
    """Return the records of our encrypted listeners, as `dns` has records; none if no name is known."""
    found = list(dict.fromkeys(_designations(config)))
    records = [f"{number} {designation}" for number, designation in enumerate(found, 1)]
    return {NAME: {"SVCB": records}} if records else {}


def dns_listeners(config: Config) -> Iterator[tuple[Listen, Address, DnsRule]]:
    """Yield each listener that a `dns` rule names, or gets without naming one, with the rule."""
    rules = [rule for rule in config.dispatch if isinstance(rule, DnsRule)]
    for _, entry, _ in entries(config):
        scheme = SCHEMES.get(entry.uri.partition("://")[0].lower())
        if scheme is None:
            continue
        for rule in rules:
            if rule.listener is None:
                is_for = not scheme.is_tls  # it gets udp and tcp
            else:
                is_for = not {entry.name, entry.uri}.isdisjoint(_texts(rule.listener))
            if not is_for:
                continue
            try:
                yield entry, parse_listen(entry.uri, scheme.dns_port), rule
            except ValueError:  # it is reported elsewhere
                continue


def _designations(config: Config) -> Iterator[str]:
    for entry, address, rule in dns_listeners(config):
        protocol = _PROTOCOLS.get(address.scheme)
        if protocol is None:
            continue
        if protocol == "h2" and entry.http3:
            protocol = "h2,h3"
        path = f" dohpath={rule.path}{{?dns}}" if address.scheme == "https" else ""
        for name in _names(config, entry, rule):
            yield f"{name}. alpn={protocol} port={address.port}{path}"


def _names(config: Config, entry: Listen, rule: DnsRule) -> list[str]:
    """Return the names of the server that are known."""
    names = _texts(rule.host or [])
    if not names:
        tls = entry.tls if entry.tls is not None else config.tls
        sections = tls if isinstance(tls, list) else [tls]
        names = [name for one in sections if isinstance(one, Tls) for name in one.names]
    return [name.rstrip(".") for name in names if "*" not in name and not is_ip_address(name)]


def _texts(value: Sequence[str] | str) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
