"""Warns of CAA records in our own zones that keep a CA from issuing the certificates that the config wants of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.tables import Tables, ancestors
from npserver.errors import clip
from npserver.tls.acme.caa import forbids, issuer_domains

if TYPE_CHECKING:
    from npserver.config.report import Path, Report


def check_caa(report: Report, certified: Mapping[str, tuple[str, ...]], tables: Tables) -> None:
    """Report records that forbid a CA. `certified`: the directories of CAs by name; `tables`: what CAs see."""
    for name, directories in certified.items():
        try:
            key = parse_owner(name.removeprefix("*.")).lower()
        except ValueError:
            continue  # an address
        is_wildcard = name.startswith("*.")
        if (found := _relevant(tables, key)) is None:
            continue
        owner, data = found
        for domain in issuer_domains(directories):
            if forbids(data, domain, is_wildcard=is_wildcard):
                tag = "issuewild" if is_wildcard else "issue"
                report.warn(
                    _place(report, owner),
                    f"CAA: these records keep {domain} from issuing the certificate for {clip(name)} ('acme'): "
                    f'add "0 {tag} \\"{domain}\\""',
                )


def _relevant(tables: Tables, key: bytes) -> tuple[bytes, tuple[bytes, ...]] | None:
    """Return the CAA records that count for a name, and whose they are (RFC 8659 §3); None if our zones have none."""
    for above in ancestors(key):
        node = tables.nodes.get(above)
        if node is not None and codes.CAA in node.sets:
            return above, node.sets[codes.CAA][1]
    return None


def _place(report: Report, owner: bytes) -> Path:
    for text in report.document.config.dns:
        try:
            if parse_owner(text).lower() == owner:
                return ("dns", text, "CAA")
        except ValueError:
            continue  # reported where records are compiled
    return ("dns", to_text(owner))
