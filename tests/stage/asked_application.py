"""The application that decides which names get certificates on demand: a real HTTP server, told what to answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SEEN_S = 30.0


class AskedApplication:
    """A running application.

    Attributes: `url` (for `ask`), `asked` (the names, in their order, but those that cannot exist), `status_of` (a
    function of the name), `may_answer` (an event: without it no answer is sent), `fields` and `body` of its answers.
    """

    def __init__(self, status_of: Callable[[str], int]) -> None:
        self.status_of = status_of
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.fields: dict[str, str] = {}
        self.body = b""
        self._has_asked = threading.Condition()
        application = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                application.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.shown = f"http://127.0.0.1:{self.port}/may"
        self.url = f"{self.shown}?key=1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __repr__(self) -> str:
        return f"<AskedApplication {self.url} {self.asked}>"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one question; called in a thread of its own."""
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query, strict_parsing=True)
        (name,) = query["domain"]
        assert (parts.path, query["key"]) == ("/may", ["1"])
        if not name.endswith(".invalid"):
            with self._has_asked:
                self.asked.append(name)
                self._has_asked.notify_all()
            self.may_answer.wait(SEEN_S)
        try:
            handler.send_response(self.status_of(name))
            for field, value in {"Content-Length": str(len(self.body)), **self.fields}.items():
                handler.send_header(field, value)
            handler.end_headers()
            handler.wfile.write(self.body)
        except OSError:
            pass  # it did not wait for the answer

    def wait_asked(self, number: int = 1) -> None:
        """Wait until it was asked that many questions."""
        with self._has_asked:
            assert self._has_asked.wait_for(lambda: len(self.asked) >= number, SEEN_S), self.asked

    def close(self) -> None:
        """Stop it."""
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def asked_application(status_of: Callable[[str], int] | int = 200) -> Iterator[AskedApplication]:
    """Run an application. `status_of`: the status of its answers, by name or for all but those that cannot exist."""
    if isinstance(status_of, int):
        status = status_of
        application = AskedApplication(lambda name: 404 if name.endswith(".invalid") else status)
    else:
        application = AskedApplication(status_of)
    try:
        yield application
    finally:
        application.close()
