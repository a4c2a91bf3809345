"""The section `dns_forward`: resolvers for names outside the zones served, and the cache of their answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds


class ResolverSection(Section, frozen=True, kw_only=True):
    """A resolver: an address with what a URI cannot say."""

    uri: Annotated[str, D("address of the resolver, as in `resolvers`; with `address` its host may be a name")]
    address: Annotated[
        OneOrMany, D("IP addresses to connect to, for a `tls` or `https` resolver whose `uri` has a host name")
    ] = field(default_factory=list)
    server_name: Annotated[
        str | None, D("server name sent (SNI) and verified in the certificate; default: the host of `uri`")
    ] = None
    ca: Annotated[
        str | None, D("PEM file with the CAs trusted for a `tls` or `https` resolver; default: the system's")
    ] = None
    trust_ad: Annotated[
        bool | None,
        D(
            "believe the resolver's AD flag, which says that it has validated an answer (DNSSEC), and show it to "
            "clients; default: if it is asked over TLS or HTTPS, or is on this machine"
        ),
    ] = None


Resolvers = list[str | ResolverSection]


class DnsForward(Section, frozen=True, kw_only=True):
    """Recursive resolvers for names outside the zones served, and the clients that may use them."""

    resolvers: Annotated[
        Resolvers,
        D(
            "addresses of the resolvers, in order of preference: `9.9.9.9`, `[2620:fe::fe]:53`, `udp://1.1.1.1:53`, "
            "`tcp://1.1.1.1`, `tls://9.9.9.9#dns.quad9.net`, `https://1.1.1.1/dns-query`, "
            "`https://dns.quad9.net/dns-query#9.9.9.9`"
        ),
    ]
    zones: Annotated[
        dict[str, Resolvers],
        D(
            "resolvers for single domains and all names below them, such as `corp.example` or "
            "`168.192.in-addr.arpa`; the longest domain that matches counts"
        ),
    ] = field(default_factory=dict)
    allow: Annotated[
        OneOrMany, D("client networks whose queries are forwarded; others are refused", needs="networks")
    ] = field(
        default_factory=lambda: ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
    )
    timeout: Annotated[
        Seconds,
        D(
            "time to wait for a resolver's answer before asking the next one, doubled in each round of all resolvers; "
            "four times as long over TCP, TLS and HTTPS"
        ),
    ] = Seconds(0.4)
    total_timeout: Annotated[Seconds, D("answer SERVFAIL if no resolver has answered in this time")] = Seconds(8)
    max_sockets: Annotated[
        int,
        D(
            "UDP sockets open to resolvers per worker, at most a quarter of the process's file descriptors; "
            "further questions wait for one",
            ge=1,
        ),
    ] = 128
    max_waiting: Annotated[
        int, D("queries per worker that may wait for resolvers at once; further ones get SERVFAIL", ge=1)
    ] = 5000
    local_zones: Annotated[
        list[str],
        D(
            "local domains that the resolvers know, such as `corp.local` or `168.192.in-addr.arpa`; "
            "all other local names are answered without asking them"
        ),
    ] = field(default_factory=list)
    random_case: Annotated[
        bool,
        D(
            "ask over UDP in random upper and lower case, which forged answers must match; resolvers that do not "
            "return it are asked over TCP once, then without"
        ),
    ] = True
    ecs: Annotated[
        Literal["strip", "pass"],
        D("EDNS Client Subnet of queries: not sent to resolvers, or passed on, with answers cached for each subnet"),
    ] = "strip"
    rebind_protection: Annotated[
        Literal["public", "all", "off"],
        D(
            "answers with private addresses to public names are replaced by empty ones: `public`: those of resolvers "
            "that have a public address; `all`: of all resolvers; `off`: of none. Domains in `zones` are not protected"
        ),
    ] = "public"
    rebind_allow: Annotated[
        list[str],
        D("domains that may have private addresses, with all names below them, such as `home.example.com`"),
    ] = field(default_factory=list)
    cache_size: Annotated[
        int, D("number of answers cached per worker, and shared by all workers", ge=0, zero="no cache")
    ] = 10_000
    min_ttl: Annotated[
        Seconds, D("answers with records are cached and passed on for at least this time", zero="as their TTL says")
    ] = Seconds(0)
    max_ttl: Annotated[Seconds, D("answers with records are cached and passed on for at most this time")] = Seconds(
        86_400
    )
    max_negative_ttl: Annotated[
        Seconds,
        D("answers that a name or its records do not exist are cached for at most this time", zero="not at all"),
    ] = Seconds(10_800)
    failure_ttl: Annotated[
        Seconds,
        D("time for which SERVFAIL is answered again, once no resolver has answered: 1 s to 5 min (RFC 9520)"),
    ] = Seconds(5)
    stale: Annotated[
        Seconds,
        D(
            "time after its end for which an answer is still given, with a TTL of 30 s, if the resolvers do not "
            "answer; RFC 8767 proposes 1 to 3 days",
            zero="never",
        ),
    ] = Seconds(0)
    prefetch: Annotated[
        bool, D("ask again for names that were asked for more than once, in the last tenth of their TTL")
    ] = False
