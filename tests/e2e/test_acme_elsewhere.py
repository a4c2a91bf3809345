"""Certificates for names in the DNS of others: the whole program, pebble as the CA, BIND as that DNS.

Covers `tls.acme.dns.places`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stage.acme_program import ISSUED, wait_trusted
from tests.stage.asking import refuses
from tests.stage.named import KEYS, REFUSED, UPDATED, Named, running_named
from tests.stage.pebble import Pebble
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble", "named")

Start = Callable[..., Program]
ALIAS = "acme.ours.test"
ALIASED = ("web.elsewhere.test", "shop.elsewhere.test", "elsewhere.test")
#: CNAMEs that lead from one zone of BIND to another, for updates at an alias.
TO_UPDATED = "txt.elsewhere.test"
MOVED = "moved.refused.test"


@pytest.fixture(scope="module")
def our_port() -> int:
    """Where npserver answers DNS."""
    return free_port()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, pebble: Pebble, our_port: int) -> Iterator[Named]:
    """BIND, as the resolver that pebble asks, and as the server of `elsewhere.test`."""
    aliases = [(f"_acme-challenge.{name}", ALIAS) for name in ALIASED] + [(f"_acme-challenge.{MOVED}", TO_UPDATED)]
    directory = tmp_path_factory.mktemp("dns") / "named"
    with running_named(directory, pebble.dns_port, our_port, aliases) as running:
        yield running


def config(pebble: Pebble, our_port: int, tmp_path: Path, *hosts: str, **acme: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "store": str(tmp_path / "store"),
        "listen": [
            {"name": "https", "uri": f"https://127.0.0.1:{pebble.tls_port}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{our_port}"},
        ],
        "tls": {"acme": {"directory": pebble.url, "ca": str(pebble.ca), **acme}},
        "dns_zones": ["ours.test"],
        "dns": {"ours.test": {"A": "127.0.0.1"}, "_acme-challenge.inner.ours.test": {"CNAME": "own.ours.test"}},
        "dispatch": [
            {"listener": "https", "handler": "respond", "host": list(hosts), "body": "hello"},
            {"listener": "dns", "handler": "dns"},
        ],
    }


def test_names_elsewhere_are_proved_at_an_alias_in_our_zone(
    program: Start, pebble: Pebble, named: Named, our_port: int, tmp_path: Path
) -> None:
    """Several share it at a time; a name in a zone of ours is answered there; CNAMEs of our own are followed."""
    hosts = [ALIASED[0], ALIASED[1], f"*.{ALIASED[2]}", ALIASED[2], "plain.ours.test", "inner.ours.test"]
    made = config(pebble, our_port, tmp_path, *hosts)
    aliased = {**made["tls"]["acme"], "dns_alias": ALIAS}
    made["tls"] = [{"acme": aliased, "names": hosts[:5]}, {**made["tls"], "names": hosts[5:]}]
    one = program(config=made)
    for host in hosts[2:]:  # the wildcard has the first two
        one.wait_for(ISSUED.format(host.replace("*", r"\*")), 30)
    for host in hosts:
        name = host.replace("*", "any")
        wait_trusted(one, pebble, name)


def test_a_cname_that_is_missing_is_named(
    program: Start, pebble: Pebble, named: Named, our_port: int, tmp_path: Path
) -> None:
    one = program(config=config(pebble, our_port, tmp_path, "none.elsewhere.test", dns_alias=ALIAS))
    line = one.wait_for(r"no certificate for none\.elsewhere\.test: .*", 30)[0]
    assert "_acme-challenge.none.elsewhere.test must be a CNAME of acme.ours.test (dns_alias)" in line
    assert line.endswith("(tls.acme)")


def update(named: Named, **more: Any) -> dict[str, Any]:
    """Return the value of `dns_update` for BIND."""
    algorithm, secret = KEYS["npserver"]
    known = {"key_name": "npserver", "key": secret, "algorithm": algorithm}
    return {"server": f"127.0.0.1:{named.port}", "zone": UPDATED, **known, **more}


def test_names_elsewhere_are_proved_by_updates(
    program: Start, pebble: Pebble, named: Named, our_port: int, tmp_path: Path
) -> None:
    """A plain name and a wildcard at a time; and at an alias, by a key in a file as `tsig-keygen` writes it."""
    algorithm, secret = KEYS["long"]
    (tmp_path / "long.key").write_text(f'key "long" {{\n\talgorithm {algorithm};\n\tsecret "{secret}";\n}};\n')
    by_file = {**update(named), "key_file": "long.key"}
    for name in ("key", "key_name", "algorithm"):
        del by_file[name]
    hosts = ["plain.elsewhere.test", "*.plain.elsewhere.test", MOVED]
    made = config(pebble, our_port, tmp_path, *hosts)
    acme = made["tls"]["acme"]
    made["tls"] = [
        {"acme": {**acme, "dns_update": update(named)}, "names": hosts[:2]},
        {"acme": {**acme, "dns_update": by_file, "dns_alias": TO_UPDATED}, "names": hosts[2:]},
    ]
    one = program(config=made)
    for host in hosts:
        one.wait_for(ISSUED.format(host.replace("*", r"\*")), 30)
        name = host.replace("*", "any")
        wait_trusted(one, pebble, name)
    for name in ("_acme-challenge.plain.elsewhere.test", TO_UPDATED):
        assert named.texts(name) == []
    assert not any(secret in one.errors for _, secret in KEYS.values())


def test_why_an_update_is_refused_is_told_with_the_key(
    program: Start, pebble: Pebble, named: Named, our_port: int, tmp_path: Path
) -> None:
    reasons = {
        f"wrong.{UPDATED}": (update(named, key="d3Jvbmc="), r"has another secret .* \(BADSIG, dns_update\.key\)"),
        f"x.{REFUSED}": (update(named, zone=REFUSED), r"does not let the key .* \(REFUSED, dns_update\.key_name\)"),
        f"down.{UPDATED}": (
            update(named, server=f"127.0.0.1:{free_port()}", timeout=0.3),
            r"cannot be reached: connection refused; tried for 0\.3 s \(dns_update\.timeout\)",
        ),
    }
    made = config(pebble, our_port, tmp_path, *reasons)
    made["tls"] = [
        {"acme": {**made["tls"]["acme"], "dns_update": section}, "names": [host]}
        for host, (section, _) in reasons.items()
    ]
    one = program(config=made)
    for host, (_, reason) in reasons.items():
        line = one.wait_for(rf"no certificate for {host}: name server 127\.0\.0\.1 port \d+ {reason}.*", 30)[0]
        assert line.endswith(".acme)")
    assert "cannot take back" not in one.errors
    assert "d3Jvbmc" not in one.errors


def test_a_stop_amid_orders_removes_their_records_at_once(
    program: Start, pebble: Pebble, named: Named, our_port: int, tmp_path: Path
) -> None:
    """The workers end at the same time: nothing waits for them."""
    hosts = ["stop.elsewhere.test", "*.stop.elsewhere.test"]
    slow = update(named, propagation=60)
    one = program(config=config(pebble, our_port, tmp_path, *hosts, dns_update=slow))
    record = "_acme-challenge.stop.elsewhere.test"
    one.wait_until(lambda: len(named.texts(record)) == len(hosts), "the TXT records")
    one.stop()
    assert named.texts(record) == []


def test_what_a_kill_amid_an_order_has_left_is_removed_by_the_next_start(
    program: Start, pebble: Pebble, named: Named, our_port: int, tmp_path: Path
) -> None:
    host, record = "kill.elsewhere.test", "_acme-challenge.kill.elsewhere.test"
    made = config(pebble, our_port, tmp_path, host, dns_update=update(named, propagation=60))
    one = program(config=made)
    left = one.wait_until(lambda: named.texts(record), "the TXT record")
    one.kill()
    one.wait_until(lambda: refuses(pebble.tls_port), "the end of the workers")
    assert named.texts(record) == left
    made = config(pebble, our_port, tmp_path, host, dns_update=update(named))
    program(config=made).wait_for(ISSUED.format(host), 30)
    assert named.texts(record) == []
