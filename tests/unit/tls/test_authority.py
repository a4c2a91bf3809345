"""Roots and what they sign, as OpenSSL judges it by its library and by its program."""

from __future__ import annotations

import ssl
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from npserver.tls.authority import CLOCK_SKEW, Authority, issue, key_pem, load_authority, make_authority, pem
from tests.stage.programs import needs

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


def root(*, only_local: bool = True) -> Authority:
    return make_authority("a root", NOW - DAY, NOW + DAY, only_local=only_local)


def verdict(authority: Authority, names: list[str], asked: str) -> str:
    """Return OpenSSL's verdict on a server with a certificate for `names`, asked for by the name `asked`."""
    certificate, private = issue(names, authority, NOW - DAY, NOW + DAY, common_name="npserver internal certificate")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key_pem(private) + pem(certificate))
        file.flush()
        server.load_cert_chain(file.name)
    client = ssl.create_default_context(cadata=authority.pem.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=asked), server.wrap_bio(to_server, to_client, True)]
    try:
        for _ in range(3):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    return "ok"


@pytest.mark.parametrize("name", ["nas.home", "localhost", "127.0.0.1", "::1", "192.168.1.2", "a.b.internal"])
def test_the_root_for_local_names_signs_local_names(name: str) -> None:
    assert verdict(root(), [name], name) == "ok"


@pytest.mark.parametrize("name", ["example.com", "nas", "8.8.8.8", "home.com"])
def test_it_can_sign_no_other(name: str) -> None:
    """Whoever steals its key cannot pose as a public site to those who trust it."""
    assert verdict(root(), [name], name) == "permitted subtree violation"
    assert verdict(root(only_local=False), [name], name) == "ok"


def test_a_certificate_lives_no_longer_than_its_root() -> None:
    certificate, _ = issue(["a.home"], root(), NOW - 9 * DAY, NOW + 9 * DAY, common_name="x")
    assert certificate.not_valid_before_utc == NOW - DAY
    assert certificate.not_valid_after_utc == NOW + DAY
    assert CLOCK_SKEW < DAY


def test_a_root_is_loaded_again() -> None:
    made = root()
    again = load_authority(made.pem, made.key_pem)
    assert again.certificate == made.certificate
    assert repr(again) == "<Authority CN=a root>"


def test_a_root_needs_its_own_key() -> None:
    with pytest.raises(ValueError, match="the key is not that of the certificate"):
        load_authority(root().pem, root().key_pem)
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="not one that npserver makes"):
        load_authority(root().pem, other)


@needs("openssl")
def test_openssl_finds_nothing_wrong_with_a_root(tmp_path: Path) -> None:
    authority = root()
    certificate, _ = issue(["nas.home", "10.0.0.1"], authority, NOW - DAY, NOW + DAY, common_name="x y")
    (tmp_path / "root.crt").write_bytes(authority.pem)
    (tmp_path / "leaf.crt").write_bytes(pem(certificate))
    words = ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "nas.home", "-CAfile", "root.crt"]
    done = subprocess.run(["openssl", *words, "leaf.crt"], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.stdout == "leaf.crt: OK\n", done.stderr
