"""Revoked client certificates (RFC 5280 §6.3, `client_crl`) in full handshakes and when a session is resumed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from npserver.tls import watch as tls_watch
from npserver.tls.config import CertificateSettings
from npserver.tls.store import CERTIFICATES
from npserver.tls.watch import CertificateWatch
from tests.protocols.proxying import until
from tests.stage.authority import ClientAuthority
from tests.stage.backends import Backends
from tests.stage.tls import ask, https
from tests.stage.worker import make_context

REFUSED = (ssl.SSLError, ConnectionResetError)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def staff(tmp_path: Path) -> ClientAuthority:
    authority = ClientAuthority(tmp_path)
    for name in ("joe", "ann"):
        authority.issue(name)
    return authority


def guarded(issued: Any, *authorities: ClientAuthority, **more: Any) -> dict[str, Any]:
    """Return the `tls` of a server that clients of one authority can use."""
    return {**issued.config, "client_ca": str(authorities[0].ca), "client_crl": str(authorities[0].crl), **more}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("auth", ["require", "request"])
async def test_a_revoked_client_is_refused(
    certificates: Callable[..., Any], staff: ClientAuthority, version: ssl.TLSVersion, auth: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, "npserver.tls")
    issued, versions = certificates(), {"minimum_version": version, "maximum_version": version}
    staff.revoke("joe")
    async with https(guarded(issued, staff, client_auth=auth)) as port:
        assert (await ask(port, staff.client("ann", issued.ca, **versions))).status == 200
        with pytest.raises(REFUSED):
            await ask(port, staff.client("joe", issued.ca, **versions))
    assert [one for one in caplog.messages if "certificate revoked" in one and one.endswith("(client_crl)")]


@pytest.mark.parametrize(
    ("dates", "reason"),
    [
        ({"issued": timedelta(days=-2), "until": timedelta(days=-1)}, "CRL has expired"),
        ({"issued": timedelta(days=1), "until": timedelta(days=2)}, "CRL is not yet valid"),
    ],
)
async def test_a_list_out_of_date_refuses_everyone(
    certificates: Callable[..., Any], staff: ClientAuthority, dates: dict[str, timedelta], reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, "npserver.tls")
    issued, now = certificates(), datetime.now(UTC)
    staff.revoke(**{name: now + span for name, span in dates.items()})  # type: ignore[arg-type]
    async with https(guarded(issued, staff)) as port:
        with pytest.raises(REFUSED):
            await ask(port, staff.client("ann", issued.ca))
    assert [one for one in caplog.messages if f"{reason} (_ssl" in one and one.endswith("(client_crl)")]


async def test_two_authorities_have_a_list_each(
    certificates: Callable[..., Any], staff: ClientAuthority, tmp_path: Path
) -> None:
    partners, issued = ClientAuthority(tmp_path, "Partner CA"), certificates()
    both = tmp_path / "both.ca"
    both.write_bytes(staff.ca.read_bytes() + partners.ca.read_bytes())
    for name in ("joe", "ann"):
        partners.issue(name)
    lists = [str(staff.revoke("joe")), str(partners.revoke("ann"))]
    async with https(guarded(issued, staff, client_ca=str(both), client_crl=lists)) as port:
        for authority, name, is_let_in in (
            (staff, "ann", True), (partners, "joe", True), (staff, "joe", False), (partners, "ann", False),
        ):  # fmt: skip
            if is_let_in:
                assert (await ask(port, authority.client(name, issued.ca))).status == 200
            else:
                with pytest.raises(REFUSED):
                    await ask(port, authority.client(name, issued.ca))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", ["https", "ssl"])
async def test_a_client_that_is_revoked_later_cannot_resume_its_session(
    certificates: Callable[..., Any], staff: ClientAuthority, backends: Backends, version: ssl.TLSVersion, scheme: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """OpenSSL does not verify the client of a session again. `ssl` listeners, too: the fault of CVE-2026-28755."""
    monkeypatch.setattr(tls_watch, "PERIOD_S", 0.01)
    caplog.set_level(logging.INFO, "npserver.tls")
    issued, versions = certificates(), {"minimum_version": version, "maximum_version": version}
    joe, ann = (staff.client(name, issued.ca, **versions) for name in ("joe", "ann"))
    staff.revoke()
    listener = f"{scheme}://127.0.0.1:0"
    forward = {"handler": "forward", "listener": listener, "forward_to": f"tcp://127.0.0.1:{backends.http('up')}"}
    config = {"listen": [listener], **({"dispatch": [forward]} if scheme == "ssl" else {})}
    async with https(guarded(issued, staff), **config) as port:
        sessions = []
        for one in (joe, ann):
            first = await ask(port, one)
            assert (await ask(port, one, session=first.tls.session)).is_resumed
            sessions.append(first.tls.session)
        staff.revoke("joe")
        await until_said(caplog, f"{staff.crl} changed and was loaded")
        with pytest.raises(REFUSED):
            await ask(port, joe, session=sessions[0])
        with pytest.raises(REFUSED):
            await ask(port, joe)
        again = await ask(port, ann, session=sessions[1])
        assert (again.status, again.is_resumed) == (200, False)
        assert (await ask(port, ann, session=again.tls.session)).is_resumed


async def test_a_session_outlives_the_renewal_of_the_certificate(
    certificates: Callable[..., Any], staff: ClientAuthority, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Its client has been verified by the same authority and list."""
    monkeypatch.setattr(tls_watch, "PERIOD_S", 0.01)
    caplog.set_level(logging.INFO, "npserver.tls")
    issued, renewed = certificates("old.example"), certificates("new.example")
    staff.revoke("joe")
    ann = staff.client("ann", issued.ca)
    async with https(guarded(issued, staff)) as port:
        first = await ask(port, ann)
        for part in ("cert", "key"):
            getattr(renewed, part).replace(getattr(issued, part))
        await until_said(caplog, "changed and was loaded")
        assert (await ask(port, ann, session=first.tls.session)).is_resumed
        assert (await ask(port, ann)).names == ("new.example",)


async def test_a_changed_list_that_cannot_be_used_lets_nobody_in(
    certificates: Callable[..., Any], staff: ClientAuthority, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(tls_watch, "PERIOD_S", 0.01)
    issued = certificates()
    staff.revoke("joe")
    async with https(guarded(issued, staff)) as port:
        for content in ("", "half a fi", staff.ca.read_text()):
            staff.crl.write_text(content)
            await until_said(caplog, f"{staff.crl} changed but cannot be used, the old one stays")
            caplog.clear()
            with pytest.raises(REFUSED):
                await ask(port, staff.client("joe", issued.ca))
            assert (await ask(port, staff.client("ann", issued.ca))).status == 200


async def test_the_log_says_when_a_list_expires(
    certificates: Callable[..., Any], staff: ClientAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """By a clock that is moved: the watch looks before and after."""
    context, issued, now = make_context(), certificates(), datetime.now(UTC)
    staff.revoke(issued=now - timedelta(days=1), until=now + timedelta(days=7))
    files = (str(issued.cert), str(issued.key), str(staff.ca))
    CERTIFICATES.of(context).load(CertificateSettings(*files, client_crl=(str(staff.crl),)))
    at = now.timestamp()
    context.wall_clock = lambda: at
    watch = CertificateWatch(context)
    said = []
    for days in (1, 4.9, 5.1, 6.9, 7.1, 9):
        at = now.timestamp() + days * 86400
        caplog.clear()
        watch.look()
        said.append([one.getMessage() for one in caplog.records if one.levelno == logging.WARNING])
    before, after = said[2], said[4]
    assert [bool(one) for one in said] == [False, False, True, False, True, False]
    refused = "all clients of 'O=Staff CA,OU=Testing CA"
    assert f"{staff.crl} expires on {now + timedelta(days=7):%Y-%m-%d}" in before[0] and refused in before[0]
    assert f"{staff.crl} expired on {now + timedelta(days=7):%Y-%m-%d}" in after[0] and refused in after[0]
    assert before[0].endswith("(client_crl)") and after[0].endswith("(client_crl)")
    staff.revoke("joe", issued=now - timedelta(days=9), until=now - timedelta(days=1))
    caplog.clear()
    watch.look()
    assert f"{staff.crl} expired on" in caplog.text


async def test_no_way_around_by_the_host_header(certificates: Callable[..., Any], staff: ClientAuthority) -> None:
    """A host that looks at a revocation list, and one with the same authority that looks at none (421)."""
    strict, lax = certificates("strict.example"), certificates("lax.example")
    staff.revoke("joe")
    async with https([guarded(strict, staff), {**lax.config, "client_ca": str(staff.ca)}]) as port:
        joe = staff.client("joe", strict.ca)
        assert (await ask(port, joe, "lax.example")).status == 200
        assert (await ask(port, joe, "lax.example", host="strict.example")).status == 421


async def until_said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    await until(lambda: text in caplog.text)
