"""The keys of handler `dns` and of the `dns` sections."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds
from npserver.web.config import HttpRule


class DnsRule(HttpRule, tag_field="handler", tag="dns", frozen=True, kw_only=True):
    """Answer DNS from the `dns` section: over UDP, TCP, TLS (ssl listeners) or HTTPS (RFC 8484)."""

    path: Annotated[str, D("path of DNS over HTTPS")] = "/dns-query"
    public: Annotated[bool, D("allow a wildcard address; answers are then rate-limited")] = False
    allow_transfer: Annotated[
        OneOrMany, D("networks that may ask for a whole zone (AXFR) over TCP", needs="networks")
    ] = []
    timeout: Annotated[Seconds, D("silence on a TCP or TLS connection that ends it")] = Seconds(10)
    rate_limit: Annotated[
        int, D("equal answers per second and client network (/24, /56) on public listeners", ge=1)
    ] = 20
    rate_limit_slip: Annotated[int, D("every so many-th limited answer is sent truncated instead of dropped", ge=0)] = 2


#: The records of one name: type to a string, an object or a list of them; "TTL" to seconds.
#: Checked by `dns.message.record`, which knows each type's form.
DnsRecords = dict[str, object]
DnsZone = dict[str, DnsRecords]


#: What an error about the records of a name asks for.
RECORDS = 'an object such as {"A": "10.0.0.1"}'


class DnsView(Section, frozen=True, kw_only=True):
    """Records that only some clients see."""

    from_: Annotated[OneOrMany, D("the networks that see them", needs="networks")] = field(name="from")
    dns: Annotated[DnsZone, D("their records, instead of the global `dns`", opaque=RECORDS)]


class DnsForward(Section, frozen=True, kw_only=True):
    """Where names outside our zones are looked up, and for whom."""

    resolvers: Annotated[list[str], D("addresses, as `9.9.9.9`, `[2620:fe::fe]:53`, `udp://1.1.1.1:53`")]
    allow: Annotated[OneOrMany, D("networks that may ask", needs="networks")] = field(
        default_factory=lambda: ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
    )
    timeout: Annotated[Seconds, D("for one resolver")] = Seconds(2)
    cache_size: Annotated[int, D("answers remembered per worker, 0 for none", ge=0)] = 1000
