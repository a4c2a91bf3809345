"""Roots and certificates in a store: made once, used again, and what happens when a root is lost, damaged or old."""

from __future__ import annotations

import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from npserver.store.directory import DirectoryStore, finish
from npserver.store.files import StoreFiles
from npserver.tls import local_authority as module
from npserver.tls.local_authority import (
    LOCAL_ROOT,
    OTHER_ROOT,
    AuthorityError,
    LocalAuthority,
    Wanted,
    certificate_of,
    renewal_time,
)
from npserver.tls.x509 import Certificate, CertificateError, parse_pem

DAY_S = 86400.0
NOW = 1_800_000_000.0  # 2027-01-15
WANTED = Wanted(("nas.home", "10.0.0.1"), False, 7 * DAY_S)


class Kept:
    """A store in a directory, with the local authority."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = StoreFiles(str(directory))
        self.authority = LocalAuthority(DirectoryStore(self.files, in_threads=False), in_threads=False)

    def ensure(self, now: float = NOW, wanted: Wanted = WANTED) -> str:
        return finish(self.authority.ensure(wanted, now))

    def is_due(self, now: float, wanted: Wanted = WANTED) -> bool:
        return finish(self.authority.window(wanted, now)) is None

    def value(self, key: str = WANTED.key) -> bytes:
        value = self.files.read(key)
        assert value is not None
        return value

    def certificate(self, key: str = WANTED.key) -> Certificate:
        return parse_pem(self.value(key))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "store")


def at(when: datetime) -> float:
    return when.timestamp()


def test_a_certificate_and_its_root_are_made_once(kept: Kept) -> None:
    assert kept.ensure() == ""
    leaf, root = kept.value(), kept.value(LOCAL_ROOT)
    assert kept.ensure() == ""
    assert (kept.value(), kept.value(LOCAL_ROOT)) == (leaf, root)
    assert kept.certificate().names == ("nas.home", "10.0.0.1")
    assert at(kept.certificate().not_after) == NOW + 7 * DAY_S
    assert kept.files.read(OTHER_ROOT) is None
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(kept.files.path(WANTED.key))


def test_other_names_have_a_root_of_their_own(kept: Kept) -> None:
    kept.ensure(wanted=Wanted(("nas.home", "www.example.com"), False, DAY_S))
    assert kept.files.read(LOCAL_ROOT) is None
    assert b"PRIVATE KEY" in kept.value(OTHER_ROOT)
    assert b"PRIVATE KEY" not in certificate_of(kept.value(OTHER_ROOT))


@pytest.mark.parametrize(
    ("days", "is_due"), [(0, False), (4.6, False), (4.7, True), (6.9, True), (400, True), (-0.01, False), (-1, True)]
)
def test_it_is_renewed_at_two_thirds_and_when_the_clock_was_set(kept: Kept, days: float, is_due: bool) -> None:
    kept.ensure()
    assert kept.is_due(NOW + days * DAY_S) is is_due


def test_a_renewed_one_is_another(kept: Kept) -> None:
    kept.ensure()
    before = kept.value()
    finish(kept.authority.renew(WANTED, NOW + 5 * DAY_S))
    assert kept.value() != before
    assert not kept.is_due(NOW + 5 * DAY_S)
    assert at(kept.certificate().not_after) == NOW + 12 * DAY_S


def test_one_that_another_process_renewed_meanwhile_stays(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.ensure()
    make = module.make_leaf

    def slow(*arguments: object) -> bytes:
        kept.files.write(WANTED.key, b"of the other process")
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "make_leaf", slow)
    finish(kept.authority.renew(WANTED, NOW))
    assert kept.value() == b"of the other process"


def test_the_root_of_the_process_that_was_faster_counts(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    make = module.make_root
    first = make(LOCAL_ROOT, NOW)

    def slow(key: str, now: float) -> bytes:
        kept.files.write(LOCAL_ROOT, first)
        return make(key, now)

    monkeypatch.setattr(module, "make_root", slow)
    kept.ensure()
    assert kept.value(LOCAL_ROOT) == first
    assert kept.ensure() == ""


@pytest.mark.parametrize("damage", [b"", b"garbage", b"npserver: root x names nas.home 10.0.0.1\n"])
def test_a_damaged_certificate_is_made_again(kept: Kept, damage: bytes) -> None:
    kept.ensure()
    kept.files.write(WANTED.key, damage)
    assert kept.is_due(NOW)
    kept.ensure()
    assert kept.certificate().names == ("nas.home", "10.0.0.1")


def test_addresses_of_the_machine_change(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "machine_names", lambda: ("localhost", "10.0.0.1"))
    wanted = Wanted((), True, DAY_S)
    kept.ensure(wanted=wanted)
    assert not kept.is_due(NOW, wanted)
    monkeypatch.setattr(module, "machine_names", lambda: ("localhost", "10.0.0.2"))
    assert kept.is_due(NOW, wanted)
    kept.ensure(wanted=wanted)
    assert kept.certificate(wanted.key).names == ("localhost", "10.0.0.2")
    assert len(list((kept.directory / "authority/certificates").iterdir())) == 1


def test_a_lost_root_is_made_again_with_a_warning(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.ensure()
    before = kept.value()
    assert caplog.messages == []
    os.unlink(kept.directory / LOCAL_ROOT)
    assert kept.is_due(NOW)
    with caplog.at_level(logging.WARNING, "npserver.tls"):
        kept.ensure()
    assert caplog.messages == [
        "the root of the local authority is gone from the store (authority/local-names.pem): a new one is made",
        f"clients have to trust the new root, unless you restore the old one: {kept.authority.command(LOCAL_ROOT)}",
    ]
    assert caplog.messages[1].endswith(f": npserver cert -root local -store {kept.directory}")
    assert kept.value() != before, "it is signed by the new root"


def test_the_first_root_of_local_names_is_no_lost_one(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    """Where the store has certificates of other names, such as those used until a CA has issued its own."""
    kept.ensure(wanted=Wanted(("www.example.com",), False, DAY_S))
    kept.ensure()
    assert caplog.messages == []


@pytest.mark.parametrize("damage", [b"", b"garbage"])
def test_a_damaged_root_is_named_and_never_replaced(kept: Kept, damage: bytes) -> None:
    kept.ensure()
    kept.files.write(LOCAL_ROOT, damage)
    remedy = (
        f"{kept.directory}/{LOCAL_ROOT}: the root of the local authority is damaged (%s): restore the file from a "
        "backup, or remove it; a new root is then made, which clients have to trust"
    )
    assert kept.ensure() == remedy % "no certificate in it", "the certificate is still good"
    with pytest.raises(AuthorityError) as raised:
        kept.ensure(NOW + 8 * DAY_S)
    assert str(raised.value) == remedy % "key and certificate cannot be read"
    assert kept.value(LOCAL_ROOT) == damage
    with pytest.raises(CertificateError):
        certificate_of(damage)


def test_a_root_without_its_key_is_damaged(kept: Kept) -> None:
    kept.ensure()
    root = kept.value(LOCAL_ROOT)
    kept.files.write(LOCAL_ROOT, root.replace(b"\n", b"\nx", 1))
    with pytest.raises(AuthorityError, match="key and certificate cannot be read") as raised:
        kept.ensure(NOW + 8 * DAY_S)
    assert raised.value.__cause__ is None
    assert "PRIVATE" not in str(raised.value)


def test_an_expired_root_is_not_replaced_by_itself(kept: Kept) -> None:
    """The clock may be wrong; a new root would have to be trusted by all clients."""
    kept.ensure()
    before = kept.value(LOCAL_ROOT)
    with pytest.raises(AuthorityError, match=r"expired on 2037-01-12: if the clock is right, remove the file"):
        kept.ensure(NOW + 3660 * DAY_S)
    assert kept.value(LOCAL_ROOT) == before
    kept.ensure(NOW + 3648 * DAY_S)
    assert at(kept.certificate().not_after) == NOW + 3650 * DAY_S


def test_a_root_made_before_the_clock_was_set_is_good(kept: Kept) -> None:
    kept.ensure(1000.0)
    root = parse_pem(kept.value(LOCAL_ROOT))
    assert root.not_before < datetime(1970, 1, 2, tzinfo=UTC)
    assert root.not_after > datetime(2036, 1, 1, tzinfo=UTC)
    assert kept.is_due(NOW)
    before = kept.value(LOCAL_ROOT)
    kept.ensure(NOW)
    assert kept.value(LOCAL_ROOT) == before
    assert not kept.is_due(NOW)


def test_expired_certificates_that_no_config_needs_are_removed(kept: Kept) -> None:
    other, young = Wanted(("old.home",), False, DAY_S), Wanted(("young.home",), False, 30 * DAY_S)
    for one in (WANTED, other, young):
        kept.ensure(wanted=one)
    kept.files.write("authority/certificates/strange", b"?")
    finish(kept.authority.forget({WANTED.key}, NOW + 20 * DAY_S))
    assert finish(DirectoryStore(kept.files, in_threads=False).list("authority/certificates/")) == sorted(
        [WANTED.key, young.key, "authority/certificates/strange"]
    )


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("*.nas.home",), "_.nas.home"),
        ((), "this-machine"),
        (("::1",), "::1"),
        (("-a b",), "_a_b"),
        (("a" * 300,), "a" * 100),
    ],
)
def test_each_has_a_key_of_its_own(names: tuple[str, ...], label: str) -> None:
    key = Wanted(names, True, 5.0).key
    assert key.startswith(f"authority/certificates/{label}-")
    assert len({key, Wanted(names, False, 5.0).key, Wanted(names, True, 6.0).key}) == 3
    StoreFiles("/").path(key)


def test_the_time_of_renewal_is_between_begin_and_end(kept: Kept) -> None:
    kept.ensure()
    assert renewal_time(kept.certificate()) == NOW + 7 * DAY_S * 2 / 3
