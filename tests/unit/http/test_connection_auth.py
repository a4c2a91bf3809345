"""Schemes that authenticate a connection: NTLM and Negotiate (RFC 4559)."""

from __future__ import annotations

import pytest

from npserver.http.connection_auth import offers_connection_auth, uses_connection_auth


@pytest.mark.parametrize("value", [b"NTLM", b"Negotiate", b"ntlm TlRM", b'Basic realm="x", Negotiate', b"Bearer,NTLM"])
def test_a_challenge_of_these_schemes_is_found(value: bytes) -> None:
    assert offers_connection_auth(value)


@pytest.mark.parametrize("value", [b"Basic realm=NTLM", b"Bearer", b"Negotiated", b"", b'Digest realm="a NTLM"'])
def test_other_challenges_are_not(value: bytes) -> None:
    assert not offers_connection_auth(value)


@pytest.mark.parametrize(
    ("value", "uses"),
    [
        (b" NTLM TlRM", True),
        (b"negotiate YII=", True),
        (b"Basic bnRsbQ==", False),
        (b"Bearer NTLM", False),
        (b"", False),
    ],
)
def test_credentials_of_these_schemes_are_found(value: bytes, uses: bool) -> None:
    assert uses_connection_auth(value) is uses
