"""Certificates with RSA and ECDSA keys for one name: each client gets one that it can verify (RFC 8446 §4.4.2.2).

Covers `tls.combination`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509 import load_der_x509_certificate

from npserver.config.load import load_text
from npserver.errors import clip
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from tests.protocols.proxying import until
from tests.stage.programs import needs
from tests.stage.tls import RESPOND, Reply, ask, client, https

RSA = trustme.KeyType.RSA
Issue = Callable[..., Any]


def key_of(reply: Reply) -> str:
    """Return the type of the key in the server's certificate."""
    der = reply.tls.getpeercert(binary_form=True)
    assert der is not None
    is_ecdsa = isinstance(load_der_x509_certificate(der).public_key(), EllipticCurvePublicKey)
    return "ECDSA" if is_ecdsa else "RSA"


def only(ca: Any, key: str) -> ssl.SSLContext:
    """Return the context of a client with TLS 1.2 that can verify one type of key."""
    context = client(ca, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"ECDHE-{key}-AES128-GCM-SHA256")
    return context


async def signature_type(port: int, *options: str) -> str:
    """Return how the server signed its handshake with `openssl s_client`; the alert if it did not."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "a.example", *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    said, complained = await asyncio.wait_for(process.communicate(b""), 30)
    found = re.search(rb"Peer signature type: ([A-Za-z]+)", said) or re.search(rb"alert number (\d+)", complained)
    return found[1].decode().upper() if found else ""  # since OpenSSL 3.6: rsa_pss_rsae_sha256


@needs("openssl")
@pytest.mark.parametrize("is_rsa_first", [True, False], ids=["RSA first", "ECDSA first"])
@pytest.mark.parametrize(
    ("options", "signed"),
    [
        (["-tls1_3"], "ECDSA"),
        (["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"], "ECDSA"),
        (["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], "RSA"),
        (["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256"], "ECDSA"),
        (["-tls1_3", "-sigalgs", "ecdsa_secp384r1_sha384:rsa_pss_rsae_sha256"], "RSA"),  # the key is on P-256
        (["-tls1_3", "-sigalgs", "ed25519"], "40"),
        (["-tls1_2"], "ECDSA"),
        (["-tls1_2", "-sigalgs", "ECDSA+SHA256"], "ECDSA"),
        (["-tls1_2", "-sigalgs", "RSA+SHA256"], "RSA"),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "RSA"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDSA"),
        (["-tls1_2", "-curves", "X25519"], "RSA"),  # RFC 8422 §5.1: the curve of the certificate, too
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_the_client_chooses_the_type_of_key(
    certificates: Issue, options: list[str], signed: str, is_rsa_first: bool
) -> None:
    entries = [certificates("a.example", key_type=RSA).config, certificates("a.example").config]
    async with https(entries if is_rsa_first else entries[::-1]) as port:
        assert await signature_type(port, *options) == signed


@pytest.mark.parametrize("key", ["RSA", "ECDSA"])
@pytest.mark.parametrize("name", ["a.example", "b.example", "x.b.example", "unknown.example", "127.0.0.1"])
async def test_every_name_that_both_have_is_served_to_both_also_by_default(
    certificates: Issue, name: str, key: str
) -> None:
    names = ("a.example", "b.example", "*.b.example")
    rsa, ecdsa = certificates(*names, key_type=RSA), certificates(*names)
    async with https([rsa.config, ecdsa.config]) as port:
        assert key_of(await ask(port, only(rsa.ca, key), name)) == key
        assert key_of(await ask(port, client(rsa.ca), name)) == "ECDSA"


async def test_a_name_that_one_has_is_served_by_that_one(certificates: Issue) -> None:
    both, rsa = ("a.example",), ("a.example", "b.example")
    first, second = certificates(*rsa, key_type=RSA), certificates(*both, "c.example")
    async with https([first.config, second.config]) as port:
        got = [await ask(port, client(first.ca), name) for name in ("a.example", "b.example", "c.example")]
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await ask(port, only(first.ca, "ECDSA"), "b.example")
    assert [key_of(one) for one in got] == ["ECDSA", "RSA", "ECDSA"]
    assert got[1].names == rsa


async def test_the_listed_names_count(certificates: Issue) -> None:
    names = {"names": ["alias.example"]}
    rsa, ecdsa = certificates("a.example", key_type=RSA), certificates("b.example")
    async with https([certificates().config, rsa.config | names, ecdsa.config | names]) as port:
        for key in ("RSA", "ECDSA"):
            assert key_of(await ask(port, only(rsa.ca, key), "alias.example")) == key


async def test_clients_with_certificates_show_them_whatever_the_key(certificates: Issue) -> None:
    rsa, ecdsa = certificates("a.example", key_type=RSA), certificates("a.example")
    entries = [one.config | {"client_ca": str(rsa.ca)} for one in (rsa, ecdsa)]
    async with https([certificates("open.example").config, *entries]) as port:
        for key in ("RSA", "ECDSA"):
            context = only(rsa.ca, key)
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await ask(port, context, "a.example")
            context.load_cert_chain(rsa.cert, rsa.key)
            assert (await ask(port, context, "a.example")).status == 200
            assert (await ask(port, only(rsa.ca, "ECDSA"), "open.example", host="a.example")).status == 421


@pytest.mark.parametrize("key", ["RSA", "ECDSA"])
async def test_a_renewed_certificate_is_used_and_its_sessions_are_resumed(
    certificates: Issue, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "npserver.tls")
    rsa, ecdsa = certificates("a.example", key_type=RSA), certificates("a.example")
    renewed = certificates("a.example", "new.example", key_type=RSA if key == "RSA" else trustme.KeyType.ECDSA)
    old = rsa if key == "RSA" else ecdsa
    async with https([rsa.config, ecdsa.config]) as port:
        assert (await ask(port, only(rsa.ca, key), "a.example")).names == ("a.example",)
        other = "ECDSA" if key == "RSA" else "RSA"
        shutil.copy(renewed.key, old.key)
        shutil.copy(renewed.cert, old.cert)
        await until(lambda: "changed and was loaded" in caplog.text)
        assert (await ask(port, only(rsa.ca, key), "a.example")).names == ("a.example", "new.example")
        assert (await ask(port, only(rsa.ca, other), "a.example")).names == ("a.example",)
        kept = only(rsa.ca, key)
        session = (await ask(port, kept, "a.example")).tls.session
        assert (await ask(port, kept, "a.example", session=session)).is_resumed
    told = [record.getMessage() for record in caplog.records if "changed" in record.getMessage()]
    assert len(told) == 1 and told[0].startswith(f"{old.cert} changed and was loaded")


class TestCheck:
    """`npserver check` knows which certificates are used."""

    @staticmethod
    def said(*entries: dict[str, Any]) -> list[str]:
        text = json.dumps({"listen": ["https://127.0.0.1:0"], "tls": entries, "dispatch": [RESPOND]})
        try:
            return [problem.message for problem in dry_run(load_text(text, "config"), Directory()).warnings]
        finally:
            asyncio.set_event_loop(None)

    def test_both_are_used(self, certificates: Issue) -> None:
        entries = [certificates("a.example", key_type=RSA).config, certificates("a.example").config]
        assert self.said(*entries) == []

    def test_a_third_with_the_same_type_of_key_is_not(self, certificates: Issue) -> None:
        issued = [certificates("a.example", key_type=RSA), *(certificates("a.example") for _ in range(2))]
        (never,) = self.said(*(one.config for one in issued))
        assert never == f"{clip(str(issued[2].cert))} is never used: {clip(str(issued[0].cert))} has all of its names"

    @pytest.mark.parametrize(
        "settings", [{"min_version": "1.3"}, {"http2": False}], ids=["another version", "another protocol"]
    )
    def test_one_with_other_settings_is_not(self, certificates: Issue, settings: dict[str, Any]) -> None:
        rsa, ecdsa = certificates("a.example", key_type=RSA), certificates("a.example")
        (never,) = self.said(rsa.config, ecdsa.config | settings)
        assert "is never used" in never
        assert never.endswith("with the same client_ca, client_auth, client_crl, min_version and http2 both are used")
