"""CAA records and the CAs that they name (RFC 8659)."""

from __future__ import annotations

import pytest

from npserver.dns.message import codes
from npserver.dns.message.record import parse_data
from npserver.tls.acme.caa import ISSUER_DOMAINS, forbids, issuer_domains
from npserver.tls.acme.config import LETS_ENCRYPT

ZEROSSL = "https://acme.zerossl.com/v2/DV90"


def test_known_cas_have_their_domain() -> None:
    assert issuer_domains([LETS_ENCRYPT]) == ("letsencrypt.org",)
    assert issuer_domains([LETS_ENCRYPT, ZEROSSL, LETS_ENCRYPT]) == ("letsencrypt.org", "sectigo.com")
    assert issuer_domains([]) == ()
    assert all(host == host.lower() for host in ISSUER_DOMAINS)


@pytest.mark.parametrize(
    "other", ["https://ca.example/directory", "not a URL", "https://letsencrypt.org.evil.example/"]
)
def test_one_that_is_not_known_leaves_none(other: str) -> None:
    """Records that named the others would forbid it."""
    assert issuer_domains([LETS_ENCRYPT, other]) == ()


@pytest.mark.parametrize(
    ("records", "forbidden", "forbidden_to_wildcards"),
    [
        (['0 issue "letsencrypt.org"'], False, False),
        (['0 issue "LetsEncrypt.org; accounturi=https://x"'], False, False),
        (['0 issue "ca.example"'], True, True),
        (['0 issue "ca.example"', '0 issue "letsencrypt.org"'], False, False),
        (['0 issue ";"'], True, True),
        (['0 issuewild "letsencrypt.org"'], False, False),
        (['0 issuewild ";"'], False, True),
        (['0 issue "letsencrypt.org"', '0 issuewild "ca.example"'], False, True),
        (['0 issue "ca.example"', '0 issuewild "letsencrypt.org"'], True, False),
        (['0 iodef "mailto:me@example.com"'], False, False),
        (['0 issue "notletsencrypt.org"'], True, True),
        (['128 issue "letsencrypt.org"'], False, False),
        (['0 issue "letsencrypt.org"', '128 tbs "unknown"'], True, True),  # §4.1: a CA must understand critical ones
        (['0 issue "letsencrypt.org"', '0 tbs "unknown"'], False, False),
    ],
)
def test_records_allow_or_forbid_a_ca(records: list[str], forbidden: bool, forbidden_to_wildcards: bool) -> None:
    data = [parse_data(codes.CAA, one) for one in records]
    assert forbids(data, "letsencrypt.org", is_wildcard=False) is forbidden
    assert forbids(data, "letsencrypt.org", is_wildcard=True) is forbidden_to_wildcards
