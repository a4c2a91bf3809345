"""The HTTP server of the demo's page, which npserver proxies to: shows the page, and does what its buttons say."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from npserver.cli.tour import page
from npserver.cli.tour.clients import Outcome
from npserver.cli.tour.excerpt import Excerpts
from npserver.cli.tour.steps import STEPS
from npserver.errors import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.cli.tour.clients import Place
    from npserver.cli.tour.samples import Samples

PART = "text/x-part"  # the media type by which the page's script asks for a result alone


class TourServer:
    """The server, as a context manager. `place` is set once all ports are known."""

    def __init__(self, samples: Samples) -> None:
        self.place: Place | None = None
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.tour = self
        self._thread = threading.Thread(target=self._server.serve_forever, name="tour", daemon=True)
        self._samples = samples

    def __repr__(self) -> str:
        return f"<TourServer {self.port}>"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def show(self, tried: str = "", outcomes: Sequence[Outcome] = ()) -> str:
        """Return the page, with the result of the step that was tried."""
        assert self.place is not None
        text = Path(self.place.config_file).read_text(encoding="utf-8", errors="replace")
        return page.render(self.place, Excerpts(text), {tried: outcomes})

    def attempt(self, name: str) -> list[Outcome]:
        """Do what the button of a step says."""
        assert self.place is not None
        outcomes: list[Outcome] = []
        try:
            outcomes.extend(STEPS[name].run(self.place, self._samples))
        except (OSError, ValueError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            outcomes.append(Outcome("no answer", reason_of(error), is_good=False))
        return outcomes


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tour: TourServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that npserver has closed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    server: _Server

    def do_GET(self) -> None:
        """Show the page."""
        self._answer(200, self.server.tour.show())

    def do_POST(self) -> None:
        """Try a step."""
        name = self.path.removeprefix("/try/")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            self._answer(403, "only the page's own buttons work\n")
        elif name not in STEPS:
            self._answer(404, "no such step\n")
        else:
            outcomes = self.server.tour.attempt(name)
            is_part = PART in self.headers.get("Accept", "")
            self._answer(200, page.result(outcomes) if is_part else self.server.tour.show(name, outcomes))

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", page.DESIGN.policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""
