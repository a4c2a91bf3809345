"""The variables about a client's certificate, with real clients; compared with the cryptography package and nginx.

Covers `web.client_certificate`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from tests.protocols.proxying import Origin, answering, ok
from tests.stage.authority import ClientAuthority
from tests.stage.nginx import running_nginx
from tests.stage.ports import free_port
from tests.stage.programs import needs
from tests.stage.tls import ask, client, https

NAMES = (
    x509.DNSName("joe.example"),
    x509.RFC822Name("joe@example.com"),
    x509.UniformResourceIdentifier("spiffe://example/joe,DNS:admin.example"),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "left out")])),
    x509.IPAddress(ip_address("192.0.2.1")),
)
ORGANIZATION: x509.NameAttribute[str] = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "a\\b,CN=admin")
ALL = ("subject", "san", "serial", "fingerprint", "cert")
RULES = [{"handler": "respond", "body": "\n".join(f"$tls_client_{name}" for name in ALL)}]


@pytest.fixture
def staff(tmp_path: Path) -> ClientAuthority:
    return ClientAuthority(tmp_path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("auth", ["require", "request"])
async def test_a_certificate_is_described(
    certificates: Callable[..., Any], staff: ClientAuthority, version: ssl.TLSVersion, auth: str
) -> None:
    """In a full handshake and in a resumed session, whose ticket holds the certificate."""
    issued, file = certificates(), staff.issue("joe", *NAMES, attributes=[ORGANIZATION])
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    joe = staff.client("joe", issued.ca, minimum_version=version, maximum_version=version)
    tls = {**issued.config, "client_ca": str(staff.ca), "client_auth": auth}
    async with https(tls, dispatch=RULES) as port:
        first = await ask(port, joe)
        again = await ask(port, joe, session=first.tls.session)
    assert (first.is_resumed, again.is_resumed, again.body) == (False, True, first.body)
    subject, san, serial, fingerprint, cert = first.body.split("\n")
    assert subject == "CN=joe,O=a\\\\b\\,CN=admin"
    assert san == "DNS:joe.example,email:joe@example.com,URI:spiffe://example/joe\\,DNS:admin.example,IP:192.0.2.1"
    assert int(serial, 16) == certificate.serial_number and serial == serial.upper()
    assert fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert x509.load_pem_x509_certificate(unquote(cert).encode()) == certificate


async def test_without_a_verified_certificate_all_are_empty(
    certificates: Callable[..., Any], staff: ClientAuthority, tmp_path: Path
) -> None:
    """A certificate of another authority, or that is not asked for, is none; with `request` the former is refused."""
    issued, stranger = certificates(), ClientAuthority(tmp_path, "Other CA")
    nothing = "\n" * (len(ALL) - 1)
    async with https({**issued.config, "client_ca": str(staff.ca), "client_auth": "request"}, dispatch=RULES) as port:
        assert (await ask(port, client(issued.ca))).body == nothing
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await ask(port, stranger.client("joe", issued.ca))
    async with https(issued.config, dispatch=RULES) as port:
        assert (await ask(port, stranger.client("joe", issued.ca))).body == nothing


async def test_a_client_cannot_send_the_field_itself(certificates: Callable[..., Any], staff: ClientAuthority) -> None:
    """Not in another case, and not without a certificate."""
    issued = certificates()
    async with Origin(answering(ok(), ok())) as origin:
        rule = {"handler": "proxy", "proxy_pass": origin.url, "headers": {"X-Client-Serial": "$tls_client_serial"}}
        tls = {**issued.config, "client_ca": str(staff.ca), "client_auth": "request"}
        async with https(tls, dispatch=[rule]) as port:
            for context in (client(issued.ca), staff.client("joe", issued.ca)):
                assert (await ask(port, context, fields="X-CLIENT-serial: forged\r\n")).status == 200
    assert b"forged" not in origin.seen
    assert origin.seen.lower().count(b"x-client-serial: ") == 1


@needs("nginx")
async def test_the_certificate_is_written_as_nginx_does(
    certificates: Callable[..., Any], staff: ClientAuthority, tmp_path: Path
) -> None:
    issued, port = certificates(), free_port()
    joe = staff.client("joe", issued.ca)
    server = (
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {issued.cert}; ssl_certificate_key {issued.key}; "
        f"ssl_client_certificate {staff.ca}; ssl_verify_client on; "
        "return 200 '$ssl_client_serial\n$ssl_client_escaped_cert';"
    )
    (tmp_path / "nginx").mkdir()
    with running_nginx(tmp_path / "nginx", server) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 200 " in await reader.readline()  # both ports are bound
        writer.close()
        wanted = (await ask(port, joe)).body
    rules = [{"handler": "respond", "body": "$tls_client_serial\n$tls_client_cert"}]
    async with https({**issued.config, "client_ca": str(staff.ca)}, dispatch=rules) as port:
        assert (await ask(port, joe)).body == wanted
