"""Certificates in the config: what is wrong with them is said where they stand.

Covers `tls.named_file`.
"""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from npserver.config.document import Document
from npserver.config.jsonc import parse
from npserver.config.load import load_text
from npserver.config.schema import Config
from npserver.errors import ConfigError, Severity
from npserver.process.dry_run import dry_run
from npserver.runtime.compilation import Compilation
from npserver.runtime.context import Context
from npserver.runtime.scoreboard import Directory
from npserver.tls.compile import client_context, server_context
from npserver.tls.config import Tls
from npserver.upstream.config import UpstreamTls
from tests.stage.worker import make_context


@pytest.fixture
def directory(certificates: Callable[..., Any], tmp_path: Path, authority: trustme.CA) -> Path:
    """Files good and bad."""
    here = tmp_path / "tls"
    here.mkdir()
    for name in ("one", "two"):
        issued = certificates(f"{name}.example")
        shutil.copy(issued.cert, here / f"{name}.crt")
        shutil.copy(issued.key, here / f"{name}.key")
        shutil.copy(issued.ca, here / "ca.crt")
    (here / "text.crt").write_text("hello")
    (here / "empty.key").write_text("")
    now = datetime.now(UTC)
    for name, start, end in (("expired", -9, -1), ("future", 1, 9), ("ending", -9, 3)):
        dates = {"not_before": now + timedelta(days=start), "not_after": now + timedelta(days=end)}
        odd = authority.issue_cert(f"{name}.example", **dates)
        (here / f"{name}.crt").write_bytes(odd.cert_chain_pems[0].bytes())
        odd.private_key_pem.write_to_path(str(here / f"{name}.key"))
    rsa = authority.issue_cert("one.example", key_type=trustme.KeyType.RSA)
    (here / "rsa.crt").write_bytes(rsa.cert_chain_pems[0].bytes())
    rsa.private_key_pem.write_to_path(str(here / "rsa.key"))
    key: Any = load_pem_private_key((here / "one.key").read_bytes(), None)
    secret = BestAvailableEncryption(b"secret")
    (here / "locked.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, secret)
    (here / "old.key").write_bytes(old)
    (here / "both.pem").write_bytes((here / "one.crt").read_bytes() + old)
    passphrases = {"right": "secret", "lines": "secret\r\n2nd\n", "wrong": "Secret\n", "empty": "", "long": "x" * 1025}
    for name, text in passphrases.items():
        (here / f"{name}.pass").write_text(text, newline="")
    return here


def compilation(directory: Path, context: Context | None = None) -> Compilation:
    """The compilation of a config whose keys stand in these lines."""
    text = '{"tls": {\n"cert": 1,\n"key": 1,\n"client_ca": 1,\n"ca": 1,\n"client_crl": 1,\n"key_passphrase": 1}}'
    document = Document(Config(), "npserver.json", str(directory), parse(text).places)
    return Compilation(document, context or make_context())


def tls(name: str, **more: Any) -> Tls:
    return Tls(**{"cert": f"{name}.crt", "key": f"{name}.key", **more})


def said(found: Compilation) -> list[str]:
    return [f"{problem.line}: {problem.message}" for problem in found.report.problems]


NO_PEM = "cannot be used: no PEM certificate (-----BEGIN CERTIFICATE-----) in it"
MISMATCH = "cannot be used: the private key does not belong to the certificate"
NO_IDN = "is not a valid internationalized domain name: label must not start or end with a hyphen"
OTHER_TYPE = f"{MISMATCH}: it is of another type than the certificate's"
LOCKED = "cannot be used: the private key is encrypted: 'key_passphrase' must name a file with its passphrase"
NO_PASSPHRASE = (
    "cannot read the file (not shown: if this is the passphrase itself, write it into a file): "
    "no such file or directory"
)
NOT_IT = "cannot be used: its first line is not the passphrase of the private key"


class TestListeners:
    """The `tls` of listeners."""

    def test_good_certificates_make_a_context(self, directory: Path) -> None:
        found = compilation(directory)
        made = server_context(found, ("tls",), tls("one"))
        assert made is not None and len(made.certificates) == 1
        assert made.default.certificate.names == ("one.example",)
        assert made.default.context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert said(found) == []

    def test_the_same_settings_share_a_context(self, directory: Path) -> None:
        found = compilation(directory)
        one, again = (server_context(found, ("tls",), tls("one")) for _ in range(2))
        other = server_context(found, ("tls",), tls("one", min_version="1.3"))
        assert one is not None and again is not None and other is not None
        assert one.default is again.default
        assert one.default is not other.default

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            (tls("none"), ["2: cannot read 'none.crt': no such file or directory",
                           "3: cannot read 'none.key': no such file or directory"]),
            (tls("one", key="."), ["3: cannot read '.': is a directory"]),
            (tls("one", key="-----BEGIN EC PRIVATE KEY-----\nMHcC"),
             ["3: cannot read this: expected the name of a file, got the content of one: no such file or directory"]),
            (tls("text", key="one.key"), [f"2: 'text.crt' {NO_PEM}"]),
            (tls("one", cert="one.key"), [f"2: 'one.key' {NO_PEM}"]),
            (tls("one", key="empty.key"), ["3: 'empty.key' cannot be used: not a usable PEM file"]),
            (tls("one", key="two.key"), [f"3: 'two.key' {MISMATCH}"]),
            (tls("one", key="rsa.key"), [f"3: 'rsa.key' {OTHER_TYPE}"]),
            (tls("rsa", key="one.key"), [f"3: 'one.key' {OTHER_TYPE}"]),
            (tls("rsa", key="one.key", client_ca="ca.crt"), [f"3: 'one.key' {OTHER_TYPE}"]),
            (tls("one", key="locked.key"), [f"3: 'locked.key' {LOCKED}"]),
            (tls("one", key="old.key"), [f"3: 'old.key' {LOCKED}"]),
            (tls("one", key="locked.key", key_passphrase="wrong.pass"), [f"7: 'wrong.pass' {NOT_IT}"]),
            (tls("one", key="old.key", key_passphrase="wrong.pass"), [f"7: 'wrong.pass' {NOT_IT}"]),
            (tls("one", key="locked.key", key_passphrase="empty.pass"), [f"7: 'empty.pass' {NOT_IT}"]),
            (tls("one", key="locked.key", key_passphrase="long.pass"),
             ["7: 'long.pass' cannot be used: its first line is longer than 1024 bytes"]),
            (tls("one", key="locked.key", key_passphrase="none.pass"),
             [f"7: {NO_PASSPHRASE}"]),
            (tls("two", key="locked.key", key_passphrase="right.pass"), [f"3: 'locked.key' {MISMATCH}"]),
            (tls("one", client_ca="none.crt"), ["4: cannot read 'none.crt': no such file or directory"]),
            (tls("one", client_ca="text.crt"), [f"4: 'text.crt' {NO_PEM}"]),
            (tls("one", names=["*.*.example"]), ["1: expected a host name or `*.` and one, got '*.*.example'"]),
            (tls("one", names=["https://x"]), ["1: expected a host name or `*.` and one, got 'https://x'"]),
            (tls("one", names=["-ü"]), [f"1: '-ü' {NO_IDN}"]),
            ([], ["1: a list of certificates must not be empty"]),
        ],
    )  # fmt: skip
    def test_bad_certificates_are_named(self, directory: Path, entry: Any, message: list[str]) -> None:
        found = compilation(directory)
        server_context(found, ("tls",), entry)
        assert said(found) == message
        assert {problem.severity for problem in found.report.problems} == {Severity.ERROR}

    @pytest.mark.parametrize("key", ["locked.key", "old.key"])
    @pytest.mark.parametrize("passphrase", ["right.pass", "lines.pass"])
    def test_an_encrypted_key_is_decrypted(self, directory: Path, key: str, passphrase: str) -> None:
        found = compilation(directory)
        assert server_context(found, ("tls",), tls("one", key=key, key_passphrase=passphrase)) is not None
        assert said(found) == []

    def test_a_passphrase_without_use_is_named(self, directory: Path) -> None:
        found = compilation(directory)
        assert server_context(found, ("tls",), tls("one", key_passphrase="wrong.pass")) is not None
        assert said(found) == ["7: 'key_passphrase' is not needed: 'one.key' is not encrypted"]
        assert found.report.problems[0].severity is Severity.WARNING

    def test_keys_of_several_types_have_a_passphrase_each(self, directory: Path) -> None:
        """For one name: the client chooses between them."""
        key: Any = load_pem_private_key((directory / "rsa.key").read_bytes(), None)
        other = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"other"))
        (directory / "rsa.key").write_bytes(other)
        (directory / "other.pass").write_text("other\n")
        found, one = compilation(directory), tls("one", key="locked.key", key_passphrase="right.pass")
        made = server_context(found, ("tls",), [one, tls("rsa", key_passphrase="other.pass")])
        assert said(found) == []
        assert made is not None and len(made.present("one.example").settings.alternatives) == 1

    @pytest.mark.parametrize(
        ("name", "words", "severity"),
        [
            ("expired", "'expired.crt' expired on ", Severity.CHECK_ERROR),
            ("future", "'future.crt' is not valid before ", Severity.CHECK_ERROR),
            ("ending", "'ending.crt' expires on ", Severity.WARNING),
        ],
    )
    def test_a_certificate_out_of_date_is_named(
        self, directory: Path, name: str, words: str, severity: Severity
    ) -> None:
        """A server that ran yesterday starts today; a check says that it must be put right."""
        found = compilation(directory)
        assert server_context(found, ("tls",), tls(name)) is not None
        assert [(words in str(problem), problem.severity) for problem in found.report.problems] == [(True, severity)]
        found.report.raise_errors()

    def test_names_are_those_that_clients_send(self, directory: Path) -> None:
        found = compilation(directory)
        made = server_context(found, ("tls",), [tls("one"), tls("two", names=["*.Straße.home", "Bücher.example."])])
        assert made is not None and said(found) == []
        for name in ("a.xn--strae-oqa.home", "xn--bcher-kva.example"):
            assert made.present(name).certificate.names == ("two.example",)

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("_", "is the name of no host: for all other names, put the certificate first"),
            ("a.b,c.d", 'is taken for one name: write a list, ["a.b", "c.d"]'),
            ("~www", "matches nothing: it cannot be the name of a host"),
        ],
    )
    def test_a_name_that_no_client_sends_is_hinted_at(self, directory: Path, name: str, hint: str) -> None:
        found = compilation(directory)
        assert server_context(found, ("tls",), tls("one", names=["a", name])) is not None
        assert said(found) == [f"1: 'names': {name!r} {hint}"]
        assert found.report.problems[0].severity is Severity.WARNING

    def test_a_certificate_hidden_by_an_earlier_one_is_named(self, directory: Path) -> None:
        found = compilation(directory)
        server_context(found, ("tls",), [tls("one"), tls("two"), tls("one", min_version="1.3")])
        assert said(found) == ["1: 'one.crt' is never used: 'one.crt' has all of its names"]

    def test_a_certificate_changed_into_something_unusable_is_not_used(self, directory: Path) -> None:
        """A reload keeps the old one and says so."""
        first, second = compilation(directory), None
        made = server_context(first, ("tls",), tls("one"))
        (directory / "one.key").write_text("broken")
        second = compilation(directory, first.context)
        again = server_context(second, ("tls",), tls("one"))
        assert made is not None and again is not None and again.default is made.default
        assert said(second) == [
            "3: 'one.key' changed and cannot be used, what was loaded before stays: not a usable PEM file"
        ]
        assert second.report.problems[0].severity is Severity.CHECK_ERROR


class TestUpstreams:
    """The `tls` of upstreams."""

    def test_an_upstream_is_verified(self, directory: Path) -> None:
        found = compilation(directory)
        made = client_context(found, ("tls",), UpstreamTls(ca="ca.crt", cert="one.crt", key="one.key"))
        assert made is not None and made.check_hostname
        assert made.verify_mode is ssl.CERT_REQUIRED
        assert len(made.get_ca_certs()) == 1
        assert said(found) == []

    @pytest.mark.parametrize("files", [{"cert": "one.crt", "key": "locked.key"}, {"cert": "both.pem"}])
    def test_an_encrypted_key_is_decrypted(self, directory: Path, files: dict[str, str]) -> None:
        found = compilation(directory)
        assert client_context(found, ("tls",), UpstreamTls(**files, key_passphrase="right.pass")) is not None
        assert said(found) == []

    def test_a_passphrase_without_use_is_named(self, directory: Path) -> None:
        found, entry = compilation(directory), UpstreamTls(cert="one.crt", key="one.key", key_passphrase="right.pass")
        assert client_context(found, ("tls",), entry) is not None
        assert said(found) == ["7: 'key_passphrase' is not needed: 'one.key' is not encrypted"]

    def test_insecure_is_warned_of(self, directory: Path) -> None:
        found = compilation(directory)
        made = client_context(found, ("tls",), UpstreamTls(insecure=True))
        assert made is not None and made.verify_mode is ssl.CERT_NONE
        assert [problem.severity for problem in found.report.problems] == [Severity.WARNING]

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            (UpstreamTls(ca="none.crt"), "5: cannot read 'none.crt': no such file or directory"),
            (UpstreamTls(ca="text.crt"), f"5: 'text.crt' {NO_PEM}"),
            (UpstreamTls(cert="one.crt", key="two.key"), f"2: 'one.crt' {MISMATCH}"),
            (UpstreamTls(cert="one.crt", key="rsa.key"), f"2: 'one.crt' {OTHER_TYPE}"),
            (UpstreamTls(ca="text.crt", cert="one.crt", key="one.key"), f"5: 'text.crt' {NO_PEM}"),
            (UpstreamTls(key="one.key"), "3: 'key' requires 'cert'"),
            (UpstreamTls(key_passphrase="right.pass"), "7: 'key_passphrase' requires 'cert' and 'key'"),
            (UpstreamTls(cert="one.crt", key="locked.key"), f"3: 'locked.key' {LOCKED}"),
            (UpstreamTls(cert="both.pem"), f"2: 'both.pem' {LOCKED}"),
            (UpstreamTls(cert="one.crt", key="locked.key", key_passphrase="wrong.pass"), f"7: 'wrong.pass' {NOT_IT}"),
            (UpstreamTls(cert="one.crt", key="locked.key", key_passphrase="none.pass"), f"7: {NO_PASSPHRASE}"),
            (UpstreamTls(cert="one.crt"), "2: 'one.crt' cannot be used: not a usable PEM file"),
        ],
    )  # fmt: skip
    def test_bad_settings_are_named(self, directory: Path, entry: UpstreamTls, message: str) -> None:
        found = compilation(directory)
        assert client_context(found, ("tls",), entry) is None
        assert said(found) == [message]


class TestHttp2:
    """The protocols offered in the handshake (RFC 7301), by listener."""

    @staticmethod
    def problems(directory: Path, certificates: Any, **extra: Any) -> tuple[list[str], list[bool]]:
        issued = certificates()
        config = {
            "listen": ["https://127.0.0.1:1", "ssl://127.0.0.1:2", "https://127.0.0.1:3"],
            "tls": issued.config,
            "dispatch": [{"handler": "respond", "body": "x"}],
            **extra,
        }
        try:
            runtime = dry_run(load_text(json.dumps(config), str(directory / "npserver.json")), Directory())
        except ConfigError as error:
            return [problem.message for problem in error.problems], []
        return [], [one.server_tls.offers_http2 for one in runtime.listeners if one.server_tls is not None]

    def test_http2_is_offered_on_listeners_that_speak_http(self, directory: Path, certificates: Any) -> None:
        assert self.problems(directory, certificates) == ([], [True, False, True])

    def test_problems_are_said_once(self, directory: Path, certificates: Any) -> None:
        found, _ = self.problems(directory, certificates, tls={"cert": "missing.crt", "key": "missing.key"})
        assert sorted(set(found)) == sorted(found)

    @pytest.mark.parametrize("size", [1, 16_383, "512m", "4g"])
    def test_a_window_that_cannot_be_is_named(self, directory: Path, certificates: Any, size: object) -> None:
        (found,), _ = self.problems(directory, certificates, limits={"http2_window": size})
        assert found.startswith("expected a size from 16k to 511m, got ")
