"""Makes published names of rules and their listeners, and reports what cannot be published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.address import HTTP_ONLY
from npserver.config.report import placed
from npserver.dns.message.name import parse_owner
from npserver.errors import clip
from npserver.idn import to_ascii
from npserver.nameserver.publish.plan import HTTPS_PORT, PublishedName, is_in
from npserver.networks import is_ip_address
from npserver.tls.acme.caa import CERTIFIED, issuer_domains
from npserver.tls.local_names import LOOPBACKS, PRIVATE_NETWORKS, is_local_name
from npserver.web.config import HttpRule

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import Rule


def hosts_of_rule(report: Report, index: int, rule: Rule) -> Iterator[tuple[Path, str]]:
    """Yield the hosts of a rule with `publish`, in lower-case ASCII, with their places; others are reported."""
    key = "host" if isinstance(rule, HttpRule) else "sni"
    value: str | list[str] | None = getattr(rule, key)
    at: Path = ("dispatch", index)
    if not value:
        report.error((*at, "publish"), f"'publish' needs '{key}': the name to make records for")
        return
    for path, text in placed((*at, key), value):
        try:
            name = to_ascii(text).lower().removesuffix(".")
        except ValueError:
            continue  # reported where routes are compiled
        if fault := _fault(text, name):
            report.error(path, f"'publish' {fault}")
        else:
            yield path, name


def _fault(text: str, name: str) -> str:
    """Return why a host cannot be published; "" if it can."""
    if name in ("", "*"):
        return f"needs a name: {clip(text)} stands for any host"
    bare, colon, port = name.rpartition(":")
    if colon and ":" not in bare and "[" not in bare:
        return f"makes a name for all ports: write {clip(bare)} without :{port}"
    if is_ip_address(name.strip("[]")):
        return f"makes records for names: {clip(text)} is an address"
    try:
        parse_owner(name)
    except ValueError as error:
        return f"cannot make this name: {error}"
    return ""


class _Made(Struct):
    """A name whose rules and listeners are being gathered."""

    text: str
    hosts: dict[str, None] = field(default_factory=dict)
    https: list[Listener] = field(default_factory=list)


class NameMaker:
    """Gathers the published names of a config."""

    def __init__(self, compilation: Compilation) -> None:
        self._compilation = compilation
        self._made: dict[bytes, _Made] = {}
        #: Where each name stands first, by key.
        self.paths: dict[bytes, Path] = {}

    def add(self, path: Path, text: str, rule: Rule, listeners: list[Listener]) -> None:
        """Add a host of a rule, which these listeners have."""
        reachable = [one for one in listeners if not one.address.is_unix]
        if not reachable:
            if listeners:
                self._compilation.report.error(
                    path, f"'publish': {clip(text)} has no address: the listeners of its rule are Unix sockets"
                )
            return  # without listeners: reported where rules are assigned
        key = parse_owner(text).lower()
        made = self._made.setdefault(key, _Made(text))
        self.paths.setdefault(key, path)
        for one in reachable:
            made.hosts[_bound_to(one)] = None
            if isinstance(rule, HttpRule) and one.address.scheme in HTTP_ONLY and one.address.is_tls:
                made.https.append(one)

    def names(self) -> list[PublishedName]:
        """Return the names."""
        certified = CERTIFIED.of(self._compilation)
        found = []
        for key, made in self._made.items():
            directories = certified.get(made.text) or certified.get(f"*.{made.text.partition('.')[2]}") or ()
            alpn: tuple[str, ...] = ()
            https = min(made.https, key=_remoteness, default=None)
            if https is not None and _cover([_bound_to(one) for one in made.https], made.hosts):
                tls = https.server_tls
                is_http2 = tls is not None and tls.present(made.text).settings.http2
                alpn = (*(("h3",) if https.http3 else ()), *(("h2",) if is_http2 else ()), "http/1.1")
            found.append(
                PublishedName(
                    key,
                    made.text,
                    tuple(made.hosts),
                    alpn,
                    HTTPS_PORT if https is None else https.address.port,
                    issuer_domains(directories),
                    is_local_name(made.text),
                )
            )
        return found

    def check_certificates(self) -> None:
        """Warn of names that an https listener has no certificate for."""
        for key, made in self._made.items():
            for listener in made.https:
                tls = listener.server_tls
                if tls is None or (chosen := tls.choose(made.text)) is None:
                    continue  # reported where certificates are compiled; made on demand
                names = chosen.certificate.names
                if made.text not in names and f"*.{made.text.partition('.')[2]}" not in names:
                    self._compilation.report.warn(
                        self.paths[key],
                        f"'publish': {clip(listener.name)} has no certificate for {clip(made.text)}: "
                        "add it to 'names' of 'tls', or leave 'names' out",
                    )


def _remoteness(listener: Listener) -> tuple[bool, bool, bool]:
    """Return a key by which the listener comes first that most clients reach, at port 443 if possible."""
    host = _bound_to(listener)
    ip = ip_address(host or "::")
    return is_in(ip, LOOPBACKS), is_in(ip, PRIVATE_NETWORKS), listener.address.port != HTTPS_PORT


def _bound_to(listener: Listener) -> str:
    """Return the address that a listener is bound to; "" for all, and for one with a name that may be any."""
    host = listener.address.host
    return "127.0.0.1" if host == "localhost" else host if is_ip_address(host) else ""


def _cover(hosts: Iterable[str], others: Iterable[str]) -> bool:
    """Return whether a client that reaches one of the others finds one of the hosts there."""
    found = set(hosts)
    return "" in found or all(
        one in found or (one != "" and ("::" if ":" in one else "0.0.0.0") in found) for one in others
    )
