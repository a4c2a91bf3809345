"""Certificates from a real CA: pebble asks, npserver answers its challenges.

Covers `tls.acme.client.acme_client` and `tls.acme.client.account`.
"""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

from npserver.tls.acme.challenges import Challenge, ChallengeKind
from npserver.tls.acme.client.account import Account, store_name
from npserver.tls.acme.client.acme_client import AcmeClient
from npserver.tls.acme.client.certificate import IssuedCertificate, PrivateKey, make_key
from npserver.tls.acme.problems import AcmeError, NameProblem
from npserver.tls.acme.settings import AcmeSettings, KeyType
from tests.stage.acme import MAC_KEY, PublishingSolver, proving, settings, store
from tests.stage.faulty_ca import changed, running_faulty_ca
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.programs import needs

pytestmark = needs("pebble")

HTTP, TLS, DNS = ChallengeKind.HTTP_01, ChallengeKind.TLS_ALPN_01, ChallengeKind.DNS_01

Serving = dict[str, str]


def client(pebble: Pebble, directory: Path, **more: Any) -> AcmeClient:
    return AcmeClient(settings(pebble, **more), store(directory / "store"))


def pem_of(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def leaf_of(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_pem_x509_certificates(issued.chain)[0]


def names_of(issued: IssuedCertificate) -> set[str]:
    names = leaf_of(issued).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def verify(issued: IssuedCertificate, pebble: Pebble, name: str) -> None:
    """Verify the chain up to pebble's root, as a browser would."""
    roots = Store([x509.load_pem_x509_certificate(pebble.root().encode())])
    subject = x509.DNSName(name) if name.endswith("test") else x509.IPAddress(ip_address(name))
    leaf, *chain = x509.load_pem_x509_certificates(issued.chain)
    PolicyBuilder().store(roots).build_server_verifier(subject).verify(leaf, chain)
    assert load_pem_private_key(issued.key, None).public_key() == leaf.public_key()


WITH_RSA = {"directory": "x", "key": pem_of(make_key(KeyType.RSA2048))}


class TestChallenges:
    @pytest.mark.parametrize("kind", [HTTP, TLS, DNS], ids=lambda kind: kind.value)
    async def test_each_proves_a_name(
        self, pebble: Pebble, tmp_path: Path, serving: Serving, kind: ChallengeKind
    ) -> None:
        async with proving(pebble, serving, kind) as solver:
            issued = await client(pebble, tmp_path).order(["www.example.test"], solver)
        verify(issued, pebble, "www.example.test")
        assert solver.events == ["+www.example.test", "-www.example.test"]
        assert issued.not_before < issued.not_after
        assert issued.id.count(".") == 1

    @pytest.mark.parametrize("kind", [HTTP, TLS], ids=lambda kind: kind.value)
    async def test_two_prove_an_address(
        self, pebble: Pebble, tmp_path: Path, serving: Serving, kind: ChallengeKind
    ) -> None:
        """RFC 8738: by the request to the address, or by a ClientHello with its name in the reverse zone."""
        async with proving(pebble, serving, kind) as solver:
            issued = await client(pebble, tmp_path).order(["127.0.0.1"], solver)
        verify(issued, pebble, "127.0.0.1")

    async def test_a_wildcard_and_its_domain_are_proved_by_two_records_of_one_name(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        async with proving(pebble, serving, DNS) as solver:
            issued = await client(pebble, tmp_path).order(["example.test", "*.example.test"], solver)
        assert names_of(issued) == {"example.test", "*.example.test"}
        verify(issued, pebble, "any.example.test")
        assert solver.events == ["+example.test"] * 2 + ["-example.test"] * 2

    async def test_a_record_behind_an_alias_is_found(self, pebble: Pebble, tmp_path: Path, serving: Serving) -> None:
        """`_acme-challenge.alias.example.test` is a CNAME to a name of another zone."""
        async with proving(pebble, serving, DNS) as solver:
            verify(
                await client(pebble, tmp_path).order(["*.alias.example.test"], solver), pebble, "a.alias.example.test"
            )

    async def test_each_name_has_the_first_challenge_that_can_be(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        """In one order: a wildcard by DNS although HTTP is preferred, an address not by DNS."""
        names = ["a.example.test", "*.b.example.test", "127.0.0.1"]
        async with proving(pebble, serving, HTTP, DNS) as solver:
            issued = await client(pebble, tmp_path).order(names, solver)
        assert names_of(issued) == set(names)
        assert issued.names == tuple(names)

    async def test_without_one_that_can_be_the_error_names_both_sides(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        async with proving(pebble, serving, HTTP, TLS) as solver:
            with pytest.raises(AcmeError) as caught:
                await client(pebble, tmp_path).order(["*.example.test"], solver)
        assert str(caught.value) == (
            "*.example.test: no challenge in common: ours are http-01, tls-alpn-01, the CA offers 'dns-01'"
        )
        assert (caught.value.kind, caught.value.is_of_ca) == ("noChallenge", False)
        assert solver.events == []


@pytest.mark.parametrize(
    ("key_type", "expected"),
    [(KeyType.EC256, 256), (KeyType.EC384, 384), (KeyType.RSA2048, 2048), (KeyType.RSA4096, 4096)],
    ids=lambda one: one.value if isinstance(one, KeyType) else "",
)
async def test_the_key_is_of_the_type_configured(
    pebble: Pebble, tmp_path: Path, serving: Serving, key_type: KeyType, expected: int
) -> None:
    async with proving(pebble, serving) as solver:
        issued = await client(pebble, tmp_path, key_type=key_type).order(["www.example.test"], solver)
    key = load_pem_private_key(issued.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey if key_type.value.startswith("ec") else rsa.RSAPrivateKey)
    assert key.key_size == expected
    verify(issued, pebble, "www.example.test")


class TestAccount:
    async def test_it_is_made_once_and_kept(
        self, pebble: Pebble, tmp_path: Path, serving: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        before = registrations(pebble)
        async with proving(pebble, serving) as solver:
            issued = [await client(pebble, tmp_path).order(["www.example.test"], solver) for _ in range(2)]
        assert registrations(pebble) == before + 1
        terms = (
            f"account registered at {pebble.url}, whose terms of service are data:text/plain,Do%20what%20thou%20wilt"
        )
        assert [one.message for one in caplog.records if one.name == "npserver.tls"] == [terms]
        assert self.kept(pebble, tmp_path).url.startswith("https://")
        assert leaf_of(issued[0]).public_key() != leaf_of(issued[1]).public_key()

    async def test_orders_that_begin_at_once_use_one(self, pebble: Pebble, tmp_path: Path, serving: Serving) -> None:
        before = registrations(pebble)
        async with proving(pebble, serving, DNS) as solver:
            one = client(pebble, tmp_path)
            await asyncio.gather(*(one.order([f"{letter}.example.test"], solver) for letter in "abc"))
        assert registrations(pebble) == before + 1

    async def test_its_address_is_changed_with_the_config(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        async with proving(pebble, serving) as solver:
            for email in ("old@example.test", "new@example.test", ""):
                await client(pebble, tmp_path, email=email).order(["www.example.test"], solver)
                assert self.kept(pebble, tmp_path).email == email

    async def test_a_ca_that_forgot_it_gets_it_again(
        self, pebble: Pebble, tmp_path: Path, serving: Serving, authority: trustme.CA
    ) -> None:
        """The CA was set up again: the account's URL means nothing to it."""
        async with proving(pebble, serving) as solver:
            await client(pebble, tmp_path).order(["www.example.test"], solver)
            account = self.kept(pebble, tmp_path)
            account.url = account.url[:-1] + "0000"
            await store(tmp_path / "store").put(store_name(pebble.url), json.dumps(vars_of(account)).encode())
            await client(pebble, tmp_path).order(["www.example.test"], solver)
        assert self.kept(pebble, tmp_path).url != account.url

    async def test_the_ca_knows_it_by_its_key_when_only_its_url_was_lost(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        """We died after the registration, before its answer was kept (RFC 8555 §7.3.1)."""
        async with proving(pebble, serving) as solver:
            await client(pebble, tmp_path).order(["www.example.test"], solver)
            account = self.kept(pebble, tmp_path)
            url, account.url = account.url, ""
            await store(tmp_path / "store").put(store_name(pebble.url), json.dumps(vars_of(account)).encode())
            await client(pebble, tmp_path).order(["www.example.test"], solver)
        assert self.kept(pebble, tmp_path).url == url

    @pytest.mark.parametrize(
        "kept",
        [b"", b"{", b'{"directory": "x", "key": "PRIVATE"}', b"\xff" * 100, json.dumps(WITH_RSA).encode()],
        ids=["empty", "cut off", "no key", "no text", "a key of RSA"],
    )
    async def test_a_damaged_one_is_an_error_and_stays(
        self, pebble: Pebble, tmp_path: Path, serving: Serving, kept: bytes
    ) -> None:
        name = store_name(pebble.url)
        await store(tmp_path / "store").put(name, kept)
        async with proving(pebble, serving) as solver:
            with pytest.raises(AcmeError, match=f"^the account {name} in the store is damaged: remove it$") as caught:
                await client(pebble, tmp_path).order(["www.example.test"], solver)
        assert caught.value.__cause__ is None
        assert await store(tmp_path / "store").get(name) == kept

    def kept(self, pebble: Pebble, directory: Path) -> Account:
        file = directory / "store" / store_name(pebble.url)
        return Account(**json.loads(file.read_bytes()))


def registrations(pebble: Pebble) -> int:
    """Return how many times pebble was asked for a new account."""
    return pebble.log.count("POST /sign-me-up")


def vars_of(account: Account) -> dict[str, str]:
    return {name: getattr(account, name) for name in account.__struct_fields__}


REFUSES = "^registering the account: the CA refuses the external account:"


class TestExternalAccount:
    async def test_with_its_key_the_account_is_registered(
        self, strict: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        async with proving(strict, serving) as solver:
            one = client(strict, tmp_path, eab_key_id="kid", eab_key=MAC_KEY)
            verify(await one.order(["www.example.test"], solver), strict, "www.example.test")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "requires an external account: write its 'eab_key_id' and 'eab_key'$"),
            ({"eab_key_id": "kid", "eab_key": "d3Jvbmc"}, f"{REFUSES} .*: are 'eab_key_id' and 'eab_key' right\\?$"),
            ({"eab_key_id": "other", "eab_key": MAC_KEY}, f"{REFUSES} .*: are 'eab_key_id' and 'eab_key' right\\?$"),
        ],
        ids=["none", "wrong key", "wrong key id"],
    )
    async def test_without_it_the_error_says_what_to_do(
        self, strict: Pebble, tmp_path: Path, serving: Serving, given: dict[str, str], message: str
    ) -> None:
        async with proving(strict, serving) as solver:
            with pytest.raises(AcmeError, match=message) as caught:
                await client(strict, tmp_path, **given).order(["www.example.test"], solver)
        assert given.get("eab_key", MAC_KEY) not in str(caught.value)

    async def test_a_ca_that_requires_none_is_not_told_of_it(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        """It would refuse the key id, which is that of another CA in `directory`."""
        async with proving(pebble, serving) as solver:
            one = client(pebble, tmp_path, eab_key_id="kid", eab_key=MAC_KEY)
            verify(await one.order(["www.example.test"], solver), pebble, "www.example.test")

    @pytest.mark.parametrize("has_key", [True, False])
    async def test_that_it_is_required_need_not_be_in_the_directory(
        self, strict: Pebble, tmp_path: Path, serving: Serving, authority: trustme.CA, has_key: bool
    ) -> None:
        """RFC 8555 §7.1.1: the field is optional. The CA then refuses the first registration."""
        key = {"eab_key_id": "kid", "eab_key": MAC_KEY} if has_key else {}
        async with proving(strict, serving) as solver, running_faulty_ca(strict, authority, tmp_path) as ca:
            ca.answers["/dir"] = changed(ca, lambda one: one["meta"].pop("externalAccountRequired"))
            one = AcmeClient(settings(strict, directory=ca.url, **key), store(tmp_path / "store"))
            if has_key:
                await one.order(["www.example.test"], solver)
            else:
                with pytest.raises(
                    AcmeError, match=r"requires an external account: write its 'eab_key_id' and"
                ) as caught:
                    await one.order(["www.example.test"], solver)
                assert caught.value.kind == "externalAccountRequired"
            sent = ["externalAccountBinding" in one.payload for one in ca.seen if one.path == "/sign-me-up"]
        assert sent == [False, True] if has_key else [False]


async def test_a_wrong_answer_is_an_error_that_names_the_name_and_the_reason(
    pebble: Pebble, tmp_path: Path, serving: Serving
) -> None:
    async with proving(pebble, serving, HTTP) as solver:
        solver.spoil = True
        with pytest.raises(AcmeError) as caught:
            await client(pebble, tmp_path).order(["www.example.test", "127.0.0.1"], solver)
        problems = {one.name: one for one in caught.value.names}
        assert problems.keys() == {"www.example.test", "127.0.0.1"}
        assert all(one.kind == "unauthorized" and "wrong" in one.detail for one in problems.values())
        assert caught.value.kind == "unauthorized"
        assert not caught.value.is_of_ca
        assert str(caught.value) == f"the CA could not validate {'; '.join(map(str, caught.value.names))}"
        assert sorted(solver.events) == ["+127.0.0.1", "+www.example.test", "-127.0.0.1", "-www.example.test"]
        solver.spoil = False
        await client(pebble, tmp_path).order(["www.example.test", "127.0.0.1"], solver)


async def test_a_name_that_does_not_exist_is_an_error_with_the_cas_reason(
    pebble: Pebble, tmp_path: Path, serving: Serving
) -> None:
    async with proving(pebble, serving, DNS) as solver:
        with pytest.raises(AcmeError) as caught:
            await client(pebble, tmp_path).order(["www.absent.invalid"], solver)
    (problem,) = caught.value.names
    assert isinstance(problem, NameProblem)
    assert (problem.name, problem.kind) == ("www.absent.invalid", "unauthorized")


@pytest.mark.parametrize("names", [[], [f"{number}.example.test" for number in range(101)]], ids=["none", "101"])
async def test_a_certificate_has_at_most_a_hundred_names(tmp_path: Path, names: list[str]) -> None:
    solver = PublishingSolver(None, ())  # type: ignore[arg-type]  # never asked
    with pytest.raises(AcmeError, match=f"between 1 and 100 names, not {len(names)}$"):
        await AcmeClient(AcmeSettings(), store(tmp_path)).order(names, solver)


@pytest.mark.parametrize(
    "environment",
    [{"PEBBLE_WFE_NONCEREJECT": "50"}, {"PEBBLE_AUTHZREUSE": "100"}, {"PEBBLE_CHAIN_LENGTH": "3"}],
    ids=["half of all nonces are refused", "valid authorisations come again", "two intermediate certificates more"],
)
async def test_what_a_ca_may_do_makes_no_difference(
    tmp_path: Path, authority: trustme.CA, serving: Serving, environment: dict[str, str]
) -> None:
    with running_pebble(tmp_path / "pebble", authority, **environment) as pebble:
        async with proving(pebble, serving) as solver:
            one = client(pebble, tmp_path)
            for _ in range(2):
                issued = await one.order(["a.example.test", "b.example.test"], solver)
                verify(issued, pebble, "a.example.test")
    shown = len([event for event in solver.events if event[0] == "+"])
    assert shown == 2 if "PEBBLE_AUTHZREUSE" in environment else shown > 2
    assert x509.load_pem_x509_certificates(issued.chain)[1:]


class TestSolver:
    async def test_one_that_fails_takes_back_what_it_showed(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        async with proving(pebble, serving, HTTP) as solver:
            present, failure = solver.present, AcmeError("worker 1 does not take the answer", kind="noChallenge")

            async def fail_second(challenge: Challenge) -> None:
                await present(challenge)
                if len(solver.events) == 2:
                    raise failure

            solver.present = fail_second  # type: ignore[method-assign]
            with pytest.raises(AcmeError) as caught:
                await client(pebble, tmp_path).order(["a.example.test", "b.example.test", "c.example.test"], solver)
        assert caught.value is failure
        shown = {event[1:] for event in solver.events if event[0] == "+"}
        assert len(shown) == 2
        assert {event[1:] for event in solver.events if event[0] == "-"} == shown

    async def test_one_that_waits_for_ever_is_cancelled_and_takes_back(
        self, pebble: Pebble, tmp_path: Path, serving: Serving
    ) -> None:
        async with proving(pebble, serving, DNS) as solver, asyncio.timeout(30):
            waits, present = asyncio.Event(), solver.present

            async def wait(challenge: Challenge) -> None:
                await present(challenge)
                waits.set()
                await asyncio.get_running_loop().create_future()

            solver.present = wait  # type: ignore[method-assign]
            order = asyncio.create_task(client(pebble, tmp_path).order(["a.example.test"], solver))
            await waits.wait()
            order.cancel()
            with pytest.raises(asyncio.CancelledError):
                await order
        assert solver.events == ["+a.example.test", "-a.example.test"]

    async def test_an_answer_that_cannot_be_taken_back_is_logged_and_the_certificate_used(
        self, pebble: Pebble, tmp_path: Path, serving: Serving, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with proving(pebble, serving, HTTP) as solver:

            async def fail(challenge: Challenge) -> None:
                raise AcmeError("the zone is gone", kind="noChallenge")

            solver.withdraw = fail  # type: ignore[method-assign]
            await client(pebble, tmp_path).order(["a.example.test"], solver)
        assert "cannot take back the http-01 challenge of a.example.test: the zone is gone" in caplog.text
