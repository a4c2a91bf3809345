"""The keys of `upstreams`: groups of targets, their health checks, how TLS is spoken to them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, Section
from npserver.config.units import Seconds

Balance = Literal["round-robin", "random", "ip-hash", "conn-hash", "least-conn", "two-choices"]


class Target(Section, frozen=True, kw_only=True):
    """One address of an upstream."""

    uri: Annotated[str, D("`http https tcp udp ssl unix unixgram`, as `http://10.0.0.1:8001`")]
    weight: Annotated[int, D("share of the traffic relative to the others", ge=0, le=1000)] = 1
    backup: Annotated[bool, D("used only while no other target is healthy")] = False
    max_connections: Annotated[int, D("connections (or requests in flight) at once, 0 for no limit", ge=0)] = 0
    send_proxy: Annotated[Literal["v1", "v2"] | None, D("PROXY protocol header sent first")] = None


class Expect(Section, frozen=True, kw_only=True):
    """What a health check's answer must look like."""

    status: Annotated[int | str | list[int | str], D('status codes or ranges: 200, "200-399"')] = "200-399"
    body: Annotated[str | None, D("text that the first 64 KiB of the body must contain")] = None


class HealthCheck(Section, frozen=True, kw_only=True):
    """Active health checks of every target of an upstream."""

    type: Annotated[Literal["http", "tcp"] | None, D("default: http when the targets speak HTTP")] = None
    path: Annotated[str, D("path asked for")] = "/"
    interval: Annotated[Seconds, D("between two checks of a target")] = Seconds(10)
    timeout: Annotated[Seconds, D("for one whole check")] = Seconds(5)
    expect: Annotated[Expect, D("what counts as healthy")] = Expect()
    rise: Annotated[int, D("good checks in a row that bring a target back", ge=1)] = 2
    fall: Annotated[int, D("bad checks in a row that take a target out", ge=1)] = 3
    port: Annotated[int | None, D("port asked instead of the target's own", ge=1, le=65535)] = None
    host: Annotated[str | None, D("Host header; default: the target's own")] = None


class Sticky(Section, frozen=True, kw_only=True):
    """Sessions kept on their target by a cookie."""

    cookie: Annotated[str, D("name of the cookie")] = "npserver_target"
    max_age: Annotated[Seconds | None, D("life of the cookie; default: the browser's session")] = None
    secure: Annotated[bool, D("sent back over HTTPS only")] = False


class UpstreamTls(Section, frozen=True, kw_only=True):
    """How TLS is spoken to https and ssl targets."""

    ca: Annotated[str | None, D("PEM file of the CAs trusted; default: the system's")] = None
    server_name: Annotated[str | None, D("name sent (SNI) and checked; default: the target's host")] = None
    cert: Annotated[str | None, D("PEM file: our certificate for the upstream")] = None
    key: Annotated[str | None, D("PEM file: our certificate's key")] = None
    insecure: Annotated[bool, D("do not verify the upstream's certificate")] = False


class Upstream(Section, frozen=True, kw_only=True):
    """A named group of targets that share the traffic."""

    targets: Annotated[list[str | Target], D("the addresses, as URIs or objects")]
    balance: Annotated[Balance, D("how a target is chosen")] = "round-robin"
    health_check: Annotated[HealthCheck | None, D("active checks; default: none, failures only")] = None
    sticky: Annotated[Sticky | None, D("keep a client on its target by a cookie")] = None
    slow_start: Annotated[Seconds, D("time over which a target that came back gets its full share")] = Seconds(0)
    proxy_timeout_seconds: Annotated[Seconds, D("to connect to a target")] = Seconds(5)
    retry_timeout_seconds: Annotated[Seconds, D("a target that failed is left alone for so long")] = Seconds(30)
    retries: Annotated[int, D("further targets tried for one request", ge=0, le=100)] = 2
    retry_on: Annotated[
        list[Literal["connect", "send", "timeout", "502", "503", "504"]],
        D("failures after which a repeatable request is tried again"),
    ] = field(default_factory=lambda: ["connect", "send"])
    resolve_interval: Annotated[Seconds, D("between two look-ups of targets given by name")] = Seconds(30)
    keepalive: Annotated[bool, D("keep connections to the targets for later requests")] = True
    keepalive_pool_size: Annotated[int, D("idle connections kept per target and worker", ge=0)] = 64
    keepalive_idle_timeout: Annotated[Seconds, D("idle connections are closed after so long")] = Seconds(55)
    tls: Annotated[UpstreamTls, D("for https and ssl targets")] = UpstreamTls()
