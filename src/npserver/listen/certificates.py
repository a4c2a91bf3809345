"""Adds the certificates to compiled listeners, once their rules are known: the hosts of the rules are names for them.

A listener without `tls` whose names are all local gets certificates of the local authority by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from npserver.address import QUIC
from npserver.errors import clip
from npserver.listen.compile import entries

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.config.report import Path
    from npserver.listen.config import Listen
    from npserver.listen.listener import Listener
    from npserver.runtime.compilation import Compilation
    from npserver.tls.certificates import ServerTls
    from npserver.tls.config import Tls


def add_certificates(
    compilation: Compilation, listeners: dict[int, Listener], hosts_of: Callable[[Listener], Sequence[str]]
) -> dict[int, Listener]:
    """Return the listeners with the certificates of those that speak TLS; errors are reported.

    Args:
        listeners: by the numbers that `entries` gives them.
        hosts_of: returns the host patterns of a listener's rules; "" stands for a rule for any host.
    """
    shared = _Shared(compilation, hosts_of)
    found = dict(listeners)
    for number, entry, path in entries(compilation.config):
        listener = listeners.get(number)
        if listener is not None and listener.address.is_tls:
            made = shared.of(path[:2], entry, listener)
            found[number] = replace(listener, server_tls=made)
            if made is not None and (entry.http3 or listener.address.scheme == QUIC):
                _check_quic(compilation, path[:2], entry, made)
    if any(one.address.is_tls for one in listeners.values()):
        from npserver.tls.acme.dns.zone_use import warn_of_unused_zones

        warn_of_unused_zones(compilation)
    return found


def _check_quic(compilation: Compilation, path: Path, entry: Listen, made: ServerTls) -> None:
    """Report certificates that cannot be used with HTTP/3 or DNS over QUIC."""
    if find_spec("qh3") is None:
        return  # reported where listeners are compiled
    from npserver.listen.quic.keys import keys_of

    what = clip(entry.uri)
    if entry.http3:
        path, what = (*path, "http3"), "'http3'"
    for one in made.certificates:
        if one.settings.client_ca is not None:
            other, remedy = "QUIC", "listen on ssl://"
            if entry.http3:
                other, remedy = "HTTP/3", "leave 'http3' out or use another listener for these hosts"
            compilation.report.error(
                path, f"{what} with 'client_ca': client certificates cannot be asked for over {other}, {remedy}"
            )
            return
        try:
            keys_of(one)
        except (OSError, ValueError) as error:
            compilation.report.error(path, f"{what}: {clip(one.settings.cert)} cannot be used: {_reason(error)}")


class _Shared:
    """The certificates made so far: the global `tls` is loaded once for all listeners that use it alike."""

    def __init__(self, compilation: Compilation, hosts_of: Callable[[Listener], Sequence[str]]) -> None:
        self._compilation = compilation
        self._hosts_of = hosts_of
        self._made: dict[tuple[bool, tuple[str, ...]], ServerTls | None] = {}  # by whether they are for HTTP, and hosts

    def of(self, path: Path, entry: Listen, listener: Listener) -> ServerTls | None:
        """Return the TLS settings of a listener; None, with an error in the report, if they cannot be made."""
        from npserver.tls.compile import server_context

        compilation, address = self._compilation, listener.address
        speaks_http, shared = address.scheme == "https", compilation.config.tls
        # With certificates in files nobody asks for the hosts, which can be many
        hosts = tuple(self._hosts_of(listener)) if _uses_hosts(entry.tls or shared) else ()
        if entry.tls is not None:
            return server_context(compilation, (*path, "tls"), entry.tls, hosts, speaks_http=speaks_http)
        if not shared:
            if fault := _not_local(address, hosts):
                compilation.report.error(
                    path,
                    f'{clip(entry.uri)} needs a certificate: add "tls": {{"cert": "fullchain.pem", '
                    '"key": "privkey.pem"} to the config, or start with -cert FILE -key FILE; '
                    'or add "tls": "auto", or start with -acme EMAIL -host NAME, for one of Let\'s Encrypt; '
                    'or add "tls": "internal", for a certificate of the local authority, '
                    f"which is not used by itself here: {fault}",
                )
                return None
            return server_context(compilation, path, "internal", hosts, speaks_http=speaks_http)
        key = speaks_http, hosts
        if key not in self._made:
            self._made[key] = server_context(compilation, ("tls",), shared, hosts, speaks_http=speaks_http)
        return self._made[key]


def _reason(error: Exception) -> str:
    from npserver.tls.certificates import explain

    return explain(error)


def _uses_hosts(tls: Literal["auto", "internal"] | Tls | list[Tls] | None) -> bool:
    """Whether certificates are made for the hosts of rules; without `tls` they may be."""
    if not tls or isinstance(tls, str):
        return True
    return any(one.internal or one.acme is not None for one in (tls if isinstance(tls, list) else [tls]))


def _not_local(address: Address, hosts: Sequence[str]) -> str:
    """Return why a listener does not get certificates of the local authority by itself; "" if it does."""
    from npserver.tls.local_names import is_local_name

    for host in hosts:
        if host and not is_local_name(host):
            return f"{clip(host)} is not a local name"
    if hosts and all(hosts):
        return ""
    if address.host and not address.is_wildcard and is_local_name(address.host):
        return ""
    return "not all rules have a host, and the listener's address is not a local one"
