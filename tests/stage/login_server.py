"""A program like oauth2-proxy: `/oauth2/auth` answers 202 or 401, `/oauth2/sign_in` is a page with a form.

The password is `sesame` for every user. A session is a random cookie, remembered here.
"""

from __future__ import annotations

import asyncio
import html
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.stage.serving import forgiving

COOKIE = "_session"


class LoginServer:
    """The program, on a free port of this loop. `script`: HTML that its page has after the form."""

    def __init__(self, script: str = "") -> None:
        self._script = script
        self.sessions: dict[str, str] = {}
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(forgiving(self._serve), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._writers: set[asyncio.StreamWriter] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *lines = head.split("\r\n")[:-2]
                fields = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                method, target, _ = line.split(" ")
                writer.write(self._answer(method, target, fields, body.decode()))
        finally:
            self._writers.discard(writer)

    def _answer(self, method: str, target: str, fields: dict[str, str], body: str) -> bytes:
        url = urlsplit(target)
        if url.path == "/oauth2/auth":
            cookies = dict(one.split("=", 1) for one in fields.get("cookie", "").split("; ") if one)
            user = self.sessions.get(cookies.get(COOKIE, ""))
            return _write(202, {"X-Auth-Request-User": user}) if user else _write(401, {}, "Unauthorized")
        if url.path != "/oauth2/sign_in":
            return _write(404, {}, "not here")
        if method == "GET":
            rd = html.escape(parse_qs(url.query)["rd"][0])
            inputs = f'<input name="user"><input name="password"><input name="rd" value="{rd}">'
            return _write(200, {"Content-Type": "text/html"}, f'<form method="post">{inputs}</form>{self._script}')
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if form.get("password") != "sesame":
            return _write(403, {}, "wrong")
        host = fields["x-forwarded-host"]
        if urlsplit(form["rd"]).netloc != host:
            return _write(400, {}, "elsewhere")
        token = secrets.token_urlsafe()
        self.sessions[token] = form["user"]
        return _write(302, {"Location": form["rd"], "Set-Cookie": f"{COOKIE}={token}; Path=/; HttpOnly; Secure"})


def _write(status: int, fields: dict[str, str], body: str = "") -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
    return f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@contextmanager
def login_server_in_thread(script: str = "") -> Iterator[LoginServer]:
    """Run the program on a loop of its own."""
    server = LoginServer(script)
    is_up, is_over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with server:
            is_up.set()
            await is_over.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert is_up.wait(30)
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(is_over.set)
        thread.join(30)
