"""A resolver in a thread of its own, for tests of the whole program."""

from __future__ import annotations

import socket
import threading

import dns.message
import dns.rcode
import dns.rrset


class CountingResolver:
    """A resolver on 127.0.0.1 that answers all names and counts the queries for each."""

    def __init__(self, address: str = "198.51.100.7", *, is_forgetful: bool = False) -> None:
        """Start it. `is_forgetful`: it loses the first datagram about each name."""
        self._is_forgetful = is_forgetful
        self.may_answer = threading.Event()  # while it is clear, queries wait
        self.may_answer.set()
        self.asked: list[str] = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        self.answer = address
        self.ttl = 600
        self.is_failing = False  # it answers SERVFAIL
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, client = self._sock.recvfrom(2048)
            if not data:
                return
            query = dns.message.from_wire(data)
            name = query.question[0].name.to_text().lower()
            self.asked.append(name)
            if self._is_forgetful and self.asked.count(name) == 1:
                continue
            self.may_answer.wait(60)
            reply = dns.message.make_response(query, recursion_available=True)
            if self.is_failing:
                reply.set_rcode(dns.rcode.SERVFAIL)
            else:
                reply.answer.append(dns.rrset.from_text(query.question[0].name, self.ttl, "IN", "A", self.answer))
            self._sock.sendto(reply.to_wire() + b"trailing", client)

    def close(self) -> None:
        """End it; queries that wait are answered."""
        self.may_answer.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._sock.getsockname())
        self._thread.join(20)
        self._sock.close()
