"""The variables that a script gets: those of CGI (RFC 3875 §4.1), as nginx sets them (fastcgi_params), and its own.

Fields of the request become variables only if their names cannot be mistaken for others: X_Real_IP and X.Real.IP would
look like X-Real-IP to a script. Proxy is never passed on: libraries take HTTP_PROXY for the proxy to use (httpoxy,
CVE-2016-5385).

The variables are made in parts, each of which is the same for many requests, and kept as the bytes that are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from npserver.http.fields import NOT_FORWARDED, join_fields
from npserver.http.forwarded import client_scheme, is_identity
from npserver.http.memo import Memo, is_short
from npserver.http.request import BY_LENGTH, HeaderBlock
from npserver.regex import regex
from npserver.upstream.fastcgi_records import write_pair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.networks import AddressSet
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.fastcgi.scripts import Script
    from npserver.web.variables import Template

_NAME = regex(rb"[a-z0-9-]+")
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})
_DEFAULT_PORTS = {"http": "80", "https": "443"}
#: Fields that are passed on as other variables, or not at all.
_NOT_PASSED = NOT_FORWARDED | {b"proxy"}
MAX_KEPT_TARGET = 512  # characters; the variables of longer targets are not kept
_FIXED = {
    b"GATEWAY_INTERFACE": b"CGI/1.1",
    b"SERVER_SOFTWARE": b"npserver",
    b"REDIRECT_STATUS": b"200",  # PHP built with --enable-force-cgi-redirect asks for it
}

_NONE: frozenset[bytes] = frozenset()

Variables = dict[bytes, bytes]


def _variable_of(name: bytes) -> bytes:
    """Return the variable of a field, whose name is in lower case; empty for none."""
    if name == b"content-type":
        return b"CONTENT_TYPE"
    if name in _NOT_PASSED or not _NAME.fullmatch(name):
        return b""
    return b"HTTP_" + name.upper().replace(b"-", b"_")


_variables = Memo(_variable_of, 512, is_short)


class Params:
    """Makes the variables of one rule's requests, as the content of PARAMS records.

    Args:
        root: the directory of the scripts, as the FastCGI server sees it.
        env: the rule's own variables, which replace others.
        trusted: the proxies whose fields about their clients are believed; None if there are none.
    """

    __slots__ = ("_env", "_of_client", "_of_server", "_of_target", "_trusted", "_trusting", "root")

    def __init__(self, root: bytes, env: Mapping[bytes, Template], trusted: AddressSet | None) -> None:
        self.root = root
        self._env = env
        self._trusted = trusted
        self._trusting = object()  # stands for us in caches of what trusted proxies have sent
        self._of_server: Memo[tuple[str, str, str, str, str], bytes] = Memo(lambda key: self._write(_server(*key)), 512)
        self._of_client: Memo[tuple[str, int], bytes] = Memo(lambda key: self._write(_client(*key)), 2048)
        self._of_target: Memo[tuple[str, str, str, bool, str], bytes] = Memo(
            lambda key: self._write(_target(*key)), 1024
        )

    def write(self, exchange: Exchange, script: Script, length: int | None) -> bytes:
        """Return the variables of a request. `length`: of a body that was buffered, in bytes."""
        # hot: fastcgi
        request = exchange.request
        scheme, (address, port) = exchange.scheme, exchange.local
        client_port, server_port = exchange.client_port, str(port)
        is_trusted = self._trusted is not None and exchange.peer_ip in self._trusted
        if is_trusted:
            told = client_scheme(request.fields)
            if told is not None and told != scheme:
                scheme, server_port = told, _port_of(request.authority) or _DEFAULT_PORTS[told]
            if exchange.client_ip != exchange.peer_ip:
                client_port = 0  # the proxy's
        replaced = _NONE if exchange.trace is None else exchange.trace.replaced
        target = request.method, request.path, request.query, request.has_query, request.protocol
        is_long = len(request.path) + len(request.query) > MAX_KEPT_TARGET
        return b"".join(
            (
                script.variables or self._write_script(script),
                self._of_server[request.authority, request.host or address, address, server_port, scheme],
                self._of_client[exchange.client_ip, client_port],
                self._write(_target(*target)) if is_long else self._of_target[target],
                self._write_block(request.block, is_trusted, replaced),
                self._write_own(exchange, length),
            )
        )

    def _write(self, variables: Variables) -> bytes:
        """Return variables as they are sent, without those that the rule sets itself."""
        return b"".join([write_pair(name, value) for name, value in variables.items() if name not in self._env])

    def _write_script(self, script: Script) -> bytes:
        variables = {
            b"SCRIPT_FILENAME": self.root + script.file,
            b"SCRIPT_NAME": script.name,
            b"PATH_INFO": script.info,
            b"DOCUMENT_ROOT": self.root,
            b"DOCUMENT_URI": script.name,
        }
        script.variables = self._write(variables)
        return script.variables

    def _write_block(self, block: HeaderBlock, is_trusted: bool, replaced: frozenset[bytes]) -> bytes:
        """Return the variables of the fields in a block, from the block itself if they were made before."""
        maker = self._trusting if is_trusted else self, replaced
        kept = block.variables
        if type(kept) is tuple and kept[0] == maker:
            return cast("bytes", kept[1])
        written = self._write(_fields(block, replaced, is_trusted=is_trusted))
        block.variables = maker, written
        return written

    def _write_own(self, exchange: Exchange, length: int | None) -> bytes:
        """Return the variables that differ from request to request: of body, cookie and user, and the rule's own."""
        request = exchange.request
        found = {}
        if length is not None or request.framing is BY_LENGTH or request.method in _BODY_EXPECTED:
            found[b"CONTENT_LENGTH"] = b"%d" % (request.length if length is None else length)
        if request.cookie:
            found[b"HTTP_COOKIE"] = request.cookie.partition(b":")[2].strip(b" \t")
        if exchange.trace is not None:
            found[b"HTTP_TRACEPARENT"] = exchange.trace.traceparent()
        if exchange.user:
            found[b"REMOTE_USER"] = exchange.user.encode("utf-8", "surrogateescape")
        for name, template in self._env.items():
            found[name] = template(exchange).encode("utf-8", "surrogateescape")
        return b"".join([write_pair(name, value) for name, value in found.items()]) if found else b""


def _target(method: str, path: str, query: str, has_query: bool, protocol: str) -> Variables:
    return {
        b"REQUEST_METHOD": method.encode("latin-1"),
        b"REQUEST_URI": (f"{path}?{query}" if has_query else path).encode("latin-1"),
        b"QUERY_STRING": query.encode("latin-1"),
        b"SERVER_PROTOCOL": protocol.encode(),
    }


def _server(authority: str, name: str, address: str, port: str, scheme: str) -> Variables:
    found = {
        b"SERVER_NAME": name.encode("latin-1"),
        b"SERVER_ADDR": address.encode(),
        b"SERVER_PORT": port.encode(),
        b"REQUEST_SCHEME": scheme.encode(),
        **_FIXED,
    }
    if scheme == "https":
        found[b"HTTPS"] = b"on"
    if authority:
        found[b"HTTP_HOST"] = authority.encode("latin-1")
    return found


def _client(address: str, port: int) -> Variables:
    found = {b"REMOTE_ADDR": address.encode()}
    if port:
        found[b"REMOTE_PORT"] = b"%d" % port
    return found


def _fields(block: HeaderBlock, replaced: frozenset[bytes] = _NONE, *, is_trusted: bool = False) -> Variables:
    """Return the variables of the fields in a block without those that are replaced.

    `is_trusted`: those about the client of a trusted proxy too.
    """
    found = {}
    for name, value in join_fields(block.lines).items():
        variable = _variables[name]
        if variable and name not in replaced and (is_trusted or name in block.own or not is_identity(name)):
            found[variable] = value
    return found


def _port_of(authority: str) -> str:
    _, colon, port = authority.rpartition(":")
    return port if colon and port.isdecimal() else ""
