"""Names and accounts of all kinds, and listeners that refuse everybody else: the whole program with pebble.

Covers `tls.acme.compile`, `tls.acme.client.account` and `web.challenges`.
"""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.stage.acme import MAC_KEY
from tests.stage.acme_program import ISSUED, certificate_at, config, state_of, wait_trusted
from tests.stage.clock import Clock
from tests.stage.faulty_ca import changed, faulty_ca_in_thread
from tests.stage.passwords import quick_hash
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

Start = Callable[..., Program]
NAME = "web.example.test"


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    """Yield a pebble whose accounts need an external account."""
    with running_pebble(tmp_path_factory.mktemp("ca") / "pebble", authority, {"kid": MAC_KEY}) as running:
        yield running


def key_of(certificate: bytes) -> str:
    key = x509.load_der_x509_certificate(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return f"{'ec' if isinstance(key, ec.EllipticCurvePublicKey) else 'rsa'}{key.key_size}"


def test_each_entry_has_its_own_kind_of_key_and_profile(
    program: Start, pebble: Pebble, authority: trustme.CA, tmp_path: Path
) -> None:
    """With an external account, which they share."""
    with faulty_ca_in_thread(pebble, authority, tmp_path) as ca:
        ca.answers["/dir"] = changed(ca, lambda one: one["meta"].update(profiles={"shortlived": "six days"}))
        kinds = {kind: f"{kind}.example.test" for kind in ("ec256", "ec384", "rsa2048", "rsa4096")}
        made = config(pebble, tmp_path, *kinds.values(), directory=ca.url, eab_key_id="kid", eab_key=MAC_KEY)
        acme = made["tls"]["acme"]
        profiles = {"ec384": {"profile": "shortlived"}}
        made["tls"] = [
            {"acme": {**acme, "key_type": kind, **profiles.get(kind, {})}, "names": [host]}
            for kind, host in kinds.items()
        ]
        one = program(config=made)
        for host in kinds.values():
            one.wait_for(ISSUED.format(host), 30)
            wait_trusted(one, pebble, host)
        assert {kind: key_of(certificate_at(pebble.tls_port, host)) for kind, host in kinds.items()} == {
            kind: kind for kind in kinds
        }
        orders = [request.payload for request in ca.seen if request.path == "/order-plz"]
        assert {one["identifiers"][0]["value"]: one.get("profile") for one in orders} == {
            host: "shortlived" if kind == "ec384" else None for kind, host in kinds.items()
        }
        assert ca.paths().count("/sign-me-up") == 1
        assert MAC_KEY not in one.errors + one.output
        one.stop()


@pytest.mark.parametrize("way", ["reload", "start"])
def test_an_external_account_that_is_missing_is_told_and_once_it_is_there_tried_at_once(
    program: Start, pebble: Pebble, tmp_path: Path, way: str
) -> None:
    """A start without a change says when the next attempt is due, and why the last one has failed."""
    bad = config(pebble, tmp_path, NAME, workers=0)
    good = config(pebble, tmp_path, NAME, workers=0, eab_key_id="kid", eab_key=MAC_KEY)
    reason = r"registering the account: .* requires an external account: write its 'eab_key_id' and 'eab_key'"
    one = program(config=bad)
    one.wait_for(rf"no certificate for {NAME}: {reason}; next attempt in [56] min \(tls\.acme\)$")
    assert one.errors.count(f"no certificate for {NAME} yet") == 1
    one.stop()
    if way == "start":
        one = program(config=good)
    else:
        one = program(config=bad)
        one.wait_for(
            rf"no certificate for {NAME} yet: one of the local authority is used; next attempt in [5-7] min, as the "
            rf"last one has failed: {reason} \(tls\.acme\)$"
        )
        one.configure(good)
        one.send_signal(signal.SIGHUP)
    one.wait_for(ISSUED.format(NAME), 30)
    wait_trusted(one, pebble, NAME)
    one.stop()
    assert state_of(tmp_path / "store", NAME)["failures"]["count"] == 0


@pytest.mark.parametrize("kind", ["http", "tls-alpn"])
def test_addresses_of_both_families_have_one_certificate(
    program: Start, pebble: Pebble, tmp_path: Path, kind: str
) -> None:
    """A client that asks for an address sends no server name, so that it can be shown only one."""
    made = config(pebble, tmp_path, NAME, challenge=[kind], eab_key_id="kid", eab_key=MAC_KEY)
    made["listen"] += [f"http://[::1]:{pebble.http_port}", f"https://[::1]:{pebble.tls_port}"]
    made["tls"]["names"] = ["127.0.0.1", "0:0::1"]
    made["dispatch"][0] = {"handler": "respond", "body": "hello"}
    one = program(config=made)
    one.wait_for(ISSUED.format("127.0.0.1, ::1"), 30)
    context = ssl.create_default_context(cadata=pebble.root())

    def is_shown(address: str) -> bool:
        try:
            with socket.create_connection((address, pebble.tls_port), 30) as plain:
                context.wrap_socket(plain, server_hostname=address).close()
        except ssl.SSLCertVerificationError:
            return False
        return True

    one.wait_until(lambda: all(is_shown(one) for one in ("127.0.0.1", "::1") * 6), "the certificate of the CA", 30)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    """Yield a pebble that registers everybody."""
    with running_pebble(tmp_path_factory.mktemp("plain") / "pebble", authority) as running:
        yield running


PASSWORD = quick_hash("secret")
GUARDS: dict[str, dict[str, Any]] = {
    "redirect": {"handler": "redirect", "to": "https://$host$path$query"},
    "allow": {"handler": "respond", "body": "x", "allow": "192.0.2.0/24"},
    "password": {"handler": "respond", "body": "x", "basic_auth": {"users": {"ann": PASSWORD}}},
    "deny": {"handler": "respond", "body": "x", "deny": ["0.0.0.0/0", "::/0"]},
}


def test_rules_that_refuse_everybody_answer_the_ca(program: Start, plain: Pebble, tmp_path: Path) -> None:
    hosts = {guard: f"{guard}.example.test" for guard in GUARDS}
    made = config(plain, tmp_path, *hosts.values(), challenge=["http"])
    for rule in made["dispatch"][: len(hosts)]:
        rule["listener"] = "https"
    made["dispatch"] += [{**rule, "host": hosts[guard], "listener": "http"} for guard, rule in GUARDS.items()]
    one = program(config=made)
    for guard, host in hosts.items():
        one.wait_for(ISSUED.format(host), 30)
        connection = HTTPConnection("127.0.0.1", plain.http_port, timeout=30)
        connection.request("GET", "/.well-known/acme-challenge/other", headers={"Host": host})
        with closing(connection):
            assert connection.getresponse().status == {"redirect": 308, "password": 401}.get(guard, 403)


def test_a_server_that_is_full_tells_the_ca_so_and_tries_again_later(
    program: Start, plain: Pebble, tmp_path: Path
) -> None:
    clock = Clock(tmp_path)
    made = config(plain, tmp_path, NAME, challenge=["http"])
    one = program(config={**made, "limits": {"max_connections": 3}}, env=clock.environment, wait=False)
    with ExitStack() as full:
        one.wait_ready()
        for _ in range(3):
            full.enter_context(socket.create_connection(("127.0.0.1", plain.http_port), 30)).sendall(b"GET / HT")
        one.wait_for(rf"no certificate for {NAME}: the CA could not validate {NAME}: .*503.*; next attempt in", 30)
    clock.set("+10m")
    one.wait_for(ISSUED.format(NAME), 30)


def test_handshakes_of_a_challenge_that_hang_are_ended(program: Start, plain: Pebble, tmp_path: Path) -> None:
    """Before the certificate is shown or after; in the end all is as before (Traefik #12516 kept them for ever)."""
    made = config(plain, tmp_path, NAME, challenge=["tls-alpn"])
    one = program(config={**made, "timeouts": {"tls_handshake": 0.5}})
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["acme-tls/1"])
    with ExitStack() as hanging:
        silent = [hanging.enter_context(hello(plain.tls_port, context)) for _ in range(20)]
        one.wait_for(ISSUED.format(NAME), 30)
        wait_trusted(one, plain, NAME)
        for end in silent:
            while end.recv(65536):
                pass


def hello(port: int, context: ssl.SSLContext) -> socket.socket:
    """Return a connection on which a ClientHello was sent."""
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=NAME).do_handshake()
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(out.read())
    return connection
