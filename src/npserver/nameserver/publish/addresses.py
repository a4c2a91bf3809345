"""Where public addresses come from: the key `public_address`, compiled; and the machine's own addresses."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

from msgspec import Struct

from npserver.config.report import placed
from npserver.errors import clip
from npserver.nameserver.publish.config import PublicAddress
from npserver.nameserver.publish.plan import is_in
from npserver.nameserver.publish.state import Published
from npserver.networks import is_ip_address
from npserver.runtime.http_get import is_http_url
from npserver.runtime.interfaces import InterfaceAddress, interface_addresses, routed_addresses
from npserver.runtime.public_addresses import GIVEN, INTERFACE, KnownAddress, origin_of
from npserver.tls.local_names import LOOPBACKS, PRIVATE_NETWORKS, is_local_name

if TYPE_CHECKING:
    from npserver.config.report import Path, Report

MIN_INTERVAL_S = 0.1
POLITE_INTERVAL_S = 30.0  # services on the internet refuse callers who ask more often
PATH: Path = ("public_address",)

Ip = IPv4Address | IPv6Address


class Addresses(TypedDict):
    """The part of a `Published` that is about addresses."""

    public: tuple[KnownAddress, ...]
    private: tuple[str, ...]


class AddressSources(Struct, frozen=True):
    """How the addresses of this machine are found out. They are given, else an interface's, else asked for."""

    given: tuple[str, ...] = ()
    uses_interfaces: bool = False
    urls: tuple[str, ...] = ()
    interval_s: float = 300.0
    timeout_s: float = 10.0
    is_nothing: bool = False  # the config says that there is no public address
    needs_private: bool = True  # a listener is on all addresses of the machine

    @property
    def lacks_ipv4(self) -> bool:
        """Whether there is an IPv4 address only if an interface has one."""
        return self.uses_interfaces and not self.urls and all(":" in one for one in self.given)

    def look(self, before: Published, now: float) -> Addresses:
        """Return the addresses of the config, of the interfaces now, and those asked for before."""
        return self.arrange(interface_addresses(), routed_addresses(), before, now)

    def arrange(
        self, found: Sequence[InterfaceAddress], routed: Sequence[Ip], before: Published, now: float
    ) -> Addresses:
        """Return the addresses, where interfaces have those found. `routed`: those that packets leave from.

        While no interface has a global address of an IP version, the last one stays.
        """
        known = {(one.address, one.source): one.since for one in before.public}
        public = [KnownAddress(text, GIVEN, known.get((text, GIVEN), now)) for text in self.given]
        if self.uses_interfaces:
            for version in self.missing(public):
                if best := _best_global(found, version):
                    public.append(KnownAddress(best, INTERFACE, known.get((best, INTERFACE), now)))
                else:
                    public += [one for one in before.public if one.source == INTERFACE and one.version == version]
        missing = self.missing(public)
        public += [one for one in before.public if one.source in self.urls and one.version in missing]
        private = [one.ip for one in found if is_private(one.ip)] if self.needs_private else []
        private.sort(key=lambda ip: ip not in routed)
        return Addresses(public=tuple(public), private=tuple([str(ip) for ip in private]))

    def missing(self, public: Sequence[KnownAddress]) -> list[int]:
        """Return the IP versions of which there is no address yet."""
        return [version for version in (4, 6) if all(one.version != version for one in public)]

    def to_ask_for(self, public: Sequence[KnownAddress]) -> list[int]:
        """Return the IP versions whose address is asked for; a URL with an address is asked over its version alone."""
        askable = {version for url in self.urls for version in _versions(url)}
        missing = self.missing([one for one in public if one.source not in self.urls])
        return [version for version in missing if version in askable]


def is_private(ip: Ip) -> bool:
    """Whether an address reaches nobody outside the networks that it is of; those of loopback are not meant."""
    return is_in(ip, PRIVATE_NETWORKS)


def is_public(ip: Ip) -> bool:
    """Whether an address can be that of a machine on the internet."""
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def compile_sources(report: Report) -> AddressSources:
    """Compile `public_address`; what is wrong is reported."""
    value = report.document.config.public_address
    if isinstance(value, PublicAddress):
        return _found_out(report, value)
    places = placed(PATH, value)
    given: list[str] = []
    for path, text in places:
        if text != INTERFACE and (address := _given(report, path, text)) is not None:
            if address in given:
                report.error(path, f"'public_address': {clip(text)} is given twice")
            given.append(address)
    return AddressSources(
        tuple(given), uses_interfaces=any(text == INTERFACE for _, text in places), is_nothing=not places
    )


def _given(report: Report, path: Path, text: str) -> str | None:
    try:
        ip = ip_address(text.strip("[]"))
    except ValueError:
        got = 'a URL, which is written as {"ask": "https://..."}' if "://" in text else clip(text)
        report.error(path, f"'public_address': expected an IP address or \"interface\", got {got}")
        return None
    if is_private(ip) or is_in(ip, LOOPBACKS):
        report.warn(path, f"'public_address': clients on the internet cannot reach {ip}, which is a private address")
    return str(ip)


def _found_out(report: Report, value: PublicAddress) -> AddressSources:
    asked = placed((*PATH, "ask"), value.ask)
    urls = [url for _, url in asked]
    if not urls and not value.interface:
        report.error(PATH, '\'public_address\' needs "ask" or "interface": true')
    for path, url in asked:
        if not is_http_url(url):  # it may hold a secret, and is not quoted
            message = "'ask': expected a URL such as https://ip.example.net/, without spaces and user name"
            report.error(path, message)
        elif url.startswith("http://") and not is_local_name(urlsplit(url).hostname or ""):
            report.warn(path, f"'ask': answers of {origin_of(url)} can be forged on their way: use https")
    if value.interval < MIN_INTERVAL_S:
        report.error((*PATH, "interval"), f"'interval': expected {MIN_INTERVAL_S:g} s or more")
    elif value.interval < POLITE_INTERVAL_S and not all(is_local_name(urlsplit(url).hostname or "") for url in urls):
        report.warn((*PATH, "interval"), f"'interval': services refuse callers who ask every {value.interval:g} s")
    return AddressSources(
        uses_interfaces=value.interface, urls=tuple(urls), interval_s=value.interval, timeout_s=value.timeout
    )


def _best_global(found: Sequence[InterfaceAddress], version: int) -> str:
    """Return a global address for incoming connections; "" if there is none.

    Those of an old prefix, and those made for privacy, end soon: they are used where there is no other.
    """
    usable = [one for one in found if one.ip.version == version and is_public(one.ip)]
    best = min(usable, key=lambda one: (one.is_deprecated, one.is_temporary), default=None)
    return "" if best is None else str(best.ip)


def _versions(url: str) -> tuple[int, ...]:
    """Return the IP versions over which a URL can be asked."""
    host = urlsplit(url).hostname or ""
    return (ip_address(host).version,) if is_ip_address(host) else (4, 6)
