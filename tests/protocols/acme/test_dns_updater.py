"""Signed updates of another name server: a real BIND, and servers that break the protocol.

Covers `tls.acme.dns.updater`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update
import pytest

from npserver.dns.message.name import parse_owner
from npserver.dns.message.tsig import TsigKey
from npserver.tls.acme.dns.update_server import UpdateServer
from npserver.tls.acme.dns.updater import DnsUpdater
from npserver.tls.acme.problems import AcmeError
from tests.stage.named import KEYS, REFUSED, UPDATED, Named, running_named
from tests.stage.ports import free_port
from tests.stage.programs import needs
from tests.stage.serving import forgiving

NAME = f"_acme-challenge.{UPDATED}"


def key(name: str = "npserver", secret: bytes | None = None, algorithm: str = "") -> TsigKey:
    known, text = KEYS.get(name, ("hmac-sha256", "c2VjcmV0"))
    return TsigKey(parse_owner(name), secret or base64.b64decode(text), algorithm or known)


def server(port: int, of: TsigKey | None = None, zone: str = UPDATED, **more: Any) -> UpdateServer:
    return UpdateServer("127.0.0.1", port, (zone,), of or key(), **{"timeout_s": 5.0, **more})


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    directory = tmp_path_factory.mktemp("dns") / "named"
    aliases = [(f"alias.{UPDATED}", f"target.{UPDATED}")]
    with running_named(directory, free_port(), free_port(), aliases) as running:
        yield running


@needs("named")
class TestBind:
    @pytest.mark.parametrize("name", ["npserver", "long"])
    async def test_exactly_our_records_are_added_and_removed(self, named: Named, name: str) -> None:
        updater, at = DnsUpdater(time.time), server(named.port, key(name))
        await updater.add(at, NAME, "one")
        await asyncio.gather(updater.add(at, NAME, "two"), updater.add(at, NAME, "one"))
        assert named.texts(NAME) == ["one", "two"]
        await updater.remove(at, NAME, "unknown")
        await updater.remove(at, NAME, "one")
        assert named.texts(NAME) == ["two"]
        await updater.remove(at, NAME, "two")
        assert named.texts(NAME) == []
        assert repr(updater) == "<DnsUpdater 0 records>"

    @pytest.mark.parametrize(
        ("of", "zone", "ahead_s", "message"),
        [
            (key(secret=b"wrong"), UPDATED, 0, "has another secret for the key npserver (BADSIG, dns_update.key)"),
            (
                key("unknown"),
                UPDATED,
                0,
                "does not know the key unknown with hmac-sha256 (BADKEY, dns_update.key_name)",
            ),
            (
                key(algorithm="hmac-sha512"),
                *(UPDATED, 0, "does not know the key npserver with hmac-sha512 (BADKEY, dns_update.key_name)"),
            ),
            (
                key("stranger"),
                *(UPDATED, 0, f"does not let the key stranger change TXT records of the zone {UPDATED} (REFUSED, "),
            ),
            (key(), REFUSED, 0, f"does not let the key npserver change TXT records of the zone {REFUSED} (REFUSED, "),
            (key(), f"sub.{UPDATED}", 0, f"has no zone sub.{UPDATED} to update (NOTAUTH, dns_update.zone)"),
            (key(), UPDATED, 1000, "s behind ours: set them right (BADTIME, dns_update.server)"),
            (key(), UPDATED, -1000, "s ahead of ours: set them right (BADTIME, dns_update.server)"),
        ],
    )
    async def test_what_it_refuses_is_told_at_once_and_not_taken_back(
        self, named: Named, of: TsigKey, zone: str, ahead_s: int, message: str
    ) -> None:
        updater, at = DnsUpdater(lambda: time.time() + ahead_s), server(named.port, of, zone, timeout_s=60.0)
        with pytest.raises(AcmeError) as failure:
            await updater.add(at, f"x.{zone}", "text")
        assert str(failure.value).startswith(f"name server 127.0.0.1 port {named.port} ")
        assert message in str(failure.value)
        assert repr(updater) == "<DnsUpdater 0 records>"
        assert not failure.value.is_of_ca

    async def test_a_wrong_secret_names_the_key_of_the_config_that_gives_it(self, named: Named) -> None:
        at = server(named.port, key(secret=b"wrong"), key_at="dns_update.key_file")
        with pytest.raises(AcmeError, match=r"another secret .* \(BADSIG, dns_update\.key_file\)"):
            await DnsUpdater(time.time).add(at, NAME, "text")

    async def test_a_cname_in_the_way_is_told(self, named: Named) -> None:
        with pytest.raises(AcmeError, match=rf"has a CNAME at alias.{UPDATED}, to 'target.{UPDATED}': write that name"):
            await DnsUpdater(time.time).add(server(named.port), f"alias.{UPDATED}", "text")

    async def test_a_server_that_is_back_in_time_is_asked_again(self, named: Named) -> None:
        named.stop()
        adding = asyncio.ensure_future(DnsUpdater(time.time).add(server(named.port, timeout_s=60.0), NAME, "late"))
        await asyncio.to_thread(named.start)
        await adding
        assert named.texts(NAME) == ["late"]


async def test_a_server_that_is_down_is_told_and_nothing_is_taken_back() -> None:
    updater, at = DnsUpdater(time.time), server(free_port(), timeout_s=0.3)
    with pytest.raises(AcmeError, match=r"cannot be reached: connection refused; tried for 0.3 s"):
        await updater.add(at, NAME, "text")
    await updater.remove(at, NAME, "text")


# ── servers that break the protocol ──

Answer = Callable[[bytes], bytes]
THEIRS = dns.tsig.Key("npserver", key().secret, "hmac-sha256")


def signed(query: bytes, by: dns.tsig.Key = THEIRS, rcode: int = 0, **more: Any) -> bytes:
    """A reply as a server with the key makes it."""
    asked = dns.message.from_wire(query, keyring=THEIRS)
    reply = dns.message.make_response(asked)
    reply.set_rcode(dns.rcode.Rcode(rcode))
    reply.use_tsig(by)
    reply.request_mac = more.get("mac", asked.mac)
    return with_length(reply.to_wire())


def with_length(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


@asynccontextmanager
async def answering(answer: Answer, ends: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    """Run a server that answers each message with bytes, then does something with the connection. Yields its port."""
    released = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(answer(await reader.readexactly(size)))
        await ends(writer)
        await released.wait()
        writer.close()

    listening = await asyncio.start_server(forgiving(serve), "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        released.set()
        listening.close()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _keep(writer: asyncio.StreamWriter) -> None:
    await writer.drain()


SILENT = "does not answer; tried for 0.4 s (dns_update.timeout)"
ENDS = "ends connections without an answer; tried for 0.4 s (dns_update.timeout)"


@pytest.mark.parametrize(
    ("answer", "ends", "message"),
    [
        (lambda _: b"", _close, ENDS),
        (lambda _: b"", _keep, SILENT),
        (lambda _: b"\xff\xffshort", _close, ENDS),
        (lambda _: b"\xff\xffshort", _keep, SILENT),
        (lambda _: with_length(b""), _keep, "sends no DNS message: the message is shorter than a header"),
        (lambda _: with_length(b"garbage" * 9000), _keep, "sends no DNS message"),
        (lambda query: with_length(query[:2] + b"\xa8\0" + bytes(8)), _keep, "answers, but it is not signed"),
        (
            lambda query: with_length(query[:2] + b"\xa8\5" + bytes(8)),
            *(
                _keep,
                "does not know the key npserver with hmac-sha256, its secret, or the zone elsewhere.test: ",
            ),
        ),
        (
            lambda query: signed(query, dns.tsig.Key("other", b"other", "hmac-sha256")),
            *(_keep, "answers, but it is signed by another key"),
        ),
        (
            lambda query: signed(query, dns.tsig.Key("npserver", b"other", "hmac-sha256")),
            *(_keep, "answers, but its signature is wrong"),
        ),
        (
            lambda query: signed(query, mac=b"of another request"),
            _keep,
            "answers, but its signature is wrong",
        ),
        (lambda query: signed(query, rcode=2), _keep, "fails, and says why in its own log (SERVFAIL); tried for 0.4 s"),
        (lambda query: signed(query, rcode=4), _keep, "takes no updates (NOTIMP, dns_update.server)"),
        (lambda query: signed(query, rcode=1), _keep, "refuses the update of the zone elsewhere.test (FORMERR, "),
        (
            signed,
            *(
                _keep,
                f"does not answer the TXT record that it has added to {NAME}; tried for 0.4 s (dns_update.timeout)",
            ),
        ),
    ],
)
async def test_servers_that_break_the_protocol(
    answer: Answer, ends: Callable[[asyncio.StreamWriter], Awaitable[None]], message: str
) -> None:
    async with answering(answer, ends) as port:
        with pytest.raises(AcmeError) as failure:
            await DnsUpdater(time.time).add(server(port, timeout_s=0.4), NAME, "text")
    assert message in str(failure.value)


async def test_what_a_server_may_have_taken_is_removed() -> None:
    """Its reply was lost, and the order was interrupted."""
    seen: list[str] = []
    arrived = asyncio.Event()

    def answer(query: bytes) -> bytes:
        (change,) = dns.message.from_wire(query, keyring=THEIRS).sections[dns.update.UpdateSection.UPDATE]
        seen.append(f"{'-' if change.deleting is not None else '+'}{change[0]}")
        arrived.set()
        return b"" if len(seen) == 1 else signed(query)

    async with answering(answer, _keep) as port:
        updater, at = DnsUpdater(time.time), server(port)
        adding = asyncio.ensure_future(updater.add(at, NAME, "text"))
        await arrived.wait()
        adding.cancel()
        await asyncio.wait([adding])
        await updater.remove(at, NAME, "text")
    assert seen == ['+"text"', '-"text"']
