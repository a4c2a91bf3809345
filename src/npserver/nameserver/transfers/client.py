"""Transfers a zone from a primary server, over one connection: asks for its SOA, then for the changes or for the zone.

All that comes is bounded in size and time, and with a key every reply must be signed. Nothing is kept of a transfer
that fails. Called by `nameserver.transfers.secondary`, in the controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable

from npserver.dns.message import codes
from npserver.dns.message.header import HEADER_BYTES
from npserver.dns.message.query import make_question
from npserver.dns.message.sections import ANSWER, read_records
from npserver.dns.message.tsig import StreamVerifier, TsigError, error_name, sign
from npserver.dns.message.update import reply_rcode
from npserver.dns.zone.content import Content, is_newer, serial_of
from npserver.dns.zone.incoming import Received, TransferError, TransferReader
from npserver.dns.zone.tables import soa_serial
from npserver.errors import reason_of
from npserver.nameserver.transfers.peers import Peer

CONNECT_S = 10.0
IDLE_S = 30.0  # between two pieces of what a server sends
TRANSFER_S = 3600.0  # for a whole transfer

#: Rcodes by which a server says that it does not do IXFR; the zone is asked for then.
_NO_IXFR = frozenset({codes.FORMERR, codes.NOTIMP, codes.REFUSED, codes.NOTAUTH, codes.SERVFAIL})


async def fetch(peer: Peer, apex: bytes, content: Content | None, wall: Callable[[], float]) -> Received:
    """Return what a primary server has that is newer than the content, or that there is nothing newer.

    `content`: None if there is none. `wall`: the time of day. Raises: TransferError.
    """
    try:
        async with asyncio.timeout(TRANSFER_S), _connected(peer) as connection:
            return await _fetch(_Session(peer, apex, *connection, wall), content)
    except TimeoutError:
        raise TransferError(f"it does not end the transfer within {TRANSFER_S:g} s") from None
    except asyncio.IncompleteReadError:
        raise TransferError("it ends the connection too early") from None
    except ssl.SSLError as error:
        raise TransferError(f"TLS: {error.reason or error}".replace("_", " ").lower()) from None
    except OSError as error:
        number = error.errno
        reason = os.strerror(number).lower() if number and number > 0 else reason_of(error)
        raise TransferError(f"it cannot be reached: {reason}") from None


async def _fetch(session: _Session, content: Content | None) -> Received:
    serial = await session.ask_serial()
    if content is None:
        return await session.transfer(None, 0)
    ours = serial_of(content, session.apex)
    if not is_newer(serial, ours):
        return Received(None, serial)
    try:
        return await session.transfer(content, ours)
    except TransferError as error:
        if error.rcode and error.rcode not in _NO_IXFR:
            raise
    async with _connected(session.peer) as connection:  # what else is under way on the first one is not known
        return await _Session(session.peer, session.apex, *connection, session.wall).transfer(None, 0)


@contextlib.asynccontextmanager
async def _connected(peer: Peer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = (peer.server_name or peer.address) if peer.tls is not None else None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                peer.address, peer.port, ssl=peer.tls, server_hostname=name, limit=1 << 17
            )
    except TimeoutError:
        raise TransferError("it cannot be reached: no answer") from None
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


class _Session:
    """One connection to a primary server."""

    def __init__(
        self,
        peer: Peer,
        apex: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        wall: Callable[[], float],
    ) -> None:
        self.peer = peer
        self.apex = apex
        self.wall = wall
        self._reader = reader
        self._writer = writer

    async def ask_serial(self) -> int:
        """Return the serial that the server has. Raises: TransferError."""
        request = make_question(secrets.randbelow(1 << 16), self.apex, codes.SOA)
        take = self._send(request)
        reply, verify_end = take(await self._receive())
        verify_end()
        try:
            rcode = reply_rcode(request, reply)
            found = [one for one in read_records(reply, 1) if one.section == ANSWER]
        except ValueError as error:
            raise TransferError(f"it sends a malformed message: {error}") from None
        if rcode:
            raise TransferError(f"it does not answer the question for the SOA ({codes.rcode_name(rcode)})", rcode)
        for one in found:
            if one.rtype == codes.SOA and one.owner.lower() == self.apex and len(one.data) >= 22:
                return soa_serial(one.data)
        raise TransferError("it has no SOA record of the zone")

    async def transfer(self, content: Content | None, serial: int) -> Received:
        """Return the zone, by its changes from a content if there is one. Raises: TransferError."""
        request = make_question(secrets.randbelow(1 << 16), self.apex, codes.AXFR if content is None else codes.IXFR)
        if content is not None:  # RFC 1995 §3: our SOA in the authority section
            _, (soa,) = content[self.apex][codes.SOA]
            record = self.apex + codes.SOA.to_bytes(2, "big") + b"\0\1" + bytes(4) + len(soa).to_bytes(2, "big") + soa
            request = request[:8] + b"\0\1" + request[10:] + record
        take = self._send(request)
        reader = TransferReader(self.apex, request, content, serial)
        while True:
            message, verify_end = take(await self._receive())
            found = reader.take(message)
            await asyncio.sleep(0)  # what has come already does not keep the controller from all else
            if found is not None:
                verify_end()
                return found

    def _send(self, request: bytes) -> Callable[[bytes], tuple[bytes, Callable[[], None]]]:
        """Send a request; return what checks the signatures of the replies, and returns them without."""
        key = self.peer.key
        if key is None:
            self._write(request)
            return lambda message: (message, lambda: None)
        signed, mac = sign(request, key, int(self.wall()))
        self._write(signed)
        verifier = StreamVerifier(key, mac)

        def take(message: bytes) -> tuple[bytes, Callable[[], None]]:
            try:
                return verifier.take(message, int(self.wall())), end
            except TsigError as error:
                raise _unsigned(error, message) from None
            except ValueError as error:
                raise TransferError(f"it sends a malformed message: {error}") from None

        def end() -> None:
            try:
                verifier.end()
            except TsigError as error:
                raise TransferError(str(error)) from None

        return take

    def _write(self, message: bytes) -> None:
        self._writer.write(len(message).to_bytes(2, "big") + message)

    async def _receive(self) -> bytes:
        """Return the next message. A server that sends nothing for `IDLE_S` is given up."""
        size = int.from_bytes(await self._read(2), "big")
        if size < HEADER_BYTES:
            raise TransferError("it sends a message that is shorter than a header")
        return await self._read(size)

    async def _read(self, count: int) -> bytes:
        try:
            async with asyncio.timeout(IDLE_S):
                return await self._reader.readexactly(count)
        except TimeoutError:
            raise TransferError(f"it sends nothing for {IDLE_S:g} s") from None


def _unsigned(error: TsigError, message: bytes) -> TransferError:
    """Return what a reply without a right signature means."""
    rcode = message[3] & 0xF
    if error.is_told:
        return TransferError(f"it refuses our signature ({error_name(error.code)})", codes.NOTAUTH)
    if error.tsig is None and rcode:
        return TransferError(
            f"it refuses without a signature ({codes.rcode_name(rcode)}): does it know the key?", rcode
        )
    return TransferError(f"its answer is not signed rightly: {error}")
