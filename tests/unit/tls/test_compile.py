"""Certificates in the config: what is wrong with them is said where they stand."""

from __future__ import annotations

import json
import re
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
from tests.stage.authority import ClientAuthority
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
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (here / "locked.key").write_bytes(locked)
    return here


def compilation(directory: Path, context: Context | None = None) -> Compilation:
    """The compilation of a config whose keys stand in these lines."""
    text = '{"tls": {\n"cert": 1,\n"key": 1,\n"client_ca": 1,\n"ca": 1,\n"client_crl": 1}}'
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
LOCKED = (
    "cannot be used: the private key is encrypted: npserver cannot ask for a password, decrypt it with openssl pkey"
)


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
            (tls("text", key="one.key"), [f"2: 'text.crt' {NO_PEM}"]),
            (tls("one", cert="one.key"), [f"2: 'one.key' {NO_PEM}"]),
            (tls("one", key="empty.key"), ["3: 'empty.key' cannot be used: not a usable PEM file"]),
            (tls("one", key="two.key"), [f"3: 'two.key' {MISMATCH}"]),
            (tls("one", key="rsa.key"), [f"3: 'rsa.key' {OTHER_TYPE}"]),
            (tls("rsa", key="one.key"), [f"3: 'one.key' {OTHER_TYPE}"]),
            (tls("rsa", key="one.key", client_ca="ca.crt"), [f"3: 'one.key' {OTHER_TYPE}"]),
            (tls("one", key="locked.key"), [f"3: 'locked.key' {LOCKED}"]),
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
            assert made.choose(name).certificate.names == ("two.example",)

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
        assert "cannot be used, the old certificate stays: not a usable PEM file" in said(second)[0]
        assert second.report.problems[0].severity is Severity.CHECK_ERROR


class TestRevocation:
    """The `client_crl` of listeners: the lists that make OpenSSL refuse clients are named."""

    @pytest.fixture
    def staff(self, directory: Path) -> ClientAuthority:
        return ClientAuthority(directory)

    @staticmethod
    def compile(directory: Path, **entry: Any) -> tuple[list[str], set[Severity]]:
        """Return the messages, and how severe they are."""
        found = compilation(directory)
        server_context(
            found, ("tls",), tls("one", **{"client_ca": "Staff-CA.ca", "client_crl": "Staff-CA.crl"} | entry)
        )
        return said(found), {problem.severity for problem in found.report.problems}

    def test_a_list_in_use_is_no_problem(self, directory: Path, staff: ClientAuthority) -> None:
        staff.revoke()
        assert self.compile(directory) == ([], set())
        assert self.compile(directory, client_crl=["Staff-CA.crl", "Staff-CA.crl"]) == ([], set())

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"client_crl": "none.crl"}, "6: cannot read 'none.crl': no such file or directory"),
            ({"client_crl": ["none.crl"]}, "6: cannot read 'none.crl': no such file or directory"),
            ({"client_ca": None},
             "6: 'client_crl' requires 'client_ca': without it no client certificate is asked for"),
            ({"client_crl": "text.crt"},
             "6: 'text.crt' cannot be used: no PEM revocation list (-----BEGIN X509 CRL-----) in it"),
            ({"client_crl": ["Staff-CA.crl", "ca.crt"]},
             "6: 'ca.crt' cannot be used: there is a certificate in it, which belongs to client_ca"),
        ],
    )  # fmt: skip
    def test_files_that_cannot_be_used_are_named(
        self, directory: Path, staff: ClientAuthority, entry: Any, message: str
    ) -> None:
        staff.revoke()
        assert self.compile(directory, **entry) == ([message], {Severity.ERROR})

    def test_a_file_that_is_too_large_is_named(self, directory: Path, staff: ClientAuthority) -> None:
        (directory / "Staff-CA.crl").write_bytes(staff.revocation_list() + b" " * (4 << 20))
        assert self.compile(directory)[0] == ["6: cannot read 'Staff-CA.crl': larger than 4194304 bytes"]

    @pytest.mark.parametrize(
        ("issued", "until", "message", "severity"),
        [
            (-3, -1, "'Staff-CA.crl' expired on {until} UTC: {refused}; fetch its successor", Severity.CHECK_ERROR),
            (1, 3, "'Staff-CA.crl' is not valid before {issued} UTC: {refused}", Severity.CHECK_ERROR),
            (-9, 1, "'Staff-CA.crl' expires on {until} UTC: from then on {refused}", Severity.WARNING),
        ],
    )
    def test_a_list_out_of_date_is_named(
        self, directory: Path, staff: ClientAuthority, issued: int, until: int, message: str, severity: Severity
    ) -> None:
        """A server that ran yesterday starts today; a check says that a new list must be fetched."""
        now = datetime.now(UTC)
        dates = {"issued": now + timedelta(days=issued), "until": now + timedelta(days=until)}
        staff.revoke(**dates)
        texts = {name: f"{date:%Y-%m-%d %H:%M}" for name, date in dates.items()}
        (found,), severities = self.compile(directory)
        assert severities == {severity}
        assert re.sub(r"'O=Staff CA.*?(?= are)", "X", found) == f"6: {message}".format(
            **texts, refused="all clients of X are refused"
        )

    def test_lists_of_other_authorities_are_named(self, directory: Path, staff: ClientAuthority) -> None:
        partners = ClientAuthority(directory, "Partner CA")
        staff.revoke()
        partners.revoke()
        (found,), severities = self.compile(directory, client_crl="Partner-CA.crl")
        assert found.startswith("6: 'Partner-CA.crl' is a list by 'O=Partner CA,")
        assert found.endswith(
            "which is not an authority in 'client_ca': it only counts for clients that send this authority's "
            "certificate along"
        )
        assert severities == {Severity.WARNING}

    def test_a_list_signed_with_another_key_is_named(self, directory: Path) -> None:
        """An authority that has got a new key needs a new list."""
        old, new = (trustme.CA(organization_name="Staff", organization_unit_name="HQ") for _ in range(2))
        (directory / "new.ca").write_bytes(new.cert_pem.bytes())
        (directory / "old.crl").write_bytes(ClientAuthority(directory, authority=old).revocation_list())
        (found,), severities = self.compile(directory, client_ca="new.ca", client_crl="old.crl")
        assert "is a list by 'O=Staff,OU=HQ', signed with another key than the authority in 'client_ca'" in found
        assert severities == {Severity.WARNING}

    def test_authorities_without_a_list_are_named(self, directory: Path, staff: ClientAuthority) -> None:
        ClientAuthority(directory, "Partner CA")
        staff.revoke()
        both = [(directory / f"{name}-CA.ca").read_text() for name in ("Staff", "Partner")]
        (directory / "both.ca").write_text("".join(both))
        (found,), severities = self.compile(directory, client_ca="both.ca")
        assert found.startswith("6: no list by 'O=Partner CA,")
        assert found.endswith("an authority in 'client_ca': all of its clients are refused")
        assert severities == {Severity.WARNING}

    def test_a_root_needs_no_list_beside_its_intermediate(self, directory: Path) -> None:
        root = trustme.CA(organization_name="Root")
        below = root.create_child_ca()
        (directory / "both.ca").write_bytes(root.cert_pem.bytes() + below.cert_pem.bytes())
        (directory / "below.crl").write_bytes(ClientAuthority(directory, authority=below).revocation_list())
        assert self.compile(directory, client_ca="both.ca", client_crl="below.crl") == ([], set())


class TestUpstreams:
    """The `tls` of upstreams."""

    def test_an_upstream_is_verified(self, directory: Path) -> None:
        found = compilation(directory)
        made = client_context(found, ("tls",), UpstreamTls(ca="ca.crt", cert="one.crt", key="one.key"))
        assert made is not None and made.check_hostname
        assert made.verify_mode is ssl.CERT_REQUIRED
        assert len(made.get_ca_certs()) == 1
        assert said(found) == []

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
