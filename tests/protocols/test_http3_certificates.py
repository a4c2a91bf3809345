"""Certificates of HTTP/3: chosen by server name, waited for, renewed; the real connection over memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from msgspec.structs import replace

from npserver.runtime.deadlines import NEVER
from npserver.tls.certificates import LoadedCertificate, ServerTls
from npserver.tls.config import CertificateSettings
from npserver.tls.files import TlsFiles
from npserver.tls.ticket_keys import TicketSecrets
from tests.stage.http2 import Mirror
from tests.stage.quic_memory import Client, certificate


def load(file: Path, *names: str) -> LoadedCertificate:
    trustme.CA().issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(file)
    return LoadedCertificate(CertificateSettings(str(file), str(file)), TlsFiles(), TicketSecrets())


def client(settings: ServerTls, name: str = "localhost") -> Client:
    """Return a client of a listener with these certificates, before its handshake."""
    made = Client(Mirror(), shakes=False, server_name=name)
    made.endpoint.live.listener = replace(made.endpoint.live.listener, server_tls=settings)
    return made


def shake(made: Client) -> tuple[str, ...]:
    """Shake hands. Return the names of the server's certificate."""
    for datagram in made.first:
        made.datagram(datagram)
    made.exchange()
    found: Any = made.quic.tls._peer_certificate
    if found is None:
        return ()
    from cryptography.x509 import DNSName, SubjectAlternativeName

    return tuple(found.extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DNSName))


class Waiting(ServerTls):
    """Certificates of which one name has to be waited for."""

    wait_s = 3.0

    def __init__(self, default: LoadedCertificate, late: LoadedCertificate) -> None:
        super().__init__([(default, ["localhost"])], {})
        self.wait_s = 3.0
        self.late = late
        self.waiters: list[Any] = []

    def choose(self, name: str) -> LoadedCertificate | None:
        return super().choose(name) if name == "localhost" else None

    def load(self, name: str) -> LoadedCertificate:
        return self.late

    def wait(self, name: str, waiter: Any, address: str) -> None:
        self.waiters.append(waiter)

    def stop_waiting(self, name: str, waiter: Any, *, is_late: bool) -> str:
        self.waiters.remove(waiter)
        return "tls.acme.on_demand"


@pytest.mark.parametrize(("name", "expected"), [("a.test", "a.test"), ("x.b.test", "*.b.test"), ("c.test", "a.test")])
def test_the_certificate_of_a_name(tmp_path: Path, name: str, expected: str) -> None:
    first, second = load(tmp_path / "a.pem", "a.test"), load(tmp_path / "b.pem", "*.b.test")
    made = client(ServerTls([(first, ["a.test"]), (second, ["*.b.test"])], {}), name)
    assert shake(made) == (expected,)
    made.end()


def test_a_renewed_certificate(tmp_path: Path) -> None:
    loaded = load(tmp_path / "a.pem", "a.test")
    settings = ServerTls([(loaded, ["a.test"])], {})
    before = client(settings, "a.test")
    assert shake(before) == ("a.test",)
    load(tmp_path / "a.pem", "a.test", "new.test")
    assert loaded.refresh()
    after = client(settings, "a.test")
    assert shake(after) == ("a.test", "new.test")
    before.end()
    after.end()


def test_a_certificate_that_is_waited_for(tmp_path: Path) -> None:
    settings = Waiting(certificate(), load(tmp_path / "late.pem", "late.test"))
    made = client(settings, "late.test")
    assert shake(made) == ()
    (waiter,) = settings.waiters
    assert waiter.deadline == made.loop.now + 3.0 or waiter.deadline > made.loop.now
    waiter.decided(is_there=True)
    made.exchange()
    assert (len(made.endpoint.http), waiter.deadline) == (1, NEVER)
    made.end()


def test_a_certificate_that_comes_too_late(tmp_path: Path) -> None:
    settings = Waiting(certificate(), load(tmp_path / "late.pem", "late.test"))
    made = client(settings, "late.test")
    shake(made)
    made.connection.expire(made.loop.now)
    made.exchange()
    assert (settings.waiters, len(made.endpoint.http)) == ([], 1)  # with the default certificate
    made.end()


def test_a_client_that_leaves_meanwhile(tmp_path: Path) -> None:
    settings = Waiting(certificate(), load(tmp_path / "late.pem", "late.test"))
    made = client(settings, "late.test")
    shake(made)
    made.end()
    assert settings.waiters == []


@pytest.mark.parametrize("what", ["in time", "late", "left"])
def test_a_reload_meanwhile(tmp_path: Path, what: str) -> None:
    """The handshake goes on with the settings that it waits with; those after the reload do not know it."""
    settings = Waiting(certificate(), load(tmp_path / "late.pem", "late.test"))
    made = client(settings, "late.test")
    shake(made)
    live = made.endpoint.live
    live.listener = replace(live.listener, server_tls=ServerTls([(certificate(), ["localhost"])], {}))
    (waiter,) = settings.waiters
    if what == "in time":
        waiter.decided(is_there=True)
    elif what == "late":
        made.connection.expire(made.loop.now)
    made.exchange()
    assert len(made.endpoint.http) == (what != "left")
    made.end()
    assert settings.waiters == ([waiter] if what == "in time" else [])


def test_a_certificate_whose_files_are_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(tmp_path / "a.pem", "a.test")
    (tmp_path / "a.pem").write_text("nothing")
    made = client(ServerTls([(loaded, ["a.test"])], {}), "a.test")
    assert shake(made) == ()
    assert made.connection.is_closed
    assert "no QUIC with " in caplog.text
    made.end()
    caplog.clear()
    again = client(ServerTls([(loaded, ["a.test"])], {}), "a.test")
    assert shake(again) == ()
    assert [one for one in caplog.records if one.levelname == "WARNING"] == []  # strangers do not fill the log
    again.end()
