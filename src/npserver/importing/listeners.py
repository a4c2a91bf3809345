"""nginx's directives about listening and TLS, as listeners and certificates. Used by `importing.nginx`."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, field

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.scope import Scope

_FLAGS = {"default_server", "default", "ssl", "http2", "quic", "proxy_protocol", "udp"}
_IGNORED = re.compile(r"(reuseport|deferred|bind|ipv6only|backlog|fastopen|so_keepalive|rcvbuf|sndbuf|setfib)(=.*)?")
_ANY4, _ANY6 = "0.0.0.0", "[::]"


class ListenOn(Struct):
    """One `listen` of a server."""

    directive: Directive
    host: str  # "0.0.0.0", "[::]", another address, or "unix:/path"
    port: int
    flags: set[str] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, int, bool]:
        """What all `listen` of the same socket have in common."""
        return self.host, self.port, "udp" in self.flags

    def uri(self, scheme: str, host: str | None = None) -> str:
        """The URI that we listen on."""
        if self.host.startswith("unix:"):
            return f"unix://{self.host[5:]}"
        host = self.host if host is None else host
        return f"{scheme}://{host}:{self.port}"


def listens_of(scope: Scope, draft: Draft, *, default_port: int = 80) -> list[ListenOn]:
    """Return what a server listens on."""
    found = []
    is_tls = scope.word("ssl") == "on"  # the old way
    for one in scope.own("listen"):
        host, port = _address(one.args[0], default_port)
        if port is None:
            draft.comments.append(draft.lose(one, "not an address that npserver knows"))
            continue
        flags = {word for word in one.args[1:] if word in _FLAGS} | ({"ssl"} if is_tls else set())
        rest = [word for word in one.args[1:] if word not in _FLAGS and not _IGNORED.fullmatch(word)]
        if rest:
            draft.comments.append(f"{one.place}: {' '.join(rest)}: no counterpart")
        found.append(ListenOn(one, host, port, flags))
    if not found and default_port:
        found.append(ListenOn(Directive("", 0, "listen", []), _ANY4, default_port))
    return found


def _address(word: str, default_port: int) -> tuple[str, int | None]:
    if word.startswith("unix:/"):
        return word, 0
    if word.isdigit():
        host, port = _ANY4, word
    elif match := re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|\*|[\w.-]+)(?::(\d+))?", word):
        host, port = match[1], match[2] or str(default_port or 80)
    else:
        return word, None
    if len(port) > 5 or not 0 < int(port) < 65536:
        return word, None
    return (_ANY4 if host == "*" else host), int(port)


def add_listeners(draft: Draft, all_listens: list[list[ListenOn]], trusted: list[str]) -> list[dict[str, bool]]:
    """Add the listeners of all servers to the draft. Return the URIs of each, and where it is the default.

    One for any IPv4 address and one for any IPv6 address of the same port become one for both.
    """
    flags: dict[tuple[str, int, bool], set[str]] = {}
    quic_ports = {one.port for listens in all_listens for one in listens if "quic" in one.flags}
    for listens in all_listens:
        for one in listens:
            flags.setdefault(one.key, set()).update(one.flags)
    found = []
    defaults = _defaults(all_listens)
    for number, listens in enumerate(all_listens):
        uris: dict[str, bool] = {}
        for one in listens:
            if "quic" in one.flags:
                continue
            both = {(_ANY4, one.port, False), (_ANY6, one.port, False)} <= set(flags)
            joined = both and one.host in (_ANY4, _ANY6)
            known = flags[one.key]
            if joined:
                known = flags[_ANY4, one.port, False] | flags[_ANY6, one.port, False]
            uri = one.uri("https" if "ssl" in known else "http", "" if joined else None)
            uris[uri] = uris.get(uri, False) or defaults[one.key] == number
            entry = draft.listeners.setdefault(uri, {"uri": uri})
            _add_keys(entry, known, one.port in quic_ports and "ssl" in known, trusted)
        found.append(uris)
    return found


def _defaults(listens: list[list[ListenOn]]) -> dict[tuple[str, int, bool], int]:
    """Return the number of the server that has what no other server's name fits, for each socket."""
    found: dict[tuple[str, int, bool], int] = {}
    marked: set[tuple[str, int, bool]] = set()
    for number, listen in enumerate(listens):
        for one in listen:
            if one.flags & {"default_server", "default"} and one.key not in marked:
                marked.add(one.key)
                found[one.key] = number
            found.setdefault(one.key, number)
    return found


def _add_keys(entry: dict[str, Any], flags: set[str], is_quic: bool, trusted: list[str]) -> None:
    if "http2" in flags and "ssl" not in flags:
        entry["http2"] = True
    if is_quic:
        entry["http3"] = True
    elif "proxy_protocol" in flags:
        entry["accept_proxy"] = trusted or ["0.0.0.0/0", "::/0"]


def add_certificate(draft: Draft, scope: Scope, names: list[str], listeners: dict[str, bool]) -> None:
    """Add the certificates of a server to its listeners; those of the default server of a listener come first."""
    certs, keys = scope.find("ssl_certificate"), scope.find("ssl_certificate_key")
    protocols = scope.words("ssl_protocols")
    settings: dict[str, Any] = {}
    if protocols == ["TLSv1.3"]:
        settings["min_version"] = "1.3"
    if passphrase := scope.words("ssl_password_file"):
        settings["key_passphrase"] = passphrase[0]
    verify, authority = scope.words("ssl_verify_client"), scope.words("ssl_client_certificate")
    if authority and verify and verify[0] in ("on", "optional"):
        settings["client_ca"] = authority[0]
        settings["client_auth"] = "require" if verify[0] == "on" else "request"
        if lists := scope.words("ssl_crl"):
            settings["client_crl"] = lists[0]
    for number, (cert, key) in enumerate(zip(certs, keys, strict=False)):
        entry = {"cert": cert.args[0], "key": key.args[0], **settings}
        if "$" in entry["cert"] + entry["key"]:
            draft.comments.append(draft.lose(cert, "variables in names of files"))
            continue
        for uri, is_default in listeners.items():
            entries = draft.certificates.setdefault(uri, [])
            _add_entry(entries, entry, names, number if is_default else len(entries))


def _add_entry(entries: list[dict[str, Any]], entry: dict[str, Any], names: list[str], place: int) -> None:
    for known in entries:
        if {**known, "names": None} == {**entry, "names": None}:
            known["names"] += [name for name in names if name not in known["names"]]
            return
    entries.insert(place, {**entry, "names": list(names)})


def finish_certificates(draft: Draft) -> list[dict[str, Any]]:
    """Return the certificates of all listeners if they have the same; else each listener gets its own."""
    for uri, entries in draft.certificates.items():
        draft.certificates[uri] = [
            {key: value for key, value in entry.items() if key != "names" or (value and len(entries) > 1)}
            for entry in entries
        ]
    found = list(draft.certificates.values())
    if not found or all(entries == found[0] for entries in found):
        return found[0] if found else []
    for uri, entries in draft.certificates.items():
        draft.listeners[uri]["tls"] = entries if len(entries) > 1 else entries[0]
    return []
