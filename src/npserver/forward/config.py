"""The keys of handler `forward`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, OneOrMany
from npserver.config.units import Seconds, Size
from npserver.upstream.config import Balance, UpstreamTls
from npserver.web.config import Rule


class ForwardRule(Rule, tag_field="handler", tag="forward", frozen=True, kw_only=True):
    """Relay a connection or a datagram session as it is."""

    forward_to: Annotated[str, D("`tcp udp ssl unix unixgram` target or `upstream://name`", needs="upstreams")]
    mode: Annotated[Literal["stream", "datagram"] | None, D("bytes, or messages whose boundaries are kept")] = None
    framing: Annotated[Literal["raw", "line", "length16", "length32"], D("how messages are told apart on a stream")] = (
        "raw"
    )
    max_message_size: Annotated[Size, D("longest message of a framing")] = Size(65507)
    timeout: Annotated[Seconds | None, D("silence both ways that ends it; default: 300, UDP 60")] = None
    connect_timeout: Annotated[Seconds, D("to connect to a target")] = Seconds(5)
    max_connections: Annotated[int, D("connections or sessions at once over all workers, 0: `limits`", ge=0)] = 0
    buffer_size: Annotated[Size, D("bytes held per direction before the sender is paused")] = Size(64 << 10)
    send_proxy: Annotated[Literal["v1", "v2"] | None, D("PROXY protocol header sent first")] = None
    sni: Annotated[
        OneOrMany | None, D("TLS server names (not terminated) this rule is for, `*.` wildcards allowed")
    ] = None
    from_: Annotated[OneOrMany, D("client networks this rule is for", needs="networks")] = field(
        default_factory=list, name="from"
    )
    balance: Annotated[Balance | None, D("default: the upstream's")] = None
    tls: Annotated[UpstreamTls, D("for an ssl target")] = UpstreamTls()
