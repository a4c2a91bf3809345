"""The addresses of one client, as they change (RFC 9000 §9): where datagrams come from and go to.

The library validates each address that it does not know yet, but it keeps at most four, forgets none, and never goes
back to one. An address that the client comes back to is therefore told to it as another one, by another port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from npserver.listen.quic.roles import Peer, QuicSocket
    from npserver.runtime.front import Client

MAX_PATHS = 4  # addresses that the library keeps
MAX_ROUTES = 16


class ClientPaths:
    """The addresses of one connection."""

    # peer       the validated address and port that we send to
    # client     the same, as the socket names it
    # number     addresses that the library knows
    # _aliases   the address by which the library knows each address of the client
    # _routes    by that address: where datagrams for it are sent
    # _arrived   the present datagram's sender, if the library may not know it, and what is told to the library
    # _before    `number` when it came

    __slots__ = ("_aliases", "_arrived", "_before", "_routes", "_run", "_run_to", "client", "number", "peer", "socket")

    def __init__(self, client: Client, socket: QuicSocket) -> None:
        self.client = client
        self.socket = socket
        self.peer = cast("Peer", client[:2])
        self.number = 1
        self._aliases: dict[Peer, Peer] = {self.peer: self.peer}
        self._routes: dict[Peer, tuple[Client, QuicSocket]] = {self.peer: (client, socket)}
        self._arrived: tuple[Peer, Peer] | None = None
        self._before = 1
        self._run: list[bytes] = []
        self._run_to = self.peer

    def arrive(self, client: Client) -> Peer | None:
        """Return the address to tell the library for a datagram of `client`; None if it would take no further one."""
        peer = cast("Peer", client[:2])
        self._arrived = None
        alias = self._aliases.get(peer)
        if alias is None:
            if self.number >= MAX_PATHS:
                return None
            host, port = peer
            while (host, port) in self._routes:
                port = port % 65_535 + 1
            alias, self._before = (host, port), self.number
        if peer != self.peer:
            self._arrived = peer, alias
        return alias

    def taken(self, client: Client, socket: QuicSocket, active: Peer | None, *, is_held: bool) -> bool:
        """The library has taken that datagram. Return whether the client's validated address is now another one.

        Args:
            active: the address that the library sends to.
            is_held: the library keeps its events, and may not have told yet that it knows one more address.
        """
        if self._arrived is None:
            return False
        (peer, alias), self._arrived = self._arrived, None
        if peer not in self._aliases and (self.number > self._before or (is_held and len(self._routes) < MAX_ROUTES)):
            self._aliases[peer] = alias
            self._routes[alias] = (client, socket)
        if active != alias or alias not in self._routes:
            return False
        self.peer = peer
        self.client, self.socket = self._routes[alias]
        self._aliases = {peer: alias}
        return True

    def redirect(self, client: Client, socket: QuicSocket) -> None:
        """Send everything to an address that the library cannot know."""
        self._routes = dict.fromkeys(self._routes, (client, socket))

    def send(self, data: bytes, alias: Peer) -> None:
        """Send a datagram to an address of the library's, together with those before and after it (`flush`)."""
        run = self._run
        if run and (alias != self._run_to or len(data) > len(run[0]) or len(run[-1]) < len(run[0])):
            self.flush()
            run = self._run
        run.append(data)
        self._run_to = alias

    def flush(self) -> None:
        """Send what is gathered: datagrams of one size for one address, the last of which may be shorter."""
        run, self._run = self._run, []
        route = self._routes.get(self._run_to)
        if run and route is not None:
            client, socket = route
            socket.send_run(run, client)
