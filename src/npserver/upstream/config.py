"""The config section `upstreams`: groups of targets, their health checks, and TLS towards them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import NO_LIMIT, D, Section
from npserver.config.units import Seconds, Size

Balance = Literal["round-robin", "random", "ip-hash", "conn-hash", "hash", "least-conn", "least-time", "two-choices"]


class TargetSection(Section, frozen=True, kw_only=True):
    """A target: one address of an upstream."""

    uri: Annotated[str, D("address, with scheme `http https h2c tcp udp ssl unix unixgram`: `http://10.0.0.1:8001`")]
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
    body_regex: Annotated[
        str | None, D("regular expression that must match somewhere in the first 16 KiB of the body")
    ] = None


class HealthCheck(Section, frozen=True, kw_only=True):
    """Active health checks of all targets of an upstream."""

    type: Annotated[
        Literal["http", "tcp", "grpc", "fastcgi"] | None,
        D(
            "`http` sends a request, `tcp` only connects, `grpc` asks the health service of gRPC over HTTP/2, "
            "`fastcgi` sends a request to a FastCGI server; default: http for targets that speak HTTP, else tcp"
        ),
    ] = None
    method: Annotated[str, D("method of an http check")] = "GET"
    path: Annotated[
        str, D("request path of an http check; for a fastcgi one `ping.path` of PHP-FPM, or the file of a script")
    ] = "/"
    headers: Annotated[dict[str, str], D("header fields of an http check, such as `Authorization`", secret=True)] = (
        field(default_factory=dict)
    )
    interval: Annotated[Seconds, D("time between two checks of a target")] = Seconds(10)
    timeout: Annotated[Seconds, D("time limit for one check; a slower one has failed")] = Seconds(5)
    expect: Annotated[Expect, D("answers to an http check that count as healthy")] = Expect()
    rise: Annotated[int, D("successful checks in a row after which a target is used again", ge=1)] = 2
    fall: Annotated[int, D("failed checks in a row after which a target is no longer used", ge=1)] = 3
    port: Annotated[int | None, D("port to check; default: the target's own", ge=1, le=65535)] = None
    host: Annotated[
        str | None, D("Host header of an http check, `:authority` of a grpc one; default: the target's host and port")
    ] = None
    service: Annotated[
        str | None, D("service that a grpc check asks about, such as `shop.Orders`; default: the server as a whole")
    ] = None


class PassiveHealth(Section, frozen=True, kw_only=True):
    """Ejection of targets by the results of the requests sent to them."""

    errors: Annotated[
        str, D("share of failed requests at which a target is ejected: responses with status 5xx, and failures")
    ] = "50%"
    of: Annotated[int, D("number of last requests to a target, over all workers, that the share is of", ge=1)] = 20
    eject: Annotated[Seconds, D("how long an ejected target gets no requests")] = Seconds(30)


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
    http2: Annotated[
        bool, D("offer HTTP/2 to https targets (ALPN); one that does not choose it is spoken to over HTTP/1.1")
    ] = False
    insecure: Annotated[bool, D("do not verify the targets' certificates: traffic can be intercepted")] = False


class UpstreamHttp2(Section, frozen=True, kw_only=True):
    """Connections over HTTP/2: to h2c targets, and to https targets with `tls.http2`."""

    max_streams: Annotated[
        int,
        D("maximum number of simultaneous requests on a connection; the target may allow fewer", ge=1, le=2**31 - 1),
    ] = 100
    window: Annotated[
        Size, D("receive window of a response: what a target may send before the client has taken it", ge=1)
    ] = Size(256 << 10)
    ping_interval: Annotated[
        Seconds,
        D("how long a target may send nothing on a connection with requests before a PING asks for it", zero="never"),
    ] = Seconds(30)
    ping_timeout: Annotated[
        Seconds, D("time limit for the answer to a PING; without one the connection is closed, and its requests fail")
    ] = Seconds(10)
    max_age: Annotated[
        Seconds,
        D("time after which a connection gets no further requests, and is closed after its last one", zero="no limit"),
    ] = Seconds(0)
    max_control_frames: Annotated[
        int,
        D(
            "frames without a response (SETTINGS, PING, WINDOW_UPDATE, empty DATA) allowed per minute, besides those "
            "that requests and responses explain, before a connection is closed",
            ge=10,
            le=2**31 - 1,
        ),
    ] = 6000


class UpstreamSection(Section, frozen=True, kw_only=True):
    """A group of targets that share the traffic."""

    targets: Annotated[list[str | TargetSection], D("the targets, as URIs or objects")]
    balance: Annotated[Balance, D("method for choosing a target")] = "round-robin"
    hash: Annotated[
        str | None,
        D(
            "for `balance` `hash`: text with `$variables` of a request, such as `$header.x-user`; requests with the "
            "same text go to the same target, those with an empty one by the client's address"
        ),
    ] = None
    health_check: Annotated[
        HealthCheck | None, D("active health checks; default: none, only failed connections mark a target down")
    ] = None
    health: Annotated[
        PassiveHealth | None, D("eject targets whose requests fail too often, but never the last one; default: none")
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
    wait: Annotated[
        Seconds,
        D(
            "how long requests and connections wait, connecting included, while all targets are down or have reached "
            "their `max_connections`",
            zero="status 503 at once",
        ),
    ] = Seconds(0)
    queue: Annotated[
        int | None,
        D("how many may wait, over all workers; further ones get status 503 at once; default: 100", ge=1),
    ] = None
    retry_budget: Annotated[
        str | None,
        D("retries allowed, as a share of the requests over all workers, and 10 in 10 s; default: no limit"),
    ] = None
    resolve_interval: Annotated[Seconds, D("time between two DNS lookups of the targets' host names")] = Seconds(30)
    keepalive: Annotated[bool, D("reuse connections to the targets for later requests")] = True
    keepalive_pool_size: Annotated[
        int, D("maximum number of idle connections kept, per target and worker", ge=0, zero="none")
    ] = 64
    keepalive_idle_timeout: Annotated[Seconds, D("time after which an idle connection is closed", zero=NO_LIMIT)] = (
        Seconds(55)
    )
    tls: Annotated[UpstreamTls, D("TLS settings for https and ssl targets")] = UpstreamTls()
    http2: Annotated[UpstreamHttp2, D("connections over HTTP/2, to h2c targets and with `tls.http2`")] = UpstreamHttp2()
