"""Listening UDP and Unix datagram sockets. Replies leave from the address that the client wrote to.

`listen.live_listener` opens one per socket. Fronts (`forward.datagrams`, `nameserver.udp`) get each datagram with an
opaque, hashable *client*: `[0]` is the address (IPv4-mapped ones as IPv4), `[1]` the port. On a wildcard address the
kernel tells to which local address each datagram was sent (RFC 3542 §6.1; ip(7) IP_PKTINFO). The sockets are read in a
reader callback, not by asyncio's datagram endpoint: 9.5 instead of 11.2 µs a datagram on uvloop, 30 on asyncio's loop.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from npserver.errors import reason_of
from npserver.networks import plain_ip

if TYPE_CHECKING:
    from npserver.listen.datagram_batch import Batch
    from npserver.listen.kept_clients import KeptClients
    from npserver.listen.roles import Accepting
    from npserver.runtime.context import Context
    from npserver.runtime.front import Client, DatagramSocket

log = logging.getLogger("npserver.server")

BATCH = 64  # datagrams read before other sockets get their turn
MAX_DATAGRAM = 65_535  # more than any UDP payload: nothing is truncated
_LEAST_CHARGE = 512  # bytes of the receive buffer that each waiting datagram takes at the least: Linux counts its own
RECEIVE_BUFFER = 1 << 20  # for bursts; the kernel may grant less
KNOWN_CLIENTS = 4096  # cached clients of a wildcard socket
_CONTROL = socket.CMSG_SPACE(20) if hasattr(socket, "CMSG_SPACE") else 0  # one in6_pktinfo, the larger of the two

_IP_PKTINFO: int | None = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)
_IPV6_PKTINFO: int | None = getattr(socket, "IPV6_PKTINFO", None)
_IPV6_RECVPKTINFO: int | None = getattr(socket, "IPV6_RECVPKTINFO", None)

MAX_RUN = 50  # datagrams sent by one system call; Linux takes 64
MAX_RUN_BYTES = 60_000
_SOL_UDP, _UDP_SEGMENT = 17, 103  # linux/udp.h
#: Errors of kernels, network cards and sandboxes that do not have UDP_SEGMENT.
_NO_SEGMENTS = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPERM})

Control = tuple[tuple[int, int, bytes], ...]


def open_socket(context: Context, live: Accepting, sock: socket.socket) -> OpenSocket:
    """Pass the datagrams of `sock`, a bound socket that is owned from here on, to `live.front`."""
    return OpenSocket(context, live, sock)


class OpenSocket:
    """A listening datagram socket: a `runtime.front.DatagramSocket`."""

    __slots__ = (
        "_batch", "_context", "_kept", "_known", "_lacks_segments", "_read", "_sock", "live", "name", "send",
    )  # fmt: skip

    #: Send a datagram to a client, from the address it wrote to; dropped if the kernel's send buffer is full.
    send: Callable[[bytes, Client], None]

    def __init__(self, context: Context, live: Accepting, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._context = context
        self.live = live
        self._sock = sock
        self._known: dict[tuple[Any, ...], Client] = {}
        self._lacks_segments = sys.platform != "linux"
        self._kept: dict[Any, KeptClients] = {}  # after `leave`, by place
        self.name: Any = sock.getsockname()
        if sock.family == getattr(socket, "AF_UNIX", None):
            read, self.send = self._read_unix, self._send_unix
        elif live.listener.accepts_proxy is not None or self.name[0] in ("0.0.0.0", "::"):
            _widen(sock)
            _ask_for_local_address(sock)
            read, self.send = self._read_any, self._send_any
        else:
            _widen(sock)
            read, self.send = self._read_one, self._send_one
            if hasattr(live.front, "answer_batch"):  # DNS: replies immediately
                from npserver.listen.datagram_batch import Batch, is_possible  # only where it is used

                if is_possible():
                    self._batch = Batch(sock)
                    read = self._read_batch
        self._read = read
        context.loop.add_reader(sock, read)

    def __repr__(self) -> str:
        return f"<OpenSocket {self.live.listener.name} {self.name!r}>"

    def local(self, client: Client) -> tuple[str, int]:
        """Return the address and port to which `client` sent its datagram, as far as known."""
        if isinstance(self.name, (str, bytes)):
            return (str(self.name), 0)
        control: Any = client[3] if len(client) == 4 and isinstance(client[3], tuple) else ()
        for level, _kind, data in control:
            if level == socket.IPPROTO_IP:
                return socket.inet_ntop(socket.AF_INET, data[4:8]), self.name[1]
            return plain_ip(socket.inet_ntop(socket.AF_INET6, data[:16])), self.name[1]
        return plain_ip(self.name[0]), self.name[1]

    def send_run(self, run: Sequence[bytes], client: Client) -> None:
        """Send datagrams of one size, the last of which may be shorter, in one system call where the system can.

        Linux: udp(7), UDP_SEGMENT. At most `MAX_RUN` datagrams and `MAX_RUN_BYTES` bytes.
        """
        if len(run) > 1 and not self._lacks_segments:
            is_any = len(client) == 4 and isinstance(client[3], tuple)
            control = [(_SOL_UDP, _UDP_SEGMENT, len(run[0]).to_bytes(2, sys.byteorder))]
            try:
                if is_any:
                    self._sock.sendmsg(run, (*control, *client[3]), 0, client[2])  # type: ignore[misc,arg-type]
                else:
                    self._sock.sendmsg(run, control, 0, client)
                return
            except BlockingIOError:
                return  # dropped
            except OSError as error:
                self._lacks_segments = error.errno in _NO_SEGMENTS
        for data in run:
            self.send(data, client)

    def leave(self, clients: Iterable[Client]) -> None:
        """Read only what these clients send; the rest is for another program, which has the same socket.

        Each gets a socket that is connected to it: the kernel prefers that one (udp(7)).
        """
        self._context.loop.remove_reader(self._sock)
        if self._sock.family != getattr(socket, "AF_UNIX", None):
            self._keep(clients)

    def read_waiting(self, clients: Callable[[], Iterable[Client]]) -> None:
        """Read what had come before `leave`, lest it begin a second session of a client in the other program.

        Args:
            clients: returns the clients that have a session and this socket: to those of `leave`, new ones are added.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        waiting = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _LEAST_CHARGE  # at the most
        while self._kept and waiting > 0 and poll.poll(0):
            self._read()
            self._keep(clients())
            waiting -= BATCH

    def _keep(self, clients: Iterable[Client]) -> None:
        from npserver.listen.kept_clients import ClientSocket, keep_clients

        def read(sock: socket.socket, client: Client) -> ClientSocket:
            if self.live.listener.accepts_proxy is None:
                return ClientSocket(
                    self._context.loop, self, sock, lambda data, one: self.live.front.datagram(data, client, one)  # type: ignore[union-attr]
                )  # fmt: skip
            peer = (plain_ip(client[2][0]), client[2][1], *client[2:])  # type: ignore[index]
            return ClientSocket(self._context.loop, self, sock, lambda data, one: self._take_proxied(data, peer, one))

        keep_clients(self._kept, self._sock, clients, self.local, read)

    @property
    def has_kept(self) -> bool:
        """Whether it reads from any client after `leave`."""
        return bool(self._kept)

    def forget(self, client: Client) -> None:
        """Leave a client, whose session has ended, to the other program."""
        if self._kept:
            from npserver.listen.kept_clients import place_of

            kept = self._kept.get(place_of(client))
            if kept is not None and kept.discard(client):
                del self._kept[place_of(client)]

    def close(self) -> None:
        """Stop reading and close the socket; later sends are dropped."""
        for kept in self._kept.values():
            kept.close()
        self._kept = {}
        if self._sock.fileno() >= 0:
            self._context.loop.remove_reader(self._sock)
            self._sock.close()

    # ── bound to one address: the client is the socket address itself ──

    def _read_one(self) -> None:  # hot: udp
        receive = self._sock.recvfrom
        take = self.live.front.datagram  # type: ignore[union-attr]
        try:
            for _ in range(BATCH):
                data, client = receive(MAX_DATAGRAM)
                take(data, client, self)
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            self._fault(error)

    def _read_batch(self) -> None:  # hot: dns-hits
        batch: Batch = self._batch
        front: Any = self.live.front
        try:
            if hasattr(front, "answer_batch"):
                batch.send(front.answer_batch(batch.receive(), batch.client, self))
                return
            for slot, data in enumerate(batch.receive()):  # a reload has replaced the DNS front
                front.datagram(data, batch.client(slot), self)
        except Exception as error:
            self._fault(error)

    def _send_one(self, data: bytes, client: Client) -> None:  # hot: udp
        try:
            self._sock.sendto(data, client)
        except OSError as error:
            log.debug("%s: datagram to %s dropped: %s", self.live.listener.name, client, reason_of(error))

    # ── bound to all addresses: the client is (address, port, socket address, local address) ──

    def _read_any(self) -> None:
        receive = self._sock.recvmsg
        known = self._known.get
        plain = self.live.listener.accepts_proxy is None
        take = self.live.front.datagram  # type: ignore[union-attr]
        try:
            for _ in range(BATCH):
                data, control, _flags, sender = receive(MAX_DATAGRAM, _CONTROL)
                key = (sender, control[0][2]) if control else (sender,)
                client = known(key) or self._describe(key, sender, control)
                if plain:
                    take(data, client, self)
                else:
                    self._take_proxied(data, client, self)
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            self._fault(error)

    def _describe(self, key: tuple[Any, ...], sender: tuple[Any, ...], control: list[Any]) -> Client:
        client = (plain_ip(sender[0]), sender[1], sender, _reply_control(control))
        if len(self._known) >= KNOWN_CLIENTS:
            self._known.clear()
        self._known[key] = client
        return client

    def _send_any(self, data: bytes, client: Client) -> None:
        try:
            self._sock.sendmsg((data,), client[3], 0, client[2])  # type: ignore[arg-type]
        except OSError as error:
            log.debug("%s: datagram to %s dropped: %s", self.live.listener.name, client[:2], reason_of(error))

    def _take_proxied(self, data: bytes, peer: Client, sock: DatagramSocket) -> None:
        from npserver.net.proxy_protocol import parse_datagram

        accepts = self.live.listener.accepts_proxy
        if accepts is None or not accepts(str(peer[0])):
            log.debug("%s: datagram from %s dropped (accept_proxy)", self.live.listener.name, peer[:2])
            return
        if (parsed := parse_datagram(data)) is None:
            name = self.live.listener.name
            log.debug("%s: datagram from %s dropped: no PROXY header of version 2 (accept_proxy)", name, peer[:2])
            return
        source, payload = parsed
        client = peer if source is None else (source[0], source[1], *peer[2:])
        self.live.front.datagram(payload, client, sock)  # type: ignore[union-attr]

    # ── Unix sockets: the client is (path, 0); a sender without a path gets no reply ──

    def _read_unix(self) -> None:
        receive = self._sock.recvfrom
        take = self.live.front.datagram  # type: ignore[union-attr]
        try:
            for _ in range(BATCH):
                data, sender = receive(MAX_DATAGRAM)
                take(data, (sender or "", 0), self)
        except (BlockingIOError, InterruptedError):
            return
        except Exception as error:
            self._fault(error)

    def _send_unix(self, data: bytes, client: Client) -> None:
        if client[0]:
            self._send_one(data, client[0])  # type: ignore[arg-type]

    def _fault(self, error: Exception) -> None:
        if isinstance(error, OSError):
            log.debug("%s: receiving a datagram failed: %s", self.live.listener.name, reason_of(error))
        else:  # an error with one datagram must not end the listener
            log.error("%s: error while serving a datagram", self.live.listener.name, exc_info=error)


def _widen(sock: socket.socket) -> None:
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _ask_for_local_address(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        if _IPV6_RECVPKTINFO is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    elif _IP_PKTINFO is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _reply_control(control: list[tuple[int, int, bytes]]) -> Control:
    """Return the control message by which a reply leaves from the address to which the datagram was sent."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:  # ifindex, spec_dst, destination
            return ((level, kind, bytes(4) + data[4:8] + bytes(4)),)
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO and data[0] != 0xFF:  # address, ifindex; no multicast
            is_link_local = data[0] == 0xFE and data[1] & 0xC0 == 0x80
            return ((level, kind, data if is_link_local else data[:16] + bytes(4)),)
    return ()
