"""DNAME in the whole program (RFC 6672): dig, delv on a signed zone, an update in all workers, names of resolvers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from npserver.cli.check import main as check
from tests.e2e.test_dnssec_program import anchors
from tests.stage.counting_resolver import CountingResolver
from tests.stage.ports import free_port
from tests.stage.program import Program
from tests.stage.programs import needs

Start = Callable[..., Program]
SECRET = "c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmctZW5vdWdo"
RECORDS: dict[str, Any] = {
    "example.com": {"NS": "ns.example.com"},
    "ns.example.com": {"A": "192.0.2.1"},
    "www.new.example.com": {"A": "192.0.2.2", "TXT": "new"},
    "old.example.com": {"DNAME": "new.example.com", "TXT": "beside it"},
    "out.example.com": {"DNAME": "elsewhere.example"},
}


def config(port: int, store: Path, **parts: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "store": str(store),
        "listen": [f"udp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"],
        "dispatch": [{"handler": "dns"}],
        "dns_zones": ["example.com"],
        "dns": RECORDS,
        **parts,
    }


def answers(port: int, name: str, count: int = 8) -> set[str]:
    """Return what several connections, to any worker, are answered: the rcode, then the records."""
    found = set()
    for _ in range(count):
        reply = dns.query.tcp(dns.message.make_query(name, "A"), "127.0.0.1", port=port, timeout=20)
        records = [f"{one.rdtype.name} {one[0]}" for one in reply.answer]
        found.add(", ".join([dns.rcode.to_text(reply.rcode()), *records]))
    return found


@needs("dig", "delv")
def test_dig_and_delv(program: Start, tmp_path: Path) -> None:
    port = free_port()
    program(config=config(port, tmp_path / "store", dns_zones=[{"name": "example.com", "dnssec": True}]))
    asked = subprocess.run(
        ["dig", "@127.0.0.1", "-p", str(port), "+noall", "+answer", "www.old.example.com"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    lines = [line.split() for line in asked.stdout.splitlines()]
    assert [(one[0], *one[3:]) for one in lines] == [
        ("old.example.com.", "DNAME", "new.example.com."),
        ("www.old.example.com.", "CNAME", "www.new.example.com."),
        ("www.new.example.com.", "A", "192.0.2.2"),
    ]
    (anchor,) = anchors(port, ("example.com",))
    tag, algorithm, kind, digest = anchor.split()[2:6]
    (tmp_path / "anchor").write_text(
        f'trust-anchors {{ "example.com." static-ds {tag} {algorithm} {kind} "{digest}"; }};\n'
    )
    words = ["delv", "@127.0.0.1", "-p", str(port), "-a", str(tmp_path / "anchor"), "+root=example.com"]
    for name, said in (("www.old.example.com", "; fully validated"), ("x.old.example.com", "ncache nxdomain")):
        done = subprocess.run([*words, name, "A"], capture_output=True, text=True, timeout=60)
        assert said in done.stdout + done.stderr, (name, done)


def test_an_update_redirects_in_all_workers_and_hides_what_is_below(program: Start, tmp_path: Path) -> None:
    port = free_port()
    zone = {"name": "example.com", "updates": [{"key": "k", "types": ["any"]}]}
    program(config=config(port, tmp_path / "store", dns_zones=[zone], dns_keys={"k": {"secret": SECRET}}))
    ring = dns.tsigkeyring.from_text({"k": SECRET})

    def update(change: Callable[[dns.update.UpdateMessage], None]) -> None:
        made = dns.update.UpdateMessage("example.com", keyring=ring, keyname="k", keyalgorithm=dns.tsig.HMAC_SHA256)
        change(made)
        assert dns.query.tcp(made, "127.0.0.1", port=port, timeout=30).rcode() == dns.rcode.NOERROR

    update(lambda made: made.add("a.moved", 60, "A", "192.0.2.9"))
    assert answers(port, "a.moved.example.com") == {"NOERROR, A 192.0.2.9"}
    update(lambda made: made.add("moved", 60, "DNAME", "new.example.com."))
    redirected = "NOERROR, DNAME new.example.com., CNAME www.new.example.com., A 192.0.2.2"
    assert answers(port, "www.moved.example.com") == {redirected}
    assert answers(port, "a.moved.example.com") == {"NXDOMAIN, DNAME new.example.com., CNAME a.new.example.com."}
    update(lambda made: made.delete("moved", "DNAME"))
    assert answers(port, "a.moved.example.com") == {"NOERROR, A 192.0.2.9"}


def test_names_that_it_leads_to_outside_are_resolved(
    program: Start, tmp_path: Path, resolver: CountingResolver
) -> None:
    port = free_port()
    program(config=config(port, tmp_path / "store", dns_forward=[resolver.address]))
    wanted = "NOERROR, DNAME elsewhere.example., CNAME www.elsewhere.example., A 198.51.100.7"
    assert answers(port, "www.out.example.com") == {wanted}
    assert set(resolver.asked) == {"www.elsewhere.example."}


def test_check_names_the_place_of_a_name_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "npserver.json"
    file.write_text(
        '{ "listen": ["udp://127.0.0.1:5353", "tcp://127.0.0.1:5353"], "dispatch": [{ "handler": "dns" }],\n'
        '  "dns": {\n    "old.home": { "DNAME": "new.home" },\n    "x.old.home": { "A": "10.0.0.1" }\n  } }'
    )
    assert check(["-config", str(file)]) == 2
    said = capsys.readouterr().err
    assert ":4:19: 'x.old.home' lies below 'old.home', and its DNAME stands for all names below: leave one" in said
