"""The config section `upstreams`: groups of targets, their health checks, and TLS towards them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import NO_LIMIT, D, Section
from npserver.config.units import Seconds

Balance = Literal["round-robin", "random", "ip-hash", "conn-hash", "least-conn", "two-choices"]


class TargetSection(Section, frozen=True, kw_only=True):
    """A target: one address of an upstream."""

    uri: Annotated[str, D("address, with scheme `http https tcp udp ssl unix unixgram`: `http://10.0.0.1:8001`")]
    weight: Annotated[int, D("share of the traffic, relative to the other targets; 0: none", ge=0, le=1000)] = 1
    backup: Annotated[bool, D("use this target only while no other one is available")] = False
    max_connections: Annotated[
        int, D("maximum number of simultaneous requests or connections over all workers; 0: no limit", ge=0)
    ] = 0
    send_proxy: Annotated[
        Literal["v1", "v2"] | None, D("version of the PROXY protocol header sent before the data; default: none")
    ] = None


class Expect(Section, frozen=True, kw_only=True):
    """The answers to a health check that count as healthy."""

    status: Annotated[
        int | str | list[int | str], D('accepted status codes or ranges: 200, "200-399", [200, "301-303"]')
    ] = "200-399"
    body: Annotated[str | None, D("text that must appear in the first 64 KiB of the body")] = None


class HealthCheck(Section, frozen=True, kw_only=True):
    """Active health checks of all targets of an upstream."""

    type: Annotated[
        Literal["http", "tcp"] | None,
        D("`http` sends a request, `tcp` only connects; default: http for targets that speak HTTP, else tcp"),
    ] = None
    path: Annotated[str, D("request path of an http check")] = "/"
    interval: Annotated[Seconds, D("time between two checks of a target")] = Seconds(10)
    timeout: Annotated[Seconds, D("time limit for one check; a slower one has failed")] = Seconds(5)
    expect: Annotated[Expect, D("answers to an http check that count as healthy")] = Expect()
    rise: Annotated[int, D("successful checks in a row after which a target is used again", ge=1)] = 2
    fall: Annotated[int, D("failed checks in a row after which a target is no longer used", ge=1)] = 3
    port: Annotated[int | None, D("port to check; default: the target's own", ge=1, le=65535)] = None
    host: Annotated[str | None, D("Host header of an http check; default: the target's host and port")] = None


class Sticky(Section, frozen=True, kw_only=True):
    """Sticky sessions: a cookie keeps a client on its target."""

    cookie: Annotated[
        str | None,
        D("name of the cookie that names the client's target; default: `npserver_target_` and the upstream's name"),
    ] = None
    max_age: Annotated[Seconds | None, D("lifetime of the cookie; default: until the browser is closed")] = None
    same_site: Annotated[
        Literal["lax", "strict", "none"],
        D("the cookie's SameSite attribute: whether browsers send it with requests from other sites"),
    ] = "lax"
    secure: Annotated[bool, D("set the cookie's Secure attribute: browsers send it over HTTPS only")] = False


class UpstreamTls(Section, frozen=True, kw_only=True):
    """TLS settings for connections to https and ssl targets."""

    ca: Annotated[str | None, D("PEM file with the trusted CAs; default: the system's")] = None
    server_name: Annotated[
        str | None, D("server name sent (SNI) and verified in the certificate; default: the target's host")
    ] = None
    cert: Annotated[str | None, D("PEM file with the client certificate shown to the targets")] = None
    key: Annotated[str | None, D("PEM file with the private key of the client certificate")] = None
    key_passphrase: Annotated[
        str | None, D("file whose first line is the passphrase of `key`; default: the key is not encrypted")
    ] = None
    insecure: Annotated[bool, D("do not verify the targets' certificates: traffic can be intercepted")] = False


class UpstreamSection(Section, frozen=True, kw_only=True):
    """A group of targets that share the traffic."""

    targets: Annotated[list[str | TargetSection], D("the targets, as URIs or objects")]
    balance: Annotated[Balance, D("method for choosing a target")] = "round-robin"
    health_check: Annotated[
        HealthCheck | None, D("active health checks; default: none, only failed connections mark a target down")
    ] = None
    sticky: Annotated[Sticky | None, D("send a client's requests to the same target by means of a cookie")] = None
    slow_start: Annotated[
        Seconds,
        D(
            "time over which a target that is available again is brought up to its full share of the traffic",
            zero="at once",
        ),
    ] = Seconds(0)
    proxy_timeout_seconds: Annotated[Seconds, D("time limit for connecting to a target", zero=NO_LIMIT)] = Seconds(5)
    retry_timeout_seconds: Annotated[
        Seconds, D("how long a target stays out of rotation after a failed connection", zero="none")
    ] = Seconds(30)
    retries: Annotated[int, D("number of further targets tried for one request", ge=0, le=100, zero="none")] = 2
    retry_on: Annotated[
        list[Literal["connect", "send", "timeout", "502", "503", "504"]],
        D("failures after which an idempotent request is sent to another target"),
    ] = field(default_factory=lambda: ["connect", "send"])
    resolve_interval: Annotated[Seconds, D("time between two DNS lookups of the targets' host names")] = Seconds(30)
    keepalive: Annotated[bool, D("reuse connections to the targets for later requests")] = True
    keepalive_pool_size: Annotated[
        int, D("maximum number of idle connections kept, per target and worker", ge=0, zero="none")
    ] = 64
    keepalive_idle_timeout: Annotated[Seconds, D("time after which an idle connection is closed", zero=NO_LIMIT)] = (
        Seconds(55)
    )
    tls: Annotated[UpstreamTls, D("TLS settings for https and ssl targets")] = UpstreamTls()
