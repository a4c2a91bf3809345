"""What a server shows to the CA for each kind of challenge: `tls.acme.challenges`."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from acme import challenges as reference
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from npserver.tls.acme.challenges import (
    Challenge,
    ChallengeKind,
    is_token,
    key_authorization,
    possible_kinds,
)

SOURCE = Path(__file__).parents[4] / "src"
HTTP, TLS, DNS = ChallengeKind.HTTP_01, ChallengeKind.TLS_ALPN_01, ChallengeKind.DNS_01
TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"  # RFC 8555 §8.3
THUMBPRINT = urlsafe_b64decode("9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI=")  # of the key in its example


def challenge(kind: ChallengeKind, name: str = "example.org", token: str = TOKEN) -> Challenge:
    return Challenge(kind, name, token, key_authorization(token, THUMBPRINT))


def test_the_answer_over_http_is_that_of_the_rfc() -> None:
    """RFC 8555 §8.3: the request's path and the response's body of its example."""
    one = challenge(HTTP)
    assert one.http_path == "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
    assert one.http_body == (b"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI")


def test_answers_are_those_of_the_acme_package() -> None:
    """For a key and a token of its own: path, body, name and value of the record."""
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    one = Challenge(DNS, "example.org", TOKEN, key_authorization(TOKEN, key.thumbprint()))
    token = urlsafe_b64decode(f"{TOKEN}=")
    http, dns = reference.HTTP01(token=token), reference.DNS01(token=token)
    assert (one.http_path, one.http_body.decode()) == (http.path, http.validation(key))
    assert one.dns_name == dns.validation_domain_name("example.org") == "_acme-challenge.example.org"
    assert one.dns_value == dns.validation(key)


@pytest.mark.parametrize(
    ("name", "server_name"),
    [
        ("example.org", "example.org"),
        ("192.0.2.7", "7.2.0.192.in-addr.arpa"),
        ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_the_server_name_of_an_address_is_its_name_in_the_reverse_zone(name: str, server_name: str) -> None:
    """RFC 8738 §6."""
    assert challenge(TLS, name).server_name == server_name


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("example.org", {HTTP, TLS, DNS}),
        ("*.example.org", {DNS}),
        ("192.0.2.7", {HTTP, TLS}),
        ("2001:db8::1", {HTTP, TLS}),
    ],
)
def test_wildcards_are_proved_by_dns_and_addresses_never(name: str, kinds: set[ChallengeKind]) -> None:
    assert possible_kinds(name) == kinds


@pytest.mark.parametrize(
    ("token", "good"),
    [
        (TOKEN, True),
        ("a-_Z9", True),
        ("../../etc/passwd", False),
        ("a/b", False),
        ("a%2fb", False),
        ("a\r\nb", False),
        ("a\n", False),
        ("", False),
        ("a" * 513, False),
        (7, False),
        (None, False),
    ],
)
def test_a_token_that_would_do_harm_in_a_path_is_none(token: object, good: bool) -> None:
    assert is_token(token) is good


def test_every_process_can_import_it_at_no_cost() -> None:
    """The packages that sign and read certificates are loaded where an order is made, nowhere else."""
    script = "import sys, npserver.tls.acme.challenges, npserver.tls.acme.schedule, npserver.tls.acme.settings;"
    script += "print(sorted({'acme', 'cryptography', 'josepy', 'requests'} & sys.modules.keys()))"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
