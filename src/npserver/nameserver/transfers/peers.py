"""Other name servers that the config names: primaries, which zones are transferred from, and those to be notified."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.config.report import key_of
from npserver.dns.message.tsig import TsigKey
from npserver.errors import clip
from npserver.nameserver.config import DnsNotify, DnsPrimary
from npserver.nameserver.transfers.keys import find_key
from npserver.upstream.config import UpstreamTls

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation

PORT, TLS_PORT = 53, 853


class Peer(Struct, frozen=True):
    """Another name server."""

    address: str  # an IP address
    port: int
    place: str  # of the config key that names it, for the log
    key: TsigKey | None = None  # that signs what is sent to it, and what it answers
    tls: ssl.SSLContext | None = None
    server_name: str | None = None  # verified over TLS, in place of the address

    def __str__(self) -> str:
        return show_address(self.address, self.port)


def show_address(address: str, port: int) -> str:
    """Return where a name server is, for people: without a port that is the usual one."""
    host = f"[{address}]" if ":" in address else address
    return host if port == PORT else f"{host}:{port}"


def compile_primaries(
    compilation: Compilation, path: Path, given: str | DnsPrimary | list[str | DnsPrimary]
) -> list[Peer]:
    """Return the servers of `primary`; what is wrong is reported."""
    found = []
    for index, one in enumerate(given if isinstance(given, list) else [given]):
        place = _place(path, given, index)
        section = DnsPrimary(address=one) if isinstance(one, str) else one
        at = place if isinstance(one, str) else (*place, "address")
        has_tls = section.tls is not False
        address = compile_address(compilation, at, section.address, TLS_PORT if has_tls else PORT)
        key = find_key(compilation, (*place, "key"), section.key) if section.key is not None else None
        context, name = None, None
        if has_tls:
            settings = section.tls if isinstance(section.tls, UpstreamTls) else UpstreamTls()
            context, name = _tls(compilation, (*place, "tls"), settings), settings.server_name
        if address is not None:
            found.append(Peer(*address, key_of(path), key, context, name))
    if given == []:
        compilation.report.error(path, "expected the addresses of primary servers, got an empty list")
    return found


def compile_notified(
    compilation: Compilation, path: Path, given: str | DnsNotify | list[str | DnsNotify]
) -> list[Peer]:
    """Return the servers of `notify`; what is wrong is reported."""
    found = []
    for index, one in enumerate(given if isinstance(given, list) else [given]):
        place = _place(path, given, index)
        section = DnsNotify(address=one) if isinstance(one, str) else one
        at = place if isinstance(one, str) else (*place, "address")
        address = compile_address(compilation, at, section.address, PORT)
        key = find_key(compilation, (*place, "key"), section.key) if section.key is not None else None
        if address is not None:
            found.append(Peer(*address, key_of(path), key))
    return found


def _place(path: Path, given: object, index: int) -> Path:
    return (*path, index) if isinstance(given, list) else path


def compile_address(compilation: Compilation, path: Path, text: str, default_port: int) -> tuple[str, int] | None:
    """Read `203.0.113.5`, `203.0.113.5:5353`, `2001:db8::5`, `[2001:db8::5]:5353`."""
    host, port = text, str(default_port)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = str(ip_address(host))
    except ValueError:
        message = f"expected the IP address of a name server, such as 203.0.113.5 or [2001:db8::5]:53, got {clip(text)}"
        compilation.report.error(path, message)
        return None
    if not port.isdigit() or not 1 <= int(port) <= 65_535:
        compilation.report.error(path, f"expected a port from 1 to 65535, got {clip(text)}")
        return None
    return address, int(port)


def _tls(compilation: Compilation, path: Path, settings: UpstreamTls) -> ssl.SSLContext | None:
    """Return the context of transfers over TLS (RFC 9103 §8.2: TLS 1.3, ALPN `dot`)."""
    from npserver.tls.compile import client_context  # few zones are transferred over TLS

    context = client_context(compilation, path, settings)
    if context is not None:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["dot"])
    return context
