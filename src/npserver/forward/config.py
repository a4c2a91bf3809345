"""The keys of handler `forward`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import NO_LIMIT, D, OneOrMany
from npserver.config.units import Seconds, Size
from npserver.limits.config import RateLimit
from npserver.upstream.config import Balance, UpstreamTls
from npserver.web.config import Rule


class ForwardRule(Rule, tag_field="handler", tag="forward", frozen=True, kw_only=True):
    """Relay TCP or TLS connections, Unix sockets and UDP sessions without interpreting their content."""

    listener: Annotated[
        OneOrMany | None,
        D(
            "names or URIs of the listeners this rule applies to; "
            "default: the tcp, udp and unixgram listeners that no rule names",
            needs="listen",
        ),
    ] = None
    forward_to: Annotated[
        str,
        D(
            "target to connect to: a `tcp`, `udp`, `ssl`, `unix` or `unixgram` URI, or `upstream://name`; a range of "
            "ports as large as that of the listener: each port to the one at the same place",
            needs="upstreams",
        ),
    ]
    mode: Annotated[
        Literal["stream", "datagram"] | None,
        D("between a stream and datagrams: `datagram` delimits messages by `framing`, `stream` relays raw bytes"),
    ] = None
    framing: Annotated[
        Literal["raw", "line", "length16", "length32"],
        D("how the stream side separates messages: lines, or a 2- or 4-byte length before each; `raw`: not at all"),
    ] = "raw"
    max_message_size: Annotated[Size, D("longest message in bytes")] = Size(65507)
    timeout: Annotated[
        Seconds | None,
        D(
            "close after this time without data in either direction; default: 300 s between streams, else 60 s",
            zero=NO_LIMIT,
        ),
    ] = None
    connect_timeout: Annotated[Seconds, D("time limit for connecting to a target", zero=NO_LIMIT)] = Seconds(5)
    max_connections: Annotated[
        int, D("maximum number of connections or sessions over all workers; 0: `limits.max_connections`", ge=0)
    ] = 0
    rate_limit: Annotated[
        str | RateLimit | None,
        D(
            "how often each client may connect, or begin a UDP session: a rate such as `5/s`, a name from "
            "`rate_limits`, or an object; further connections are closed at once",
            needs="rate_limits",
        ),
    ] = None
    buffer_size: Annotated[Size, D("bytes buffered per direction before reading from the sender is paused")] = Size(
        64 << 10
    )
    send_proxy: Annotated[
        Literal["v1", "v2"] | None,
        D("version of the PROXY protocol header sent to the target before the data; default: none"),
    ] = None
    sni: Annotated[
        OneOrMany | None, D("TLS server names (SNI) this rule applies to, with `*.` wildcards; TLS is not terminated")
    ] = None
    publish: Annotated[
        bool, D("make A and AAAA records of `sni` in a zone of ours, and PTR with `dns_auto_ptr`; those of `dns` win")
    ] = False
    sni_timeout: Annotated[
        Seconds | None,
        D(
            "on a listener with `sni` rules: serve a client that has sent nothing for this time by this rule, "
            "which has no `sni`; default: 1 s",
            zero="wait for `timeouts.tls_handshake`, then close",
        ),
    ] = None
    from_: Annotated[
        OneOrMany, D("client networks this rule applies to; default: all", needs="networks", empty="all clients")
    ] = field(default_factory=list, name="from")
    balance: Annotated[Balance | None, D("load-balancing method; default: the upstream's")] = None
    tls: Annotated[UpstreamTls, D("TLS settings for ssl targets")] = UpstreamTls()
