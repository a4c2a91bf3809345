"""Compiles `listen`: the addresses to bind and conflicts between entries. `listen.certificates` adds certificates."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from npserver.address import HTTP, QUIC, SCHEMES, Address, parse_listen
from npserver.config.networks import compile_networks
from npserver.errors import clip
from npserver.extras import needs
from npserver.listen.config import Listen
from npserver.listen.listener import Listener
from npserver.network_sets.events import LEARNING
from npserver.port_range import port_range

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.config.schema import Config
    from npserver.runtime.compilation import Compilation

QUIC_REQUIREMENT = "qh3>=2.1,<2.2"  # as in pyproject.toml, under `http3`
_LOOPBACKS = frozenset({"127.0.0.1", "::1"})


def compile_listeners(compilation: Compilation) -> dict[int, Listener]:
    """Compile all entries of `listen`, by the numbers that `entries` gives them; those with errors are left out."""
    report, config = compilation.report, compilation.config
    taken = _Taken(report)
    listeners = {}
    if not config.listen:
        report.error(("listen",), 'nothing to listen on, add "listen": ["http://:8080"]')
    wrong: set[Path] = set()  # of ranges whose first conflict is told
    for number, entry, path in entries(config):
        try:
            ports = port_range(_written(config, path))
            address = parse_listen(entry.uri, _default_port(config, entry))
        except ValueError as error:
            report.error(path, str(error))
            continue
        _check_keys(report, path[:2], entry, address)
        if address.scheme == QUIC and not _has_quic():
            report.error(path, f"DNS over QUIC {needs(QUIC_REQUIREMENT)}")
            continue
        if path in wrong or taken.conflicts(path[:2], entry, address):
            wrong.add(path)
            continue
        listener = _listener(compilation, path, entry, address, taken)
        listeners[number] = listener if ports is None else replace(listener, ports=ports)
    return listeners


def entries(config: Config) -> Iterator[tuple[int, Listen, Path]]:
    """Yield each entry of `listen`: its index, the entry as an object, and the path of its URI.

    A range of ports is an entry for each port, with the path of the range; the further ones have numbers that are no
    indices.
    """
    further = len(config.listen)
    for index, listen in enumerate(config.listen):
        entry, path = (
            (listen, ("listen", index, "uri"))
            if isinstance(listen, Listen)
            else (Listen(uri=listen), ("listen", index))
        )
        try:
            ports = port_range(entry.uri)
        except ValueError:
            ports = None  # reported where listeners are compiled
        if ports is None:
            yield index, entry, path
            continue
        yield index, replace(entry, uri=ports.uri(0)), path
        for offset in range(1, ports.count):
            yield further, replace(entry, uri=ports.uri(offset)), path
            further += 1


def _written(config: Config, path: Path) -> str:
    """Return the URI at the path of an entry, as it is written."""
    entry = config.listen[int(path[1])]
    return entry if isinstance(entry, str) else entry.uri


def names_of(config: Config, entry: Listen, path: Path) -> list[str]:
    """Return the names by which rules may call an entry: its own, its URI, and that of the range it is one of."""
    return [name for name in (entry.name, entry.uri, _written(config, path)) if name is not None]


def _listener(compilation: Compilation, path: Path, entry: Listen, address: Address, taken: _Taken) -> Listener:
    report = compilation.report
    document, written, path = report.document, _written(compilation.config, path), path[:2]
    timeouts = document.config.timeouts
    networks = compile_networks(report, (*path, "accept_proxy"), entry.accept_proxy) if entry.accept_proxy else None
    return Listener(
        key=taken.key(address),
        name=str(entry.name or written),
        address=address,
        backlog=entry.backlog or document.config.backlog,
        place=document.place(path),
        plain_http2=entry.http2,
        mode=_mode(report, (*path, "mode"), entry.mode),
        http3=entry.http3 and address.scheme == "https" and _has_quic(),
        accepts_proxy=None if networks is None else networks.__contains__,
        handshake_timeout_s=timeouts.tls_handshake,
        proxy_header_timeout_s=timeouts.proxy_header,
        on_strange_peer=LEARNING.of(compilation).hook("proxy") if networks is not None else None,
    )


def _default_port(config: Config, entry: Listen) -> int | None:
    """Return the default port of a name server, if a rule makes the listener one."""
    scheme = entry.uri.partition("://")[0].lower()
    for rule in config.dispatch:
        if rule.uses_dns_ports:
            names = [rule.listener] if isinstance(rule.listener, str) else rule.listener
            if names is None or entry.uri in names or (entry.name is not None and entry.name in names):
                return SCHEMES[scheme].dns_port if scheme in SCHEMES else None
    return None


def _check_keys(report: Report, path: Path, entry: Listen, address: Address) -> None:
    """Report keys that have no effect on this kind of listener."""
    if entry.mode is not None and not address.is_unix:
        report.error((*path, "mode"), f"'mode' is for Unix sockets, not for {clip(entry.uri)}")
    if entry.http2 and (address.is_tls or HTTP not in SCHEMES[address.scheme].serves):
        hint = ", which offers HTTP/2 by itself" if address.scheme == "https" else "; use http://"
        report.error((*path, "http2"), f"'http2' has no effect on {clip(entry.uri)}{hint}")
    if entry.tls is not None and not address.is_tls:
        secure = "https" if address.scheme == "http" else "ssl"
        report.error((*path, "tls"), f"'tls' has no effect on {clip(entry.uri)}; use {secure}://")
    if entry.accept_proxy is not None and address.scheme == "unixgram":
        report.error((*path, "accept_proxy"), "the PROXY protocol is not defined for unixgram")
    if entry.accept_proxy is not None and address.scheme == QUIC:
        report.error((*path, "accept_proxy"), "the PROXY protocol is not defined for QUIC")
    if entry.http3:
        _check_http3(report, (*path, "http3"), entry, address)
    if entry.name == "":
        report.error((*path, "name"), "a name must not be empty")


def _has_quic() -> bool:
    """Whether the optional library of HTTP/3 and DNS over QUIC is installed."""
    return find_spec("qh3") is not None


def _check_http3(report: Report, path: Path, entry: Listen, address: Address) -> None:
    """Report what `http3` cannot be used with; certificates are checked in `listen.certificates`."""
    if address.scheme != "https":
        report.error(path, f"'http3' is for https listeners, not for {clip(entry.uri)}")
    if entry.accept_proxy is not None:
        report.error(path, "'http3' with 'accept_proxy': the PROXY protocol is not defined for HTTP/3, leave one out")
    if not _has_quic():
        report.error(path, f"'http3' {needs(QUIC_REQUIREMENT)}")


def _mode(report: Report, path: Path, text: str | None) -> int | None:
    if text is None:
        return None
    if 3 <= len(text) <= 4 and set(text) <= set("01234567") and int(text, 8) <= 0o777:
        return int(text, 8)
    report.error(path, f"'mode': expected octal permissions such as \"0660\", got {clip(text)}")
    return None


class _Claim(Struct, frozen=True):
    address: Address
    uri: str
    path: Path


class _Taken:
    """The names and addresses of the listeners compiled so far, to find conflicts."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._names: dict[str, Path] = {}
        self._claims: dict[tuple[str, int | str], list[_Claim]] = {}
        self._keys: dict[str, int] = {}

    def conflicts(self, path: Path, entry: Listen, address: Address) -> bool:
        """Report whether another listener has this name or address already."""
        place = self._report.document.place
        if entry.name is not None and (other := self._names.setdefault(entry.name, path)) != path:
            self._report.error((*path, "name"), f"two listeners are named {clip(entry.name)}, see {place(other)}")
            return True
        kinds = ["stream" if address.is_stream else "datagram"]
        if entry.http3 and address.scheme == "https":
            kinds.append("datagram")
        return any(self._claims_already(kind, path, entry, address) for kind in kinds)

    def _claims_already(self, kind: str, path: Path, entry: Listen, address: Address) -> bool:
        """Report whether another listener has this address already, for TCP, UDP or as a Unix socket."""
        place = self._report.document.place
        if address.is_unix:
            claims = self._claims.setdefault(("unix", address.path), [])
        else:
            claims = self._claims.setdefault((kind, address.port), [])
        if address.is_unix or address.port:
            for claim in claims:
                if address.is_unix or _overlap(address.host, claim.address.host):
                    what = "socket" if address.is_unix else f"port {address.port}"
                    self._report.error(
                        path, f"{what} bound twice: {clip(entry.uri)} overlaps {clip(claim.uri)} at {place(claim.path)}"
                    )
                    return True
        claims.append(_Claim(address, entry.uri, path))
        return False

    def key(self, address: Address) -> str:
        """Return the unique key of a listener: its URI, numbered if several of the same URI have port 0."""
        uri = str(address)
        count = self._keys[uri] = self._keys.get(uri, 0) + 1
        return uri if count == 1 else f"{uri}#{count}"


def _overlap(one: str, other: str) -> bool:
    """Return whether sockets on these hosts cannot both bind the same port."""
    if one == other or "" in (one, other):
        return True
    if "localhost" in (one, other):
        return not _LOOPBACKS.isdisjoint((one, other)) or bool({"0.0.0.0", "::"} & {one, other})
    for wildcard, host in ((one, other), (other, one)):
        if wildcard == "0.0.0.0" and ":" not in host:
            return True
        if wildcard == "::" and ":" in host:
            return True
    return False
