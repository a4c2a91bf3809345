"""Adds TXT records to the zones of another name server, and removes them, by signed updates (RFC 2136, RFC 8945).

All goes over TCP, one connection for each message: a reply cannot be forged from afar, and none is too long. Every
reply must be signed by the key, that to the question whether the record is there, too. What fails for want of a
connection is tried again within the time limit; what the server refuses is not.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable

from npserver.dns.message import codes, tsig
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.message.query import make_question
from npserver.dns.message.sections import ANSWER, read_records
from npserver.dns.message.tsig import TsigError, sign, verify
from npserver.dns.message.update import Change, make_update, rcode_name, reply_rcode
from npserver.errors import clip, reason_of
from npserver.tls.acme.dns.update_server import UpdateServer
from npserver.tls.acme.problems import AcmeError

EXCHANGE_S = 10.0  # of one message and its reply
REMOVE_S = 20.0  # of taking a record back, for which an order waits
AGAIN_S = 0.25  # until the next look whether the record is there, or the next try; doubled each time
AGAIN_MAX_S = 5.0
TTL_S = 0  # of the records: a resolver of the CA that kept one would not find that of the next order beside it


class DnsUpdater:
    """The updates of all orders. `clock`: seconds since 1970."""

    __slots__ = ("_clock", "_sent")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: set[tuple[UpdateServer, str, str]] = set()  # records that a server may have

    def __repr__(self) -> str:
        return f"<DnsUpdater {len(self._sent)} records>"

    async def add(self, server: UpdateServer, name: str, text: str) -> None:
        """Add a TXT record; return when the server answers it. Raises: AcmeError."""
        trouble = _Trouble(server)
        try:
            async with asyncio.timeout(server.timeout_s):
                await self._change(server, name, text, TTL_S, trouble)
                await self._await_record(server, name, text, trouble)
        except TimeoutError:
            raise trouble.too_late(server.timeout_s) from None
        await asyncio.sleep(server.propagation_s)

    async def remove(self, server: UpdateServer, name: str, text: str, *, is_known: bool = False) -> None:
        """Remove the record, if the server may have it: from this process, or else `is_known`. Raises: AcmeError."""
        if not is_known and (server, name, text) not in self._sent:
            return
        trouble, limit_s = _Trouble(server), min(server.timeout_s, REMOVE_S)
        try:
            async with asyncio.timeout(limit_s):
                await self._change(server, name, text, None, trouble)
        except TimeoutError:
            raise trouble.too_late(limit_s) from None
        finally:
            self._sent.discard((server, name, text))

    async def _change(self, server: UpdateServer, name: str, text: str, ttl: int | None, trouble: _Trouble) -> None:
        """Send an update until the server takes or refuses it."""
        zone = server.zone_of(name)
        assert zone is not None
        data = bytes((len(text),)) + text.encode("ascii")
        change = Change(parse_owner(name), codes.TXT, data, ttl)
        record, pause_s = (server, name, text), AGAIN_S
        was_sent = record in self._sent  # by an update whose reply was lost
        while True:
            update = make_update(secrets.randbelow(1 << 16), parse_owner(zone), [change])
            try:
                if await self._exchange(server, update, trouble, lambda: self._sent.add(record)) is not None:
                    return
            except _Refusal:
                if not was_sent:
                    self._sent.discard(record)
                raise
            was_sent = record in self._sent
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, AGAIN_MAX_S)

    async def _await_record(self, server: UpdateServer, name: str, text: str, trouble: _Trouble) -> None:
        """Ask until the server answers the record."""
        key, data = parse_owner(name).lower(), bytes((len(text),)) + text.encode("ascii")
        pause_s = AGAIN_S
        while True:
            question = make_question(secrets.randbelow(1 << 16), key, codes.TXT)
            reply = await self._exchange(server, question, trouble)
            if reply is not None:
                trouble.last = f"does not answer the TXT record that it has added to {name}"
                if _has(server, reply, key, data):
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, AGAIN_MAX_S)

    async def _exchange(
        self, server: UpdateServer, message: bytes, trouble: _Trouble, sending: Callable[[], object] = lambda: None
    ) -> bytes | None:
        """Return the reply to a message; None if there was none, which may pass. Raises: AcmeError if it is refused.

        `sending` is called when there is a connection.
        """
        now = int(self._clock())
        signed, mac = sign(message, server.key, now)
        try:
            async with asyncio.timeout(EXCHANGE_S):
                reply = await _send(server, signed, sending)
        except TimeoutError:
            trouble.last = "does not answer"
            return None
        except (OSError, EOFError) as error:
            gone = isinstance(error, EOFError)
            trouble.last = "ends connections without an answer" if gone else f"cannot be reached: {_reason(error)}"
            return None
        try:
            verify(reply, {server.key.name: server.key}, int(self._clock()), request_mac=mac)
            rcode = reply_rcode(message, reply)
        except TsigError as error:
            is_refusal = error.is_told or _says_no(error, reply)
            raise trouble.error(_why_unsigned(server, error, reply, now), is_refusal=is_refusal) from None
        except ValueError as error:
            raise trouble.error(f"sends no DNS message: {error}") from None
        if rcode == codes.SERVFAIL:
            trouble.last = "fails, and says why in its own log (SERVFAIL)"
            return None
        is_question = message[2] == 0
        if rcode and not (is_question and rcode == codes.NXDOMAIN):
            why = f"does not answer the key's question for its records ({rcode_name(rcode)}, dns_update.server)"
            raise trouble.error(why if is_question else _why_refused(server, rcode), is_refusal=not is_question)
        return reply


class _Refusal(AcmeError):
    """The server says that it has not made the update."""


class _Trouble:
    """What keeps a server from having a record, for the error."""

    __slots__ = ("last", "server")

    def __init__(self, server: UpdateServer) -> None:
        self.server = server
        self.last = "does not answer"

    def error(self, reason: str, *, is_refusal: bool = False) -> AcmeError:
        return (_Refusal if is_refusal else AcmeError)(f"{self.server} {reason}", kind="noChallenge")

    def too_late(self, limit_s: float) -> AcmeError:
        return self.error(f"{self.last}; tried for {limit_s:g} s (dns_update.timeout)")


async def _send(server: UpdateServer, message: bytes, sending: Callable[[], object]) -> bytes:
    """Return the reply to a message over a connection of its own: each has its length before it (RFC 1035 §4.2.2)."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        sending()
        writer.write(len(message).to_bytes(2, "big") + message)
        size = await reader.readexactly(2)
        return await reader.readexactly(int.from_bytes(size, "big"))
    finally:
        writer.transport.abort()


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number and number > 0 else reason_of(error)  # asyncio has words of its own


def _has(server: UpdateServer, reply: bytes, key: bytes, data: bytes) -> bool:
    """Whether a reply has the TXT record. Raises: AcmeError if it cannot come to have it."""
    try:
        found = [one for one in read_records(reply, 1) if one.section == ANSWER and one.owner.lower() == key]
    except ValueError as error:
        raise AcmeError(f"{server} sends no DNS message: {error}", kind="noChallenge") from None
    for one in found:
        if one.rtype == codes.CNAME:  # RFC 2136 §3.4.2.2: the update was ignored
            name, target = (to_text(wire).removesuffix(".") for wire in (key, one.data))
            what = f"has a CNAME at {name}, to {clip(target)}: write that name as dns_alias (dns_update.server)"
            raise AcmeError(f"{server} {what}", kind="noChallenge")
    return any(one.rtype == codes.TXT and one.data == data for one in found)


def _says_no(error: TsigError, reply: bytes) -> bool:
    """Whether a reply is a refusal without a TSIG record, as those of Knot and PowerDNS are."""
    return error.tsig is None and not error.is_told and reply[3] & 0xF != codes.NOERROR


def _why_unsigned(server: UpdateServer, error: TsigError, reply: bytes, now: int) -> str:
    """Return what a reply without a right signature means."""
    key = f"key {to_text(server.key.name).removesuffix('.')}"
    if not error.is_told and error.code == tsig.BADTIME:
        return f"signs with a clock more than {tsig.FUDGE_S} s off ours: set them right (BADTIME, dns_update.server)"
    if _says_no(error, reply):
        what = f"the {key} with {server.key.algorithm}, its secret, or the zone {', '.join(server.zones)}"
        return (
            f"does not know {what}: it refuses without a signature ({rcode_name(reply[3] & 0xF)}, dns_update.key_name)"
        )
    if not error.is_told:
        return f"answers, but {error}: it does not know the {key}, or is another server (dns_update.server)"
    match error.code:
        case tsig.BADKEY:
            return f"does not know the {key} with {server.key.algorithm} (BADKEY, dns_update.key_name)"
        case tsig.BADSIG:
            return f"has another secret for the {key} (BADSIG, {server.key_at})"
        case tsig.BADTIME if error.server_time_s is not None:
            off_s = error.server_time_s - now
            way = "ahead of" if off_s > 0 else "behind"
            return f"has a clock that is {abs(off_s)} s {way} ours: set them right (BADTIME, dns_update.server)"
    return f"refuses the signature of the {key} ({tsig.error_name(error.code)}, {server.key_at})"


def _why_refused(server: UpdateServer, rcode: int) -> str:
    zones, name = ", ".join(server.zones), rcode_name(rcode)
    key = to_text(server.key.name).removesuffix(".")
    if rcode == codes.REFUSED:
        return f"does not let the key {key} change TXT records of the zone {zones} (REFUSED, dns_update.key_name)"
    if name in ("NOTAUTH", "NOTZONE"):
        return f"has no zone {zones} to update ({name}, dns_update.zone)"
    if rcode == codes.NOTIMP:
        return f"takes no updates ({name}, dns_update.server)"
    return f"refuses the update of the zone {zones} ({name}, dns_update.server)"
