"""Roll-overs and renewals of signatures with a clock that is moved: whatever caches may know is valid at each time.

Covers `nameserver.dnssec.service`, `nameserver.dnssec.signer`, `runtime.signed_zone_states` and
`web.handlers.status.signed_zones`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.message
import dns.name
import dns.rdata
import dns.rrset
import pytest

from npserver.dns.message.name import parse_owner
from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.dnssec.rollover import Timing, awaits_ds, begin, ds_seen
from npserver.nameserver.dnssec.service import DnssecService, KeptZone
from npserver.nameserver.dnssec.signer import SignedZone, Signer
from npserver.nameserver.dnssec.state import ZoneState, decode, encode, first_state, store_key
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.query_processor import QueryProcessor
from npserver.runtime.signed_zone_states import forget_signed, published_signed
from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles
from npserver.web.handlers.status.signed_zones import signed_as_json, signed_samples, signed_table
from tests.stage.nameserver import ask, tables_of
from tests.stage.signing import NOW
from tests.stage.worker import running_context

HOUR, DAY = 3600.0, 86_400.0
APEX, NAME = parse_owner("example.com"), dns.name.from_text("example.com")
TIMING = Timing(propagation_s=HOUR, max_ttl_s=DAY, ds_ttl_s=DAY)
RECORDS: dict[str, Any] = {
    "example.com": {"NS": "ns.elsewhere.net", "SOA": "ns. host. 100 3600 600 604800 300"},
    "www.example.com": {"A": "192.0.2.1", "TTL": 86_400},
}


class Primary:
    """A name server with one signed zone, and the service that keeps its keys."""

    def __init__(self, context: Any, directory: Path, kind: str = "csk", **kept: Any) -> None:
        self.now = NOW
        context.wall_clock = lambda: self.now
        self.store = DirectoryStore(StoreFiles(str(directory / "store")))
        self.state = first_state(kind, 13, self.now)
        self.store.files.write(store_key(APEX), encode(self.state))
        tables = tables_of(RECORDS)
        signer = Signer(context, self.store.files, {APEX: SignedZone(APEX, self.state)})
        self.server = NameServer(context, [(None, tables)], signer=signer)
        self.service = DnssecService(context, self.store, {APEX: KeptZone(APEX, TIMING, **kept)})
        self.processor = AccessPolicy(self.server, QueryProcessor).choose("")

    async def move(self, seconds: float) -> None:
        """Move the clock, and do what is due."""
        self.now += seconds
        self.server.tick()
        await self.service.look()
        self.state = decode(self.store.files.read(store_key(APEX)) or b"")

    async def change(self, change: Callable[[ZoneState], ZoneState]) -> None:
        """Change the state, as a command does."""
        self.store.files.write(store_key(APEX), encode(change(self.state)))
        await self.move(0.0)

    def ask(self, name: str, kind: str) -> tuple[dns.rrset.RRset, dns.rrset.RRset] | None:
        """Return a record set with its signatures."""
        query = dns.message.make_query(name, kind, want_dnssec=True)
        reply = dns.message.from_wire(ask(self.processor, query.to_wire()) or b"")
        if not reply.answer:
            return None
        records, signatures = reply.answer
        return records, signatures


class Caches:
    """All that resolvers may have cached of the zone, and of its DS record."""

    def __init__(self) -> None:
        self.keys: list[tuple[float, Any]] = []
        self.data: list[tuple[float, Any]] = []
        self.ds: list[tuple[float, Any]] = []

    def check(self, now: float) -> int:
        """Check each combination of what may be known. Return how many there are."""
        count = 0
        for ds in self._known(self.ds, now, TIMING.ds_ttl_s):
            for dnskeys, of_keys in self._known(self.keys, now, HOUR + TIMING.propagation_s):
                trusted = [one for one in dnskeys if dns.dnssec.make_ds(NAME, one, "SHA256") == ds]
                assert trusted, f"the DS record leads to no key after {(now - NOW) / HOUR:g} h"
                anchor = dns.rrset.from_rdata_list(NAME, 3600, trusted)
                dns.dnssec.validate(dnskeys, of_keys, {NAME: anchor}, now=now)
                for records, signatures in self._known(self.data, now, TIMING.max_ttl_s + TIMING.propagation_s):
                    dns.dnssec.validate(records, signatures, {NAME: dnskeys}, now=now)
                    count += 1
        return count

    def _known(self, entries: list[tuple[float, Any]], now: float, ttl_s: float) -> list[Any]:
        found: dict[str, Any] = {}
        for until, value in entries:
            if until >= now - ttl_s:
                found[str(value)] = value
        return list(found.values())

    def note(self, entries: list[tuple[float, Any]], now: float, value: Any) -> None:
        """Note what is served until now."""
        if entries and str(entries[-1][1]) == str(value):
            entries[-1] = now, value
        else:
            entries.append((now, value))


async def settle(primary: Primary) -> None:
    """Have the keys in use since long."""
    await primary.move(0.0)
    await primary.move(2 * DAY)
    await primary.change(lambda state: ds_seen(state, primary.now))
    await primary.move(2 * DAY)


@pytest.mark.parametrize(("kind", "role"), [("csk", "csk"), ("ksk-zsk", "ksk"), ("ksk-zsk", "zsk")])
async def test_all_that_caches_may_know_is_valid(tmp_path: Path, kind: str, role: Any) -> None:
    async with running_context() as context:
        primary, caches = Primary(context, tmp_path, kind), Caches()
        await settle(primary)
        before = {one.private for one in primary.state.keys}
        ds, updates_at, most = None, 0.0, 0
        for half_hour in range(220):
            await primary.move(HOUR / 2)
            if half_hour == 60:
                await primary.change(lambda state: begin(state, role))
            cds = primary.ask("example.com", "CDS")
            assert cds is not None
            wanted = cds[0][0].to_wire()
            if ds is None:
                ds = cds[0][0]
            elif ds.to_wire() != wanted and not updates_at:
                updates_at = primary.now + 5 * HOUR  # the parent takes its time
            if updates_at and primary.now >= updates_at:
                ds, updates_at = cds[0][0], 0.0
                caches.note(caches.ds, primary.now, _as_ds(ds))
                await primary.change(lambda state: ds_seen(state, primary.now))
            caches.note(caches.ds, primary.now, _as_ds(ds))
            caches.note(caches.keys, primary.now, primary.ask("example.com", "DNSKEY"))
            caches.note(caches.data, primary.now, primary.ask("www.example.com", "A"))
            most = max(most, caches.check(primary.now))
        after = {one.private for one in primary.state.keys}
        assert len(after) == len(before)
        assert len(after - before) == 1
        assert awaits_ds(primary.state) is None
        assert most >= 4


def _as_ds(cds: Any) -> Any:
    return dns.rdata.from_wire("IN", "DS", cds.to_wire(), 0, len(cds.to_wire()))


async def test_signatures_are_renewed_long_before_they_expire(tmp_path: Path) -> None:
    async with running_context() as context:
        primary = Primary(context, tmp_path)
        await settle(primary)
        seen: dict[str, set[str]] = {}
        serials = []
        for _ in range(80):
            await primary.move(DAY / 4)
            for name, kind in (("www.example.com", "A"), ("example.com", "SOA"), ("example.com", "DNSKEY")):
                found = primary.ask(name, kind)
                assert found is not None
                (signature,) = found[1]
                assert signature.inception < primary.now - HOUR
                assert signature.expiration > primary.now + 9 * DAY
                seen.setdefault(kind, set()).add(str(signature))
                if kind == "SOA":
                    serials.append(found[0][0].serial)
        assert 4 <= len(seen["A"]) <= 6  # in 20 days, each renewed after 5
        assert serials == sorted(serials)
        assert len(set(serials)) in (20, 21)  # one a day, so that secondaries fetch what is new


async def test_keys_are_replaced_at_their_age(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "npserver.dns")
    async with running_context() as context:
        primary = Primary(context, tmp_path, "ksk-zsk", roll_zsk_s=30 * DAY)
        await settle(primary)
        before = [one.private for one in primary.state.keys]
        for _ in range(33 * 4):
            await primary.move(DAY / 4)
        after = [one.private for one in primary.state.keys]
        assert len(after) == 2
        assert after[0] == before[0]
        assert after[1] != before[1]
        assert "a new zsk replaces one of 30 days" in caplog.text
        assert "PRIVATE" not in caplog.text


async def test_the_log_reminds_of_the_parent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running_context() as context:
        primary = Primary(context, tmp_path)
        await primary.move(0.0)
        for _ in range(10):
            await primary.move(DAY)
        told = [one for one in caplog.messages if "npserver dns roll example.com -ds-seen" in one]
        assert len(told) == 2  # a week apart


async def test_keys_that_are_gone_are_told_once_and_the_old_ones_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_context() as context:
        primary = Primary(context, tmp_path)
        await settle(primary)
        primary.store.files.write(store_key(APEX), None)
        for _ in range(3):
            await primary.service.look()
        assert len([one for one in caplog.messages if "gone from the store" in one]) == 1
        assert primary.ask("www.example.com", "A") is not None


async def test_two_programs_that_share_a_store_take_each_step_once(tmp_path: Path) -> None:
    async with running_context() as context, running_context() as other_context:
        one = Primary(context, tmp_path)
        await settle(one)
        other_context.wall_clock = lambda: one.now
        other = DnssecService(other_context, one.store, {APEX: KeptZone(APEX, TIMING)})
        await one.change(lambda state: begin(state, "csk"))
        version = one.state.version
        one.now += 3 * HOUR
        await asyncio.gather(one.service.look(), other.look(), one.service.look(), other.look())
        assert decode(one.store.files.read(store_key(APEX)) or b"").version == version + 1


async def test_the_status_page_tells_of_keys_and_steps(tmp_path: Path) -> None:
    async with running_context() as context:
        primary = Primary(context, tmp_path)
        await primary.move(0.0)
        (waiting,) = signed_as_json(published_signed(context.pubsub))
        assert waiting["next_step"] == "the parent is asked for the DS record of the new key"
        assert waiting["awaits_parent_since"] is None
        await primary.move(2 * DAY)
        states = published_signed(context.pubsub)
        (awaiting,) = signed_as_json(states)
        assert awaiting["awaits_parent_since"] == "2027-01-17T08:00:00Z"
        assert awaiting["next_step"] is None
        assert [one.value for one in signed_samples(states)] == [1, int(NOW + 2 * DAY)]
        assert "csk" in signed_table(states)
        assert "PRIVATE" not in str(context.pubsub.latest)
        forget_signed(context.pubsub)
        assert signed_table(published_signed(context.pubsub)) == ""
