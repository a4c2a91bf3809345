"""What block lists need around npserver: a resolver that answers everything, and a server that has the lists."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import dns.message
import dns.rcode
import dns.rrset

ADDRESS = "198.51.100.7"


class AnyResolver:
    """A resolver on 127.0.0.1, over UDP, for which every name has an address.

    `aliases`: names that lead to others. `asked`: the names asked for, in order.
    """

    def __init__(self, aliases: dict[str, str] | None = None) -> None:
        self.aliases = aliases or {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", self._socket.getsockname())
        self._thread.join(20)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(65_535)
            if not data:
                return
            query = dns.message.from_wire(data)
            reply = dns.message.make_response(query, recursion_available=True)
            name = query.question[0].name
            self.asked.append(name.to_text().lower())  # resolvers are asked in random case
            while (target := self.aliases.get(name.to_text().lower())) is not None:
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
                name = dns.name.from_text(target)
            if query.question[0].rdtype == dns.rdatatype.A:
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", ADDRESS))
            self._socket.sendto(reply.to_wire(), client)


class ListServer:
    """An HTTP server on 127.0.0.1. `lists`: what each path has, or a function that yields it; `asked`: the paths."""

    def __init__(self) -> None:
        self.lists: dict[str, bytes | Callable[[], Iterator[bytes]]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.lists.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                if isinstance(content, bytes):
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    for piece in [content] if isinstance(content, bytes) else content():
                        self.wfile.write(piece)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, at once; connections are refused from then on."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(20)
            self._server.server_close()


def result_of(reply: dns.message.Message) -> str:
    """Return the address in a reply, else its rcode."""
    return str(reply.answer[-1][0]) if reply.answer else dns.rcode.to_text(reply.rcode())
