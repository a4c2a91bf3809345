"""The part of a name that a registry hands out: the labels above it are the registry's (Public Suffix List).

The list comes with the package publicsuffixlist and is read from its file once, on first use; nothing is fetched.
Used by `dns.zone.apexes`, and for block lists, which must not block what a registry hands names out below.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

#: Last labels below which nothing is registered: everybody may use them at home (RFC 6761, RFC 6762 §3 and
#: appendix G, RFC 8375, ICANN's resolution 2024.07.29.06 for `internal`). Their names need no list.
PRIVATE = frozenset(
    b"local home lan internal intranet private corp localdomain test example invalid localhost onion alt".split()
)


def registered_labels(labels: list[bytes]) -> int | None:
    """Return how many labels at the end of a name make up the domain that its owner has registered.

    A name that is itself a public suffix (co.uk) is kept whole. None if the list does not know the last label: it
    then is no public top-level domain.
    """
    if labels[-1] in PRIVATE:
        return None
    suffix = _load().publicsuffix(tuple(labels))
    return None if suffix is None else min(len(labels), len(suffix) + 1)


def is_registry(name: bytes) -> bool:
    """Whether a registry hands names out below a name, in lower case and ASCII: com, co.uk, and any single label.

    Those of hosters (duckdns.org) are not meant.
    """
    above = name.partition(b".")[2]
    if not above:
        return True
    suffixes, wild, excepted = _registries()
    return name in suffixes or (above in wild and name not in excepted)


@cache
def _registries() -> tuple[frozenset[bytes], frozenset[bytes], frozenset[bytes]]:
    """Return the suffixes of registries, the names below which all are such (`*.ck`), and those that are not."""
    from publicsuffixlist import PSLFILE

    from npserver.idn import to_ascii

    suffixes, wild, excepted = set[bytes](), set[bytes](), set[bytes]()
    with open(PSLFILE, encoding="utf-8") as file:
        for line in file:
            if "END ICANN DOMAINS" in line:
                break
            rule = line.strip()
            if not rule or rule.startswith("//"):
                continue
            if rule.startswith("!"):
                excepted.add(to_ascii(rule[1:]).encode())
            elif rule.startswith("*."):
                wild.add(to_ascii(rule[2:]).encode())
            else:
                suffixes.add(to_ascii(rule).encode())
    return frozenset(suffixes), frozenset(wild), frozenset(excepted)


@cache
def _load() -> PublicSuffixList:
    """Return the list (10,000 suffixes, 35 ms), of registries and of hosters (duckdns.org) alike."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)
