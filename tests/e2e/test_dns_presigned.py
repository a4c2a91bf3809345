"""Zones that Knot and BIND have signed, served by the program: unbound in front finds every answer secure."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.conformance.test_rfc4035 import Served
from tests.conformance.test_rfc4035_changes import transferred
from tests.conformance.test_rfc4035_presigned import TEXT, sign_by_bind
from tests.e2e.test_dns_transfers import KEYS, SECRET
from tests.e2e.test_dns_zones import config, serial
from tests.e2e.test_dnssec_program import anchors, is_asked, transfer, unbound
from tests.stage.program import Program
from tests.stage.programs import find, needs
from tests.stage.signing import SIGNED_ODDITIES, Unbound, questions
from tests.stage.zone_servers import running

__all__ = ["unbound"]  # the fixture

Start = Callable[..., Program]
BEYOND = ("child.example.com", "plain.example.com")  # what other zones have
SERIAL = 7


def zone_text(number: int) -> str:
    """Return the zone example.com without signatures."""
    lines = transferred(Served(SIGNED_ODDITIES, (), "csk", "ed25519", "nsec"))
    text = "\n".join(lines).replace(f"hostmaster.example.com. {SERIAL} ", f"hostmaster.example.com. {number} ")
    assert f" {number} 3600 " in text
    return f"{text}\nv{number}.example.com. 300 IN A 10.0.0.{number}\nv{number}.new.example.com. 300 IN TXT x\n"


def answer(port: int, name: str, kind: str, *, do: bool) -> dns.message.Message:
    query = dns.message.make_query(name, kind, want_dnssec=do, use_edns=0)
    return dns.query.udp_with_fallback(query, "127.0.0.1", port=port, timeout=20)[0]


def shown_serial(port: int) -> int:
    """Return the serial that is answered; 0 as long as there is none."""
    found = answer(port, "example.com", "SOA", do=False).answer
    return found[0][0].serial if found else 0


def verify(port: int, file: Path) -> None:
    """Have the zone as it is transferred verified."""
    transfer(port, "example.com", file)
    verified = subprocess.run([find("ldns-verify-zone") or "", str(file)], capture_output=True, text=True, timeout=60)
    assert verified.returncode == 0, verified.stderr


@needs("unbound", "ldns-verify-zone", "knotd", "named")
@pytest.mark.parametrize("signer", ["knot-nsec", "knot-nsec3", "bind"])
def test_a_signed_zone_of_a_primary(
    program: Start, unbound: Callable[..., Unbound], free_port: Callable[[], int], tmp_path: Path, signer: str
) -> None:
    ports = free_port(), free_port()
    with running(signer, tmp_path / "primary", ports[0], ports[1], SECRET, zone_text(SERIAL)) as primary:
        primary.wait_until(
            lambda: primary.serial() > 0 and bool(answer(ports[0], "example.com", "DNSKEY", do=True).answer),
            "the signed zone",
        )
        zone = {"name": "example.com", "primary": {"address": f"127.0.0.1:{ports[0]}", "key": "xfr"}}
        made = config(ports[1], dns_zones=[zone], dns_keys=KEYS, store=str(tmp_path / "store"), dns={})
        made["dispatch"][0]["allow_transfer"] = "127.0.0.1"
        one = program(config=made)
        one.wait_until(lambda: shown_serial(ports[1]) == primary.serial() > 0, "the transfer")
        validator = unbound(("example.com",), anchors(ports[1], ("example.com",)), ports[1])
        count = 0
        for name in questions(SIGNED_ODDITIES):
            if not name.endswith("example.com") or name.endswith(BEYOND):
                continue
            for kind in ("A", "TXT", "DS"):
                if is_asked(name, kind) and not name.startswith(("to", "ext.", "intowild")):
                    verdict = validator.verdict(name, kind)
                    assert verdict.split()[0] == "secure", (name, kind, verdict)
                    count += 1
            for do in (False, True):
                ours, theirs = [answer(port, name, "TXT", do=do) for port in (ports[1], ports[0])]
                if name.startswith(("loop", "self")):
                    continue  # BIND answers aliases in a circle with SERVFAIL
                assert ours.rcode() == theirs.rcode(), name
                # Knot does not prove that a wildcard has no records that exists only as names lie below it
                sets = [
                    {(str(rrset.name).lower(), rrset.rdtype, rrset.covers) for rrset in reply.authority}
                    for reply in (ours, theirs)
                ]
                assert sets[0] >= sets[1] or ours.answer, (name, ours, theirs)
                assert do or not any(
                    rrset.rdtype in (dns.rdatatype.RRSIG, dns.rdatatype.NSEC) for rrset in ours.authority
                )
        assert count > 150
        verify(ports[1], tmp_path / "again")
        for number in (8, 9):
            before = primary.serial()
            primary.reload(zone_text(number))
            primary.wait_until(lambda: primary.serial() != before, "the change")  # noqa: B023
            one.wait_until(lambda: serial(ports[1]) == primary.serial(), "the change")
            assert validator.verdict(f"v{number}.example.com", "A") == "secure NOERROR"
            assert validator.verdict(f"new{number}.example.com", "A") == "secure NXDOMAIN"
            assert validator.verdict("new.example.com", "A") == "secure NOERROR"
            assert validator.verdict(f"v{number - 1}.new.example.com", "TXT") == "secure NXDOMAIN"
            verify(ports[1], tmp_path / "again")
        assert "its changes from 127.0.0.1" in one.errors


@needs("unbound", "ldns-verify-zone", "dnssec-signzone")
@pytest.mark.parametrize(
    "options", [["-3", "-", "-A"], ["-3", "aabbcc", "-H", "12"], []], ids=["opt-out", "salted", "nsec"]
)
def test_a_signed_zone_file(
    program: Start, unbound: Callable[..., Unbound], free_port: Callable[[], int], tmp_path: Path, options: list[str]
) -> None:
    port = free_port()
    file = sign_by_bind(tmp_path, TEXT, *options, now=True)
    served = tmp_path / "served"
    served.write_text(file.read_text())
    made = config(port, dns_zones=[{"name": "example.com", "file": str(served)}], store=str(tmp_path / "store"), dns={})
    made["dispatch"][0]["allow_transfer"] = "127.0.0.1"
    one = program(config=made)
    validator = unbound(("example.com",), anchors(port, ("example.com",)), port)
    missing = "insecure" if "-A" in options else "secure"
    for name, kind, verdict in [
        ("www.example.com", "A", "secure NOERROR"),
        ("www.example.com", "TXT", "secure NOERROR"),
        ("q.wild.example.com", "A", f"{missing} NOERROR"),
        ("missing.example.com", "A", f"{missing} NXDOMAIN"),
        ("q.www.example.com", "A", f"{missing} NXDOMAIN"),
        ("b.example.com", "A", "secure NOERROR"),
        ("sub.example.com", "DS", f"{missing} NOERROR"),
        ("sub2.deep.er.example.com", "DS", f"{missing} NOERROR"),
        ("deep.er.example.com", "A", f"{missing} NOERROR"),
        ("safe.example.com", "DS", "secure NOERROR"),
    ]:
        assert validator.verdict(name, kind) == verdict, (name, kind)
    verify(port, tmp_path / "again")

    (tmp_path / "next").mkdir()
    changed = sign_by_bind(
        tmp_path / "next", TEXT.replace(" 5 3600", " 6 3600") + "new A 10.0.0.1\n", *options, now=True
    )
    served.write_text(changed.read_text())
    one.wait_until(lambda: serial(port) == 6, "the change")
    verify(port, tmp_path / "again")
    (tmp_path / "third").mkdir()
    changed = sign_by_bind(tmp_path / "third", TEXT + "newer A 10.0.0.1\n", *options, now=True)
    served.write_text(changed.read_text())
    one.wait_for("its signed serial 5 is not newer than 6: secondaries will not fetch it")
    verify(port, tmp_path / "again")


@needs("delv", "dnssec-signzone")
def test_delv_validates(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    file = sign_by_bind(tmp_path, TEXT, now=True)
    made: dict[str, Any] = config(
        port, dns_zones=[{"name": "example.com", "file": str(file)}], store=str(tmp_path / "store"), dns={}
    )
    program(config=made)
    (anchor,) = anchors(port, ("example.com",))
    words = anchor.split()
    (tmp_path / "anchors").write_text(
        f'trust-anchors {{ example.com. static-ds {words[2]} {words[3]} {words[4]} "{words[5]}"; }};\n'
    )
    for name, said in (
        ("www", "fully validated"),
        ("q.wild", "fully validated"),
        ("missing", "negative response, fully validated"),
    ):
        done = subprocess.run(
            [find("delv") or "", "@127.0.0.1", "-p", str(port), "-a", str(tmp_path / "anchors"), "+root=example.com",
             f"{name}.example.com", "A"], capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert said in done.stdout + done.stderr
