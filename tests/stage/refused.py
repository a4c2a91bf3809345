"""Requests that are refused, one for each reason, and a config in which they are: what is answered, what decides."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from npserver.web.handlers.static.root import FileError

HASH = "$scrypt$ln=1,r=1,p=1$" + "A" * 22 + "$" + "A" * 43  # of no password that is asked with
MAX_CONNECTIONS = 12

#: Reasons that no request can provoke at will.
NOT_PROVOKED = {
    "too many requests at once": "takes requests in progress: tests/e2e/test_max_requests.py",
    "too many requests of the client at once": "takes requests in progress: tests/e2e/test_max_requests.py",
    "internal error": "an error of ours: tests/protocols/test_http_connection.py",
    "internal error while connecting to an upstream": "an error of ours",
    "internal error while connecting to the authorization server": "an error of ours",
    "internal error while listing a directory": "an error of ours",
    "the request body cannot be kept: no space left on device": "tests/e2e/test_buffering_program.py",
    "the script is no longer there": "takes a script that is removed meanwhile: tests/protocols/test_fastcgi.py",
    "unwanted request body too large to skip": "comes after the answer: the connection is closed",
    "the queue of upstream app is full: 1 wait": "takes another request that waits: tests/e2e/test_waiting.py",
    "the server shuts down, and no target of upstream app was free": "tests/e2e/test_waiting.py",
    "expected one button: drain or undrain": "takes a token: tests/e2e/test_status_buttons.py",
    "the form of a button has at most 4096 bytes": "a larger body than others: tests/e2e/test_status_buttons.py",
    "neither :authority nor Host": "the HTTP/2 library resets the stream before",
    "path of more than 1024 characters, which no regular expression is compared with": (
        "takes a larger max_url_size: tests/protocols/test_matching.py"
    ),
    FileError.CHANGING.reason: "takes a file that changes in each of several attempts",
    FileError.BUSY.reason: "takes a system without descriptors or memory",
}

Case = tuple[str, str, dict[str, str], bytes, int, str, str]  # method, target, fields, body, status, reason, key
RAW = "POST /silent HTTP/1.1\r\nHost: a\r\n"
CHUNKED = RAW + "Transfer-Encoding: chunked\r\n\r\n"


class Refusing:
    """A config with a rule for each kind of refusal, and the requests that it refuses."""

    def __init__(self, root: Path, port: int, secure_port: int, tls: list[Any], upstreams: dict[str, int]) -> None:
        self.port, self.secure_port = port, secure_port
        self.rules: list[dict[str, Any]] = [
            {"handler": "static", "path": "/files/**", "root": str(root)},
            {"handler": "static", "path": "/browse/**", "root": str(root), "browse": True},
            {"handler": "static", "path": "/tried/**", "root": str(root), "try_files": ["$path", "=404"]},
            {"handler": "static", "path": "/spa/**", "root": str(root), "fallback": "none.html"},
            {"handler": "status", "path": "/status", "rate_limit": "two"},
            {"handler": "dns", "path": "/dns-query", "listener": ["web", "secure"], "max_body_size": "1m"},
            {"handler": "redirect", "path": "/moved", "to": "https://$host/"},
            {"handler": "respond", "path": "/auth-dead", "forward_auth": {"to": f"http://127.0.0.1:{upstreams['dead']}"}},
            {"handler": "respond", "path": "/denied", "deny": ["127.0.0.0/8"]},
            {"handler": "respond", "path": "/allowed", "allow": ["10.0.0.0/8"]},
            {"handler": "respond", "path": "/private", "basic_auth": {"users": {"alice": HASH}}},
            {"handler": "respond", "path": "/shared", "cors": {"origins": "https://a.test"}},
            {"handler": "respond", "path": "/worked-on", "maintenance": True},
            {"handler": "respond", "path": "/small", "max_body_size": 10},
            {"handler": "respond", "path": "/respond"},
            {"handler": "respond", "path": "/limited", "rate_limit": "two"},
            {"handler": "proxy", "path": "/dead", "proxy_pass": f"http://127.0.0.1:{upstreams['dead']}"},
            {"handler": "proxy", "path": "/down", "proxy_pass": "upstream://down"},
            {"handler": "proxy", "path": "/waited", "proxy_pass": "upstream://waited"},
            {"handler": "proxy", "path": "/garbage", "proxy_pass": f"http://127.0.0.1:{upstreams['faulty']}"},
            {"handler": "proxy", "path": "/cut", "proxy_pass": f"http://127.0.0.1:{upstreams['faulty']}"},
            {"handler": "proxy", "path": "/stalled", "proxy_pass": f"http://127.0.0.1:{upstreams['faulty']}",
             "timeouts": {"read": "200ms"}},
            {"handler": "proxy", "path": "/silent", "proxy_pass": f"http://127.0.0.1:{upstreams['silent']}",
             "timeouts": {"response": "200ms"}},
            {"handler": "proxy", "path": "/handshake", "proxy_pass": f"https://127.0.0.1:{upstreams['silent']}",
             "timeouts": {"connect": "200ms"}},
            {"handler": "proxy", "path": "/rewritten", "proxy_pass": f"http://127.0.0.1:{upstreams['dead']}",
             "rewrite": {"^/rewritten": "/%zz"}},
            {"handler": "respond", "path": "/token", "jwt": {"secret": "x" * 32, "audience": "app"}},
            {"handler": "respond", "path": "/keyless",
             "jwt": {"keys": f"http://127.0.0.1:{upstreams['dead']}/keys", "audience": "app"}},
            {"handler": "respond", "path": "/auth-down", "forward_auth": {"to": "upstream://down"}},
            {"handler": "respond", "path": "/auth-teapot",
             "forward_auth": {"to": f"http://127.0.0.1:{upstreams['faulty']}", "path": "/teapot"}},
            {"handler": "respond", "path": "/auth-large", "forward_auth": {
                "to": f"http://127.0.0.1:{upstreams['faulty']}", "path": "/large", "max_answer_size": 5}},
            {"handler": "respond", "path": "/auth-silent",
             "forward_auth": {"to": f"http://127.0.0.1:{upstreams['silent']}", "timeout": "200ms"}},
            {"handler": "proxy", "path": "/cached", "proxy_pass": f"http://127.0.0.1:{upstreams['dead']}",
             "cache": True},
            {"handler": "fastcgi", "path": "/php/**", "to": f"tcp://127.0.0.1:{upstreams['faulty']}",
             "root": str(root), "index": "a.php", "fallback": None},
            {"handler": "status", "path": "/still", "viewers": 0},
            {"handler": "status", "path": "/pressed", "buttons": True},
            {"handler": "status", "path": "/named", "buttons": True, "host": "a"},
            {"handler": "proxy", "path": "/h2c", "proxy_pass": f"h2c://127.0.0.1:{upstreams['dead']}"},
        ]  # fmt: skip
        self.config = {
            "listen": [{"name": "web", "uri": f"http://127.0.0.1:{port}"}, {"name": "secure", "uri": f"https://127.0.0.1:{secure_port}"}],
            "tls": tls,
            "workers": 1,
            "dns": {"a.test": {"A": "127.0.0.1"}},
            "rate_limits": {"two": {"rate": "2/h", "methods": ["POST"]}},  # which both versions of HTTP use up together
            "dispatch": self.rules,
            "upstreams": {
                "down": {"targets": [f"http://127.0.0.1:{upstreams['dead']}", f"http://127.0.0.2:{upstreams['dead']}"]},
                "waited": {"targets": [f"http://127.0.0.1:{upstreams['dead']}"], "wait": "10ms"},
            },
            "limits": {
                "max_body_size": 1000, "max_url_size": 1000, "max_headers": 20, "max_header_size": "4k",
                "max_connections": MAX_CONNECTIONS,
            },
            "timeouts": {"header": "300ms", "body": "300ms"},
            "logging": {"level": "debug", "access_log": "off"},
        }  # fmt: skip
        if os.geteuid() == 0:
            self.config["user"] = "nobody"  # who may not read everything

    def key(self, path: str, name: str = "") -> str:
        """Return the key of the rule of a path, or of a key in it."""
        first = "/" + path.split("/")[1]
        index = next(index for index, rule in enumerate(self.rules) if rule["path"].removesuffix("/**") == first)
        return f"dispatch[{index}]{name and '.'}{name}"

    def cases(self) -> list[Case]:
        """Return the requests that both versions of HTTP can send."""
        login = {"authorization": "Basic " + base64.b64encode(b"alice:guess").decode()}
        loop = {"cdn-loop": ", ".join(["npserver"] * 8)}
        many = {f"x-{number}": "y" for number in range(30)}
        return [
            ("GET", "/nowhere", {}, b"", 404, "no rule matches the host and the path", "dispatch"),
            self._case("POST", "/status", 405, "the status page can only be read"),
            self._case("POST", "/limited", 429, "over the rate limit", key="rate_limit, rate_limits.two"),
            self._case("GET", "/still?format=events", 503, "more than 0 browsers show the .* live", key="viewers"),
            self._case("GET", "/status?format=xml", 400, r"\?format= must be html, json, .* or events"),
            *self._pressed(),
            self._case("GET", "/dns-query", 400, "expected a query parameter dns in base64url, RFC 8484 §4.1"),
            self._case("GET", "/dns-query?dns=A", 400, "query parameter dns is not valid base64url, RFC 8484 §4.1"),
            self._case("GET", "/dns-query?dns=AAAA", 400, "the message is not a DNS query, RFC 8484 §4.1"),
            self._case("PUT", "/dns-query", 405, "expected GET or POST, RFC 8484 §4.1"),
            self._case("POST", "/dns-query", 415, "expected application/dns-message, RFC 8484 §4.1", body=b"x"),
            self._case("POST", "/dns-query", 413, "a DNS message has at most 65535 bytes, RFC 8484 §6",
                       {"content-type": "application/dns-message"}, body=bytes(65600)),
            self._case("GET", "/denied", 403, "client address is denied", key="deny"),
            self._case("GET", "/allowed", 403, "client address is not allowed", key="allow"),
            self._case("GET", "/worked-on", 503, "the site is under maintenance", key="maintenance"),
            self._case("OPTIONS", "/shared", 403, "the origin of the preflight is not allowed",
                       {"origin": "https://b.test", "access-control-request-method": "PUT"}, key="cors.origins"),
            self._case("GET", "/private", 401, "no credentials", key="basic_auth"),
            self._case("GET", "/private", 401, "no Basic credentials", {"authorization": "Bearer x"}, key="basic_auth"),
            self._case("GET", "/private", 401, "wrong name or password", login, key="basic_auth"),
            self._case("GET", "/token", 401, "no token", key="jwt"),
            self._case("GET", "/token", 401, "token refused: it is not a signed token", {"authorization": "Bearer x"},
                       key="jwt"),
            self._case("GET", "/keyless", 503, "the keys of the issuer are not known yet",
                       {"authorization": "Bearer x"}, key="jwt.keys"),
            self._case("GET", "/auth-dead", 502, "authorization server .*: connection refused", key="forward_auth.to"),
            self._case("GET", "/auth-dead", 508, "the request has passed this server before: a loop", loop,
                       key="forward_auth.to"),
            self._case("GET", "/auth-down", 503, "no target of the authorization server left.*",
                       key="forward_auth.to"),
            self._case("GET", "/auth-teapot", 502, "authorization server answered 418", key="forward_auth.to"),
            self._case("GET", "/auth-large", 502, "authorization server answered with more than 5 bytes",
                       key="forward_auth.max_answer_size"),
            self._case("GET", "/auth-silent", 504, "no answer of the authorization server within 0.2 s",
                       key="forward_auth.timeout"),
            self._case("POST", "/small", 413, "request body of 20 bytes", body=bytes(20), key="max_body_size"),
            ("POST", "/respond", {}, bytes(2000), 413, "request body of 2000 bytes", "limits.max_body_size"),
            self._case("PUT", "/files/a.png", 405, "files can only be read"),
            self._case("GET", "/files/none", 404, FileError.MISSING.reason, key="root"),
            self._case("GET", "/files/.env", 404, FileError.HIDDEN.reason, key="dotfiles"),
            self._case("GET", "/files/directory/", 404, FileError.UNLISTED.reason, key="browse"),
            self._case("GET", "/files/secret.txt", 403, FileError.FORBIDDEN.reason, key="root"),
            self._case("GET", "/files/outside", 403, FileError.OUTSIDE.reason, key="follow_symlinks"),
            self._case("GET", "/files/a.png", 406, "no content coding of the file is accepted, RFC 9110 §12.5.3",
                       {"accept-encoding": "identity;q=0"}),
            self._case("GET", "/files/a.png", 412, "the file has changed, RFC 9110 §13.1", {"if-match": '"x"'}),
            self._case("GET", "/files/a.png", 416, "no range lies within the 10 bytes of the file, RFC 9110 §14.1.2",
                       {"range": "bytes=100-"}),
            self._case("GET", "/browse/blind/", 403, FileError.FORBIDDEN.reason, key="root"),
            self._case("GET", "/tried/none", 404, "none of the files to try exists", key="try_files"),
            self._case("GET", "/spa/none", 404, FileError.MISSING.reason, key="fallback"),
            self._case("GET", "/dead", 502, "upstream http://127.0.0.1:.*: connection refused", key="proxy_pass"),
            self._case("GET", "/garbage", 502, "upstream .*: bad status line b'nonsense'", key="proxy_pass"),
            self._case("GET", "/silent", 504, "upstream .*: no response for 0.2 s", key="timeouts.response"),
            self._case("GET", "/handshake", 504, "upstream .* within 0.2 s", key="timeouts.connect"),
            ("GET", "/down", {}, b"", 503, "no target of upstream down left.*", "upstreams.down"),
            ("GET", "/waited", {}, b"", 503, "no target of upstream waited was free within 0.01 s.*",
             "upstreams.waited.wait"),
            self._case("GET", "/dead", 508, "the request has passed this server before: a loop", loop,
                       key="proxy_pass"),
            self._case("MOVE", "/dead", 400, r"fragment in b'/a#b'", {"destination": "/a#b"}, key="rewrite_location"),
            self._case("MOVE", "/dead", 400, r"bad percent encoding in the path of b'/%zz'", {"destination": "/%zz"},
                       key="rewrite_location"),
            self._case("GET", "/rewritten", 400, "bad percent encoding in the path", key="rewrite"),
            self._case("GET", "/cached", 504, "not in the cache, and only-if-cached, RFC 9111 §5.2.1.7",
                       {"cache-control": "only-if-cached"}),
            self._case("GET", "/php/none", 404, FileError.MISSING.reason, key="root"),
            self._case("GET", "/php/secret.txt", 403, FileError.FORBIDDEN.reason, key="root"),
            ("GET", "/", many, b"", 431, "more than 20 header fields", "limits.max_headers"),
            ("GET", "/", {"x": "y" * 5000}, b"", 431, "request head of more than 4096 bytes", "limits.max_header_size"),
            ("GET", "/" + "a" * 1500, {}, b"", 414, "request target of more than 1000 bytes", "limits.max_url_size"),
            ("GET", "/", {"expect": "x"}, b"", 417, "unknown expectation b'x'", "RFC 9110 §10.1.1"),
            ("TRACE", "/", {}, b"", 405, "method TRACE is not supported", "RFC 9110 §9.3.8"),
            ("GET", "/%zz", {}, b"", 400, "bad percent encoding in the path", "RFC 3986 §2.1"),
            ("GET", "/%00", {}, b"", 400, "NUL in the path", "RFC 3986 §7.3"),
            ("GET", "/a/..%2f", {}, b"", 400, "encoded dot segment in the path", "RFC 3986 §7.3"),
            ("GET", "/a/..;x/b", {}, b"", 400, "dot segment with parameters in the path", "RFC 3986 §7.3"),
            ("GET", "/..", {}, b"", 400, "dot segments lead above the root of the path", "RFC 3986 §5.2.4"),
            ("GET", "/a\\b", {}, b"", 400, "backslash in the path", "RFC 3986 §3.3"),
        ]  # fmt: skip

    def _pressed(self) -> list[Case]:
        """Return buttons of the status page, as they are not pressed by a person on it."""
        form = {"content-type": "application/x-www-form-urlencoded"}
        own = {**form, "sec-fetch-site": "same-origin"}
        return [
            self._case("POST", "/pressed", 403, "buttons work at an IP address, .*", own, key="host"),
            self._case("POST", "/named", 403, "the request does not tell from which page it comes", form,
                       key="buttons"),
            self._case("POST", "/named", 403, "the request comes from a page of another site",
                       {**form, "sec-fetch-site": "cross-site"}, key="buttons"),
            self._case("POST", "/named", 403, "the request comes from a page of another origin",
                       {**own, "origin": "http://evil.example"}, key="buttons"),
            self._case("POST", "/named", 415, "the buttons of the status page send a form",
                       {**own, "content-type": "text/plain"}, key="buttons"),
            self._case("POST", "/named", 403, "the token is not that of this page: load it again", own,
                       body=b"drain=x&token=y", key="buttons"),
        ]  # fmt: skip

    def cut_short(self) -> list[tuple[str, str, str]]:
        """Return paths whose answers begin, the reason why they do not end, and what decided."""
        return [
            ("/cut", "upstream .*: connection closed within the response", self.key("/cut", "proxy_pass")),
            ("/stalled", "upstream .*: no data received for 0.2 s", self.key("/stalled", "timeouts.read")),
        ]

    def _case(
        self, method: str, target: str, status: int, reason: str, fields: dict[str, str] | None = None, *,
        body: bytes = b"", key: str = "",
    ) -> Case:  # fmt: skip
        """Return a request that a rule refuses, or one of its keys."""
        return method, target, fields or {}, body, status, reason, self.key(target.partition("?")[0], key)


#: Bytes that only a client of HTTP/1.1 can send: status, reason, what decided.
HTTP1_ONLY: list[tuple[str, int, str, str]] = [
    ("nonsense\r\n\r\n", 400, "bad request line b'nonsense'", "RFC 9112 §3"),
    ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "HTTP version b'HTTP/3.0' is not supported", "RFC 9110 §15.6.6"),
    ("GET / HTTP/x\r\nHost: a\r\n\r\n", 400, "bad HTTP version b'HTTP/x'", "RFC 9112 §2.3"),
    ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad method b'G@T'", "RFC 9112 §3.1"),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method CONNECT is not supported", "RFC 9110 §9.3.6"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, r"request target \* is for OPTIONS only", "RFC 9112 §3.2.4"),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, r"request target b'a' is neither a path nor an http\(s\) URI",
     "RFC 9112 §3.2"),
    ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "fragment in the request target", "RFC 9112 §3.2"),
    ("GET / HTTP/1.1\r\n\r\n", 400, "no Host field", "RFC 9112 §3.2"),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "empty Host field", "RFC 9112 §3.2"),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, "bad host b'a@b'", "RFC 9110 §4.2.1"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "two host fields", "RFC 9110 §5.3"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", 400,
     "control character, bare CR or bare LF in the request's head", "RFC 9110 §5.5"),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "bare LF in the request's head", "RFC 9112 §2.2"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, "header line without a colon: b'X'", "RFC 9112 §5"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400, "bad field name b'X '", "RFC 9110 §5.1"),
    (RAW + "Content-Length: x\r\n\r\n", 400, "bad Content-Length b'x'", "RFC 9110 §8.6"),
    (RAW + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
     "both Transfer-Encoding and Content-Length", "RFC 9112 §6.1"),
    (CHUNKED.replace("1.1", "1.0"), 400, "Transfer-Encoding in HTTP/1.0", "RFC 9112 §6.1"),
    (RAW + "Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "bad Transfer-Encoding b'chunked, gzip'", "RFC 9112 §6.3"),
    (RAW + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "unknown transfer coding b'gzip, chunked'",
     "RFC 9112 §6.1"),
    (CHUNKED + "3e9\r\n" + "x" * 1001 + "\r\n", 413, "request body too large", "limits.max_body_size"),
    (CHUNKED + "1\r\nxxx", 400, "chunk data is longer than the chunk size", "RFC 9112 §7.1"),
    (CHUNKED + "x\r\n", 400, "bad chunk size b'x'", "RFC 9112 §7.1"),
    (CHUNKED + "1" * 300, 400, "bad size line in a chunked body: .*", "RFC 9112 §7.1"),
    (CHUNKED + f"1;{'x' * 250}\r\ny\r\n" * 70, 400, "too many chunk extensions", "RFC 9112 §7.1.1"),
    (CHUNKED + "0\r\nx\r\n\r\n", 400, "bad trailer b'x'", "RFC 9112 §7.1.2"),
    ("GET /h2c HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n", 501,
     "no upgrade but a WebSocket to h2c targets", "RFC 9113 §8.6"),
    ("GET / HTTP/1.1\r\n", 408, "request head not complete in time", "timeouts.header"),
    (RAW + "Content-Length: 9\r\n\r\nx", 408, "request body stalled", "timeouts.body"),
    ("GET /moved HTTP/1.0\r\n\r\n", 400, "the redirect needs a host, but the request has none", "dispatch[6].to"),
    ("GET /auth-dead HTTP/1.0\r\n\r\n", 400, "the authorization server needs a host, but the request has none",
     "dispatch[7].forward_auth"),
]  # fmt: skip

MISDIRECTED = (
    "'closed.example' asks for other client certificates than the connection, RFC 9110 §15.5.20", "tls[1].client_ca"
)  # fmt: skip
GET = [(":method", "GET"), (":scheme", "https"), (":path", "/nowhere")]
POST = [(":method", "POST"), (":scheme", "https"), (":path", "/silent"), (":authority", "a")]
CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/respond"),
           (":authority", "a")]  # fmt: skip
#: Field lists and DATA that only a client of HTTP/2 can send: whether that is all, status, reason, what decided.
HTTP2_ONLY: list[tuple[list[tuple[str, str]], bytes, bool, int, str, str]] = [
    ([GET[0], (":scheme", "ftp"), *GET[2:], (":authority", "a")], b"", True, 400, "bad scheme b'ftp'",
     "RFC 9113 §8.3.1"),
    ([*GET, (":authority", "a"), ("host", "b")], b"", True, 400, ":authority b'a' but Host b'b'", "RFC 9113 §8.3.1"),
    ([*GET, (":authority", "a:99999")], b"", True, 400, "bad host b'a:99999'", "RFC 9110 §4.2.1"),
    ([*GET, (":authority", "a"), ("content-type", "a/b"), ("content-type", "a/b")], b"", True, 400,
     "two content-type fields", "RFC 9110 §5.3"),
    ([*GET, (":authority", "closed.example")], b"", True, 421,
     *MISDIRECTED),
    (CONNECT, b"", True, 400, "a WebSocket whose stream has ended", "RFC 8441 §5"),
    ([CONNECT[0], (":protocol", "x"), *CONNECT[2:]], b"", False, 501, "protocol b'x' is not supported", "RFC 9220 §3"),
    (CONNECT, b"", False, 400, "a WebSocket was asked for, and answered with 200", "RFC 8441 §5"),
    (POST, bytes(2000), True, 413, "request body too large", "limits.max_body_size"),
    (POST, b"x", False, 408, "request body stalled", "timeouts.body"),
]  # fmt: skip
