"""`npserver cert`: a certificate for testing, self-signed or signed by a local certificate authority."""

from __future__ import annotations

import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from npserver.cli import cert
from npserver.tls import x509
from tests.stage.programs import needs


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """TLS between two contexts; gives the subject that the server saw."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return str((sides[1].getpeercert() or {}).get("subject", ""))


def contexts(directory: Path, ca: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / ca))
    server.load_cert_chain(directory / "testsite.crt", directory / "testsite.key")
    client = ssl.create_default_context(cafile=str(directory / ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    return server, client


class TestCert:
    """Certificates that clients accept."""

    def test_by_default_it_is_for_localhost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert cert.main([]) == 0
        said = capsys.readouterr().out
        assert "npserver https://:8443 -cert testsite.crt -key testsite.key" in said
        assert "curl --cacert testsite.crt https://localhost:8443/" in said
        assert stat.S_IMODE((tmp_path / "testsite.key").stat().st_mode) == 0o600
        assert x509.parse_pem((tmp_path / "testsite.crt").read_bytes()).names == ("localhost", "127.0.0.1")
        for name in ("localhost", "127.0.0.1", "::1"):
            handshake(*contexts(tmp_path, "testsite.crt"), name)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["testsite.crt", "testsite.key"]

    def test_it_is_for_the_names_given(self, tmp_path: Path) -> None:
        assert cert.main(["-out", str(tmp_path / "new"), "www.example.com", "*.api.example.com", "straße.example"]) == 0
        pair = contexts(tmp_path / "new", "testsite.crt")
        for name in ("www.example.com", "v1.api.example.com", "xn--strae-oqa.example"):
            handshake(*pair, name)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(*pair, "other.example.com")

    def test_an_authority_signs_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """It is made once, signs all later ones, and serves mutual TLS."""
        assert cert.main(["one.example", "-ca", "--out", str(tmp_path)]) == 0
        authority = (tmp_path / "ca.crt").read_bytes()
        assert cert.main(["--ca", "-out", str(tmp_path), "two.example"]) == 0
        assert (tmp_path / "ca.crt").read_bytes() == authority
        assert "client_ca" in capsys.readouterr().out
        server, client = contexts(tmp_path, "ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
        client.load_cert_chain(tmp_path / "testsite.crt", tmp_path / "testsite.key")
        assert "two.example" in handshake(server, client, "two.example")

    @needs("openssl")
    def test_openssl_agrees(self, tmp_path: Path) -> None:
        assert cert.main(["-ca", "-out", str(tmp_path)]) == 0
        verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt", "testsite.crt"]
        done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert done.stdout == "testsite.crt: OK\n"

    @pytest.mark.parametrize(
        ("words", "status", "message"),
        [
            (["-x"], 2, "unknown or incomplete option '-x'"),
            (["-out"], 2, "unknown or incomplete option '-out'"),
            (["a/b"], 1, "'a/b' is neither a host name nor an IP address"),
            (["a..b"], 1, "'a..b' is neither a host name nor an IP address"),
            (["-out", "/dev/null/x"], 1, "not a directory"),
        ],
    )
    def test_misuse_is_told_and_leaves_no_file(
        self, words: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        assert cert.main(words) == status
        assert message in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_help_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cert.main(["-help"]) == 0
        assert capsys.readouterr().out == cert.USAGE
