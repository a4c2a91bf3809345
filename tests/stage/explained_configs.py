"""Configs and questions made by chance: few hosts, paths and addresses, so that many rules fit and few do not."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.stage.explained_servers import Targets
from tests.stage.passwords import quick_hash

HOSTS = ("a.home", "b.home", "x.a.home", "c.example")
HOST_PATTERNS = (*HOSTS, "*.home", "*.a.home", "*.example")
PATTERNS = (
    "/**", "/api/**", "/api/*", "/api/v1/**", "/api", "/api/", "/u/*/x", "/u/*/**", "/*/x", "/page.html", "/b%41r/**",
)  # fmt: skip
PATHS = (
    "/", "/api", "/api/", "/api/v1", "/api/v1/x", "/api//v1", "/api/../page.html", "/u/7/x", "/u/7/y", "/u//x",
    "/page.html",
    "/sub", "/sub/", "/none", "/bAr/x", "/b%41r/x", "/%61pi/x", "/a%2fb", "/%zz", "/.hidden", "/..", "/a b",
    "/sub/..%2fx",
    "/" + "long/" * 300, "/api/x?y=1&z=2", "/page.html?y=2", "/?y=%31", "/p.txt", "/api/v1/../../u/7/x",
)  # fmt: skip
NETWORKS = ("127.0.0.1", "127.0.0.2/31", "127.0.1.0/24", "127.0.0.0/8", "lan", "198.51.100.0/24")
CLIENTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.1.9", "127.9.9.9")
METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE", "PROPFIND")
NAMES = ("a.home", "b.home", "www.home", "deep.x.home", "none.home", "home", "example.org", "x.ads.example",
         "host.corp.example", "out.home", "WWW.Home", "ok.ads.example")  # fmt: skip
TYPES = ("A", "AAAA", "TXT", "CNAME", "SOA", "NS", "MX", "ANY", "TYPE65")


class Chance:
    """Makes configs and questions."""

    def __init__(self, seed: int, targets: Targets) -> None:
        self.random = Random(seed)
        self._targets = targets

    def some(self, values: tuple[str, ...], most: int = 2) -> list[str]:
        return self.random.sample(values, self.random.randint(1, most))

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def config(self) -> dict[str, Any]:
        """Return a config with listeners for HTTP, HTTP behind a proxy, HTTPS, DNS, TCP and UDP."""
        http = {name: f"http://127.0.0.1:{port}" for name, port in self._targets.http.items()}
        tcp = {name: f"tcp://127.0.0.1:{port}" for name, port in self._targets.tcp.items()}
        udp = {name: f"udp://127.0.0.1:{port}" for name, port in self._targets.udp.items()}
        resolvers = {name: f"127.0.0.1:{port}" for name, port in self._targets.resolvers.items()}
        rules = [self._rule(number, http) for number in range(self.random.randint(3, 12))]
        forwards: list[dict[str, Any]] = []
        for number in range(self.random.randint(1, 4)):
            forward: dict[str, Any] = {"handler": "forward", "listener": "tcp"}
            forward["forward_to"] = self.random.choice([*tcp.values(), "upstream://pair"])
            if self.maybe(0.7):
                forward["sni"] = self.some(HOST_PATTERNS)
            forwards.append(self._guarded(forward, 0.4, "from"))
            datagrams = {"handler": "forward", "listener": "udp", "forward_to": self.random.choice(list(udp.values()))}
            if number:
                datagrams["from"] = self.some(NETWORKS)
            forwards.insert(0, datagrams)
        name_server = self._guarded({"handler": "dns", "listener": "dns"}, 0.3, "deny")
        return {
            "listen": [
                {"name": "plain", "uri": "http://127.0.0.1:0"},
                {"name": "behind", "uri": "http://127.0.0.1:0", "accept_proxy": ["127.0.0.0/8"]},
                {"name": "secure", "uri": "https://127.0.0.1:0"},
                {"name": "dns", "uri": "udp://127.0.0.1:0"},
                {"name": "tcp", "uri": "tcp://127.0.0.1:0"},
                {"name": "udp", "uri": "udp://127.0.0.1:0"},
            ],
            "tls": [
                {"cert": "home.pem", "key": "home.key"},
                {"cert": "example.pem", "key": "example.key", **self._client_certificates()},
            ],
            "networks": {"lan": ["127.0.0.3", "127.0.1.0/25"]},
            "trusted_proxies": self.some(NETWORKS) if self.maybe(0.6) else [],
            "upstreams": {
                "sticky": {"targets": list(http.values()), "sticky": {}},
                "pool": {"targets": list(http.values()),
                         "balance": self.random.choice(["round-robin", "ip-hash", "random"])},
                "pair": {"targets": list(tcp.values()), "balance": self.random.choice(["round-robin", "ip-hash"])},
            },
            "dns": {
                "a.home": {"A": ["10.0.0.5", "10.0.0.6"], "TXT": "a"},
                "*.x.home": {"A": "10.0.0.7"},
                "www.home": {"CNAME": "a.home"},
                "out.home": {"CNAME": "x.ads.example"},
                "home": {"MX": "10 a.home", "A": "10.0.0.1"},
            },
            "dns_views": [{"from": self.some(NETWORKS), "dns": {"b.home": {"A": "10.9.9.9"}}}],
            "dns_forward": {
                "resolvers": [resolvers["one"]],
                "zones": {"corp.example": [resolvers["two"]]},
                "allow": self.some(NETWORKS),
            },
            "dns_block": {"block": ["ads.example"], "allow": ["ok.ads.example"],
                          "answer": self.random.choice(["nxdomain", "refused", "zero"])},
            "error_pages": {"404": "site/p.txt"} if self.maybe(0.3) else {},
            "dispatch": [*rules, name_server, *forwards],
            "logging": {"access_log": "off", "level": "off"},
        }  # fmt: skip

    def _client_certificates(self) -> dict[str, str]:
        """Return keys by which a request for the other certificate's hosts is misdirected (421)."""
        return {"client_ca": "example.pem", "client_auth": "request"} if self.maybe(0.3) else {}

    def _guarded(self, rule: dict[str, Any], share: float, *more: str) -> dict[str, Any]:
        for key in ("allow", "deny", *more):
            if self.maybe(share / 2):
                rule[key] = self.some(NETWORKS)
        return rule

    def _rule(self, number: int, http: dict[str, str]) -> dict[str, Any]:
        rule: dict[str, Any] = {"name": f"rule{number}"}
        if self.maybe(0.7):
            rule["host"] = self.some(HOST_PATTERNS)
        if self.maybe(0.7):
            rule["path"] = self.random.choice(PATTERNS)
        if self.maybe(0.1):
            rule.pop("path", None)
            rule["path_regex"] = self.random.choice(["/[a-z]*", "/u/[0-9]+/.*", ".*html"])
        self._guarded(rule, 0.2, "from")
        if self.maybe(0.25):
            rule["match"] = self._conditions()
        if self.maybe(0.1):
            rule["not"] = self._conditions()
        if self.maybe(0.1):
            rule["maintenance"] = True
        if self.maybe(0.1):
            rule["cors"] = {"origins": ["https://app.example"]}
        if self.maybe(0.1):
            rule["max_body_size"] = 10
        if self.maybe(0.05):
            rule["basic_auth"] = {"users": {"nobody": quick_hash("secret")}}
        if self.maybe(0.1):
            rule["security_headers"] = True
        if self.maybe(0.1):
            rule["forward_auth"] = {"to": http["two"]}  # which lets everybody in
        if self.maybe(0.1):
            rule["max_requests"] = {"per_client": 5}
        if self.maybe(0.2):
            rule["response_headers"] = {"X-Rule": f"$host {number}", "Vary": "X"}
        return {**rule, **self._handler(number, http)}

    def _conditions(self) -> dict[str, Any]:
        found = {
            "method": self.some(("GET", "POST", "HEAD")),
            "header": {"X-A": self.random.choice(["b", "b*", ""])},
            "query": {"y": self.random.choice(["1", "*"])},
            "cookie": {"c": "d"},
            "protocol": self.some(("http", "https", "http/1.1", "websocket")),
        }
        return {key: found[key] for key in self.some(tuple(found))}

    def _handler(self, number: int, http: dict[str, str]) -> dict[str, Any]:
        kind = self.random.randrange(4)
        if kind == 0:
            return {"handler": "respond", "status": 220 + number, "body": f"rule {number}"}
        if kind == 1:
            to = self.random.choice(["https://$host$request_uri", "/moved$path", "https://x.example/?$query.y"])
            table = {"moved": {"/u/7/x": "/seven", "/page.html": "https://$client_ip.example/"}}
            moved = table if self.maybe(0.3) else {}
            return {"handler": "redirect", "to": to, **moved, "status": self.random.choice([301, 302, 307, 308])}
        if kind == 2:
            rule: dict[str, Any] = {"handler": "static", "root": "site"}
            if self.maybe(0.3):
                rule["browse"] = True
            if self.maybe(0.3):
                rule["fallback"] = "index.html"
            elif self.maybe(0.3):
                rule["try_files"] = self.random.choice([["$path", "$path/", "/index.html"], ["$path.html", "=410"]])
            return rule
        rule = {
            "handler": "proxy",
            "proxy_pass": self.random.choice(
                [*http.values(), f"{http['one']}/base", "upstream://pool", "upstream://sticky"]
            ),
        }
        if self.maybe(0.4):
            rule["strip_prefix"] = True
        if self.maybe(0.3):
            rule["headers"] = {"X-Client": "$client_ip $scheme", "User-Agent": None, "+X-A": "more"}
        if self.maybe(0.3):
            rule["preserve_host"] = True
        if self.maybe(0.2):
            rule["rewrite"] = {"^/api/(.*)": "/new/$1?added=1"}
        if self.maybe(0.2):
            rule["forwarded"] = rule["via"] = True
        if self.maybe(0.2):
            rule["split"] = {http["two"]: "50%"} if rule["proxy_pass"] != http["two"] else {http["one"]: "50%"}
        return rule

    def fields(self) -> dict[str, str]:
        """Return the fields of a request."""
        found = {
            "X-A": self.random.choice(["b", "bc", "x"]),
            "Cookie": self.random.choice(["c=d", "c=e; f=g"]),
            "X-Forwarded-For": self.random.choice(["198.51.100.7", "127.0.0.2, 127.0.0.3", "203.0.113.1", "x"]),
            "X-Forwarded-Proto": "https",
            "Forwarded": "for=198.51.100.9;proto=https",
            "Origin": self.random.choice(["https://app.example", "https://evil.example"]),
            "Access-Control-Request-Method": "PUT",
            "Range": self.random.choice(["bytes=0-3", "bytes=99999-"]),
            "If-None-Match": "*",
            "User-Agent": "asking",
            "Accept-Encoding": self.random.choice(["gzip", "identity", "br;q=1, *;q=0"]),
            "Content-Length": self.random.choice(["0", "5"]),
        }
        return {name: found[name] for name in self.random.sample(sorted(found), self.random.choice([0, 0, 1, 2, 4]))}
