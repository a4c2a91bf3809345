"""What CAA records (RFC 8659) say about the CAs that are asked for certificates.

CAs name the domains by which they recognise themselves in their documentation; only those that are known for certain
are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from npserver.runtime.compilation import PerCompilation

#: The directories of the CAs that are asked for a certificate, in order, by the certificate's name.
CERTIFIED: PerCompilation[dict[str, tuple[str, ...]]] = PerCompilation(lambda _: {})

#: The domain of a CA in CAA records, by the host of its directory.
ISSUER_DOMAINS = {
    "acme-v02.api.letsencrypt.org": "letsencrypt.org",
    "acme-staging-v02.api.letsencrypt.org": "letsencrypt.org",
    "acme.zerossl.com": "sectigo.com",
    "acme.sectigo.com": "sectigo.com",
    "dv.acme-v02.api.pki.goog": "pki.goog",
    "dv.acme-v02.test-api.pki.goog": "pki.goog",
    "acme.ssl.com": "ssl.com",
    "acme.digicert.com": "digicert.com",
}

_CRITICAL = 0x80
_KNOWN_TAGS = frozenset({b"issue", b"issuewild", b"iodef", b"issuemail", b"contactemail", b"contactphone"})


def issuer_domains(directories: Iterable[str]) -> tuple[str, ...]:
    """Return the domains of the CAs with these directories, each once; () if one of them is not known."""
    found = [ISSUER_DOMAINS.get(urlsplit(one).hostname or "") for one in directories]
    return tuple(dict.fromkeys([one for one in found if one is not None])) if None not in found else ()


def forbids(data: Sequence[bytes], domain: str, *, is_wildcard: bool) -> bool:
    """Return whether a set of CAA records keeps the CA with a domain from issuing (RFC 8659 §4).

    `data`: of the records in wire form.
    """
    found = [(one[0], one[2 : 2 + one[1]].lower(), one[2 + one[1] :]) for one in data]
    if any(flags & _CRITICAL and tag not in _KNOWN_TAGS for flags, tag, _ in found):
        return True
    values = [value for _, tag, value in found if tag == b"issue"]
    if is_wildcard and (wild := [value for _, tag, value in found if tag == b"issuewild"]):
        values = wild
    allowed = [value.partition(b";")[0].strip().lower() for value in values]
    return bool(values) and domain.encode() not in allowed
