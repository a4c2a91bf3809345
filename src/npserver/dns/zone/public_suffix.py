"""The part of a name that a registry hands out: the labels above it are the registry's (Public Suffix List).

The list comes with the package publicsuffixlist and is read from its file once, on first use; nothing is fetched.
Used by `dns.zone.apexes`.
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


@cache
def _load() -> PublicSuffixList:
    """Return the list (10,000 suffixes, 35 ms), of registries and of hosters (duckdns.org) alike."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)
