"""The keys of session tickets: derived from secrets, set in contexts of this Python, and where they cannot be set."""

from __future__ import annotations

import _ssl
import hmac
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.tls import certificates as tls_certificates
from npserver.tls import ticket_keys
from npserver.tls.config import CertificateSettings
from npserver.tls.store import CertificateStore
from npserver.tls.ticket_keys import ROTATION_S, TicketSecrets, derive, get_keys, set_keys
from tests.stage.authority import ClientAuthority

SECRET, IDENTITY = b"s" * 32, b"i" * 32


@pytest.fixture
def unknown_python(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this Python be one whose contexts are not known."""
    monkeypatch.setattr(ticket_keys, "KNOWN", set())
    ticket_keys._control.cache_clear()
    yield
    ticket_keys._control.cache_clear()


def settings_of(issued: Any, **more: Any) -> CertificateSettings:
    return CertificateSettings(str(issued.cert), str(issued.key), **more)


def test_keys_are_derived_from_the_secret_and_the_identity() -> None:
    keys = derive(SECRET, IDENTITY)
    assert len(keys) == 80 and keys == derive(SECRET, IDENTITY)
    pieces = {one[at : at + 16] for one in (keys, derive(b"t" * 32, IDENTITY), derive(SECRET, b"j" * 32))
              for at in range(0, 80, 16)}  # fmt: skip
    assert len(pieces) == 15
    assert keys[:64] == hmac.digest(SECRET, IDENTITY + b"\x01", "sha512")  # HKDF-Expand, RFC 5869 §2.3


def test_this_python_lets_keys_be_set() -> None:
    """A new version of Python is to be looked at, and added to `KNOWN`, when this fails."""
    context, other = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    before = get_keys(other)
    assert len(before) == 80 and get_keys(context) != before
    assert set_keys(context, derive(SECRET, IDENTITY))
    assert get_keys(context) == derive(SECRET, IDENTITY)
    assert get_keys(other) == before


def test_keys_of_another_size_are_not_set() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    before = get_keys(context)
    assert not set_keys(context, b"short")
    assert get_keys(context) == before


def test_each_certificate_has_keys_of_its_own(certificates: Callable[..., Any]) -> None:
    """By its settings, and the same in each process that has the secrets."""
    issued, store, other = certificates(), CertificateStore(), CertificateStore()
    published = json.loads(json.dumps(next_of(store)))
    store.take_secrets(published)
    other.take_secrets(published)
    variants = [{}, {"min_version": "1.3"}, {"client_ca": str(issued.ca)}, {"http1": True}]
    keys = [get_keys(store.load(settings_of(issued, **one)).context) for one in variants]
    assert len({one[:16] for one in keys}) == len(variants)
    assert keys == [get_keys(other.load(settings_of(issued, **one)).context) for one in variants]


def next_of(store: CertificateStore) -> dict[str, Any]:
    """Return the secrets that the controller publishes a day later."""
    value = store.next_secrets(store.secrets.made_at + ROTATION_S)
    assert value is not None
    return value


def test_secrets_are_replaced_when_they_are_a_day_old_or_from_the_future() -> None:
    secrets = TicketSecrets(made_at=1000.0)
    ages = (-1, 0, ROTATION_S - 1, ROTATION_S, 10 * ROTATION_S)
    assert [secrets.is_due(1000.0 + age) for age in ages] == [True, False, False, True, True]
    successor = secrets.successor(5000.0)
    assert (successor.previous, successor.made_at) == (secrets.current, 5000.0)
    assert successor.current not in (secrets.current, b"")
    assert len(successor.current) == 32
    assert successor.successor(6000.0).previous == successor.current


def test_secrets_are_not_shown() -> None:
    secrets = TicketSecrets().successor(1234.5)
    for secret in (secrets.current, secrets.previous):
        assert repr(secret)[2:-1] not in repr(secrets)
    assert repr(secrets) == "<TicketSecrets of 1234>"


def test_a_ticket_of_the_previous_keys_chooses_their_context(certificates: Callable[..., Any]) -> None:
    store = CertificateStore()
    one = store.load(settings_of(certificates()))
    first = get_keys(one.context)
    assert one.context_for(b"hello" + first[:16]) is one.context
    store.take_secrets(next_of(store))
    second = get_keys(one.context)
    assert second[:16] != first[:16]
    old = one.context_for(b"hello" + first[:16] + b"ticket")
    assert old is not one.context and get_keys(old) == first
    assert one.context_for(b"again" + first[:16]) is old
    assert one.context_for(b"hello" + second[:16]) is one.context
    assert one.context_for(b"hello" + first[:15]) is one.context
    store.take_secrets(next_of(store))
    assert one.context_for(b"hello" + first[:16]) is one.context, "two changes ago"
    assert get_keys(one.context_for(b"hello" + second[:16])) == second


def test_a_list_that_changes_while_it_is_loaded_changes_the_keys_at_the_next_look(
    certificates: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions of a context with the old list must not be resumed at one with the new list."""
    staff, store, load = ClientAuthority(tmp_path), CertificateStore(), tls_certificates._load
    staff.issue("joe")
    files = {"client_ca": str(staff.ca), "client_crl": (str(staff.revoke()),)}
    one = store.load(settings_of(certificates(), **files))

    def load_in_a_race(*arguments: Any) -> Any:
        loaded = load(*arguments)
        staff.revoke("joe")
        return loaded

    staff.revoke()
    with monkeypatch.context() as patched:
        patched.setattr(tls_certificates, "_load", load_in_a_race)
        assert store.refresh() == [one]
    with_old_list = get_keys(one.context)
    assert store.refresh() == [one]
    assert get_keys(one.context) != with_old_list


@pytest.mark.usefixtures("unknown_python")
def test_another_python_has_new_keys_all_the_same(certificates: Callable[..., Any]) -> None:
    """Contexts are not touched: the keys change by a new context."""
    store = CertificateStore()
    one = store.load(settings_of(certificates()))
    before = one.context
    assert (set_keys(before, derive(SECRET, IDENTITY)), get_keys(before)) == (False, b"")
    store.take_secrets(next_of(store))
    assert one.context is not before
    assert one.context_for(b"any hello") is one.context


def test_a_python_with_openssl_built_in_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a Python has no file of `_ssl`: what is found in the program could be another OpenSSL."""
    monkeypatch.delattr(_ssl, "__file__")
    ticket_keys._control.cache_clear()
    assert ticket_keys._control() is None
    monkeypatch.undo()
    ticket_keys._control.cache_clear()
    assert ticket_keys._control() is not None
