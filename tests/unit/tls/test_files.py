"""Contents of certificates and keys that are supplied to a process which may not read them."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from npserver.errors import StoreError
from npserver.tls.certificates import client_context
from npserver.tls.config import CertificateSettings
from npserver.tls.files import TlsFiles
from npserver.tls.store import CertificateStore


def supplied(giver: TlsFiles) -> dict[str, Any]:
    """Return the contents as they arrive over the control channel."""
    return json.loads(json.dumps(giver.contents()))  # type: ignore[no-any-return]


def settings_of(certificate: Any) -> CertificateSettings:
    return CertificateSettings(str(certificate.cert), str(certificate.key), str(certificate.ca))


def test_certificate_is_loaded_from_what_was_supplied(certificates: Callable[..., Any]) -> None:
    certificate = certificates("one.test")
    giver, taker = CertificateStore(), CertificateStore()
    for file in (str(certificate.cert), str(certificate.key), str(certificate.ca)):
        giver.files.read(file)
    taker.files.supply(supplied(giver.files))
    for file in (certificate.cert, certificate.key, certificate.ca):
        file.unlink()
    identity = taker.load(settings_of(certificate))
    assert identity.certificate.names == ("one.test",)
    assert identity.context.verify_mode is ssl.CERT_REQUIRED
    assert not identity.refresh()


def test_newer_supplies_are_taken_over(certificates: Callable[..., Any]) -> None:
    certificate, newer = certificates("one.test"), certificates("two.test")
    giver, taker = CertificateStore(), CertificateStore()
    giver.load(settings_of(certificate))
    identity = taker.load(settings_of(certificate))
    taker.files.supply(supplied(giver.files))
    for part in ("cert", "key"):
        getattr(newer, part).replace(getattr(certificate, part))
    assert not identity.refresh(), "the files themselves do not count any more"
    taker.files.supply(supplied(giver.files))
    assert identity.refresh()
    assert identity.problem == ""
    assert identity.certificate.names == ("two.test",)


@pytest.mark.parametrize("number", range(1, 7))
def test_files_that_are_replaced_while_they_are_loaded_break_no_handshake(authority: trustme.CA, number: int) -> None:
    """The chain of one certificate and the key of the other, in the context that is in use, would be a server's end."""
    pems = [
        b"".join(blob.bytes() for blob in issued.cert_chain_pems) + issued.private_key_pem.bytes()
        for issued in (authority.issue_cert(name) for name in ("one.test", "two.test", "three.test"))
    ]
    reads, now = 0, pems[0]

    def read(_: str) -> bytes:
        nonlocal reads, now
        reads += 1
        now = pems[2] if reads >= number else now
        return now

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "a.pem"
        file.write_text("1")
        store = CertificateStore()
        store.files.add_store(directory, read)
        reads = -100
        identity = store.load(CertificateSettings(str(file), str(file)))
        reads, now = 0, pems[1]
        file.write_text("22")
        assert identity.refresh()
    assert identity.problem == ""
    assert shakes_hands(identity.context, authority) == set(identity.certificate.names) <= {"two.test", "three.test"}


def shakes_hands(server: ssl.SSLContext, authority: trustme.CA) -> set[str]:
    """Return the names that a client is shown."""
    client = ssl.create_default_context()
    client.check_hostname = False
    authority.configure_trust(client)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for end in ends * 3:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    certificate: Any = ends[0].getpeercert()
    return {value for _, value in certificate["subjectAltName"]}


def test_client_context_from_what_was_supplied(certificates: Callable[..., Any]) -> None:
    certificate = certificates()
    names = (str(certificate.ca), str(certificate.cert), str(certificate.key))
    giver, taker = TlsFiles(), TlsFiles()
    for name in names:
        giver.read(name)
    taker.supply(supplied(giver))
    for name in names:
        Path(name).unlink()
    assert len(client_context(*names, files=taker).get_ca_certs()) == 1


def test_without_memory_files_a_copy_on_disk_lasts_as_long_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    source = tmp_path / "a"
    source.write_bytes(b"secret")
    files = TlsFiles()
    files.read(str(source))
    files.supply(supplied(files))
    with files.readable(str(source)) as name:
        copy = Path(name)
        assert copy != source
        assert copy.read_bytes() == b"secret"
        assert copy.stat().st_mode & 0o077 == 0
    assert not copy.exists()


def test_unreadable_files_are_left_out(tmp_path: Path) -> None:
    files = TlsFiles()
    with pytest.raises(FileNotFoundError):
        files.read(str(tmp_path / "none"))
    assert files.contents() == {}
    assert files.state(str(tmp_path / "none")) == (0, 0, 0)


def test_files_of_the_store_are_read_by_its_rules_and_not_supplied(tmp_path: Path) -> None:
    """The children's user owns them: a link in the store must not have the master read other files for children."""
    (tmp_path / "secret").write_text("root's")
    files = TlsFiles()
    values = {"a.pem": b"value"}

    def read(key: str) -> bytes | None:
        if key == "bad.pem":
            raise StoreError("not a file of the directory's owner")
        return values.get(key)

    files.add_store(str(tmp_path), read)
    assert files.read(f"{tmp_path}/a.pem") == b"value"
    with files.readable(f"{tmp_path}/a.pem") as copy:
        assert Path(copy).read_bytes() == b"value"
    assert files.contents() == {}
    with pytest.raises(OSError, match="not a file of the directory's owner"):
        files.read(f"{tmp_path}/bad.pem")
    with pytest.raises(FileNotFoundError):
        files.read(f"{tmp_path}/secret")
    assert files.is_in_store(f"{tmp_path}/a.pem")
    assert not files.is_in_store(f"{tmp_path}.other/a.pem")
