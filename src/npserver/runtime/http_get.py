"""One GET or POST over HTTP, for what npserver asks others: bounded in size and time, on a connection of its own.

Redirects are not followed: they are answers with another status than 200. What a URL holds beyond its host may be a
secret of the operator, so `Url` shows neither path nor query.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver import __version__
from npserver.address import HTTP_ONLY, SCHEMES, Address, parse_target, quote_uri
from npserver.errors import BadResponse, NpserverError, clip, reason_of
from npserver.http.chunked import ChunkedDecoder
from npserver.http.request import CHUNKED
from npserver.http.response_parser import MAX_HEAD_BYTES, ResponseHead, parse_response_head
from npserver.regex import regex

if TYPE_CHECKING:
    import ssl

MAX_INTERIM = 8  # 1xx responses before the final one
_PIECE_BYTES = 16 << 10
_FAMILIES = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}

_SCHEMES = frozenset({*HTTP_ONLY, "unix"})
_TARGET = regex(r"/[!-~]*")
_LOCATION = regex(rb"^location:[ \t]*([!-~]+)", re.IGNORECASE | re.MULTILINE)


class Url(Struct, frozen=True):
    """A URL in parts."""

    address: Address  # without the path of a URI
    target: str  # path and query

    @property
    def host(self) -> str:
        """The value of the field Host."""
        if self.address.is_unix:
            return "localhost"
        host, port = self.address.host, self.address.port
        authority = f"[{host}]" if ":" in host else host
        return authority if port == SCHEMES[self.address.scheme].default_port else f"{authority}:{port}"

    def with_query(self, name: str, value: str) -> Url:
        """Return the URL with one more parameter, whose name and value need no escapes."""
        return Url(self.address, f"{self.target}{'&' if '?' in self.target else '?'}{name}={value}")

    def __repr__(self) -> str:
        return f"<Url {self.address}>"


class Trust(Struct, frozen=True):
    """How a server over TLS is verified. `server_name`: sent and verified in place of the URL's host."""

    context: ssl.SSLContext
    server_name: str | None = None


class Post(Struct, frozen=True):
    """What is sent. `fields`: field lines, each with its CRLF, the media type's among them; they may hold secrets."""

    fields: str
    body: bytes

    def __repr__(self) -> str:
        return f"<Post of {len(self.body)} bytes>"


class Answer(Struct, frozen=True):
    """What comes back."""

    status: int
    fields: bytes  # field lines
    body: bytes


class NoAnswer(NpserverError):
    """There is no answer, or none that is whole, or not the one that is wanted. The message is for the operator.

    Attributes: `is_late` (the time was over), `is_long` (it has more bytes than wanted).
    """

    def __init__(self, message: str, *, is_late: bool = False, is_long: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late
        self.is_long = is_long


def parse_url(text: str) -> Url:
    """Read a URL: http, https, or `unix:///run/app.sock:/path`.

    Raises: ValueError with a message for the operator, which quotes no query.
    """
    base, mark, query = text.partition("?")
    name, path = base, ""
    if base.startswith("unix://"):
        scheme, _, rest = base.partition("://")
        socket_path, _, path = rest.partition(":")
        name = f"{scheme}://{socket_path}"
    scheme, has_scheme, _ = name.partition("://")
    if has_scheme and scheme.lower() not in _SCHEMES:
        raise ValueError(f"expected a URL that begins with http://, https:// or unix://, got {quote_uri(base)}")
    address = parse_target(name, likely_scheme="http")
    path = (path if address.is_unix else address.path) or "/"
    if not _TARGET.fullmatch(path) or not _TARGET.fullmatch(f"/{query}"):
        raise ValueError(
            f"expected a path that begins with '/' and has no blanks, got {clip(path)} in {quote_uri(base)}"
        )
    if not address.is_unix:
        address = Address(address.scheme, address.host, address.port)
    return Url(address, path + mark + query)


def is_http_url(text: str) -> bool:
    """Return whether a text is a URL that begins with http:// or https://."""
    try:
        return parse_url(text).address.scheme in HTTP_ONLY
    except ValueError:
        return False


async def get(url: Url, *, timeout_s: float, max_bytes: int, ip_version: int = 0) -> bytes:
    """Return the body of the answer, which has status 200 and up to `max_bytes`. Raises: NoAnswer.

    `ip_version`: 4 or 6 to connect over that one alone.
    """
    async with _answer(url, timeout_s, ip_version) as (head, reader):
        if head.status != 200:
            raise NoAnswer(f"status {head.status} instead of 200{_moved(head)}")
        body = bytearray()
        async for piece in _pieces(reader, head):
            body += piece
            if len(body) > max_bytes:
                raise NoAnswer(f"the answer is longer than {max_bytes} bytes", is_long=True)
        return bytes(body)


async def post(url: Url, sent: Post, *, timeout_s: float, max_bytes: int, trust: Trust | None = None) -> Answer:
    """Send a body. Return the answer, with up to `max_bytes` of its body. Raises: NoAnswer.

    `trust`: None for the system's certificates.
    """
    answer = bytearray()
    async with _answer(url, timeout_s, sent=sent, trust=trust) as (head, reader):
        async for piece in _pieces(reader, head):
            answer += piece
            if len(answer) >= max_bytes:
                break
        return Answer(head.status, head.fields, bytes(answer[:max_bytes]))


async def get_status(url: Url, *, timeout_s: float) -> int:
    """Return the status of the answer, whatever comes of its body. Raises: NoAnswer.

    The beginning of the body is read, and forgotten: an application whose writing fails would complain.
    """
    status = size = 0
    try:
        async with _answer(url, timeout_s) as (head, reader):
            status = head.status
            async for piece in _pieces(reader, head):
                size += len(piece)
                if size >= MAX_HEAD_BYTES:
                    break
    except NoAnswer:
        if not status:
            raise
    return status


def _moved(head: ResponseHead) -> str:
    """Return where a redirect leads, without the path, for a message; "" for other answers."""
    found = _LOCATION.search(head.fields) if 300 <= head.status < 400 else None
    if found is None:
        return ""
    try:
        place = f"at {parse_url(found[1].decode('ascii')).address}" if b"://" in found[1] else "at another path"
    except ValueError:
        place = "elsewhere"
    return f": what it names is {place}, and redirects are not followed"


@contextlib.asynccontextmanager
async def _answer(
    url: Url, timeout_s: float, ip_version: int = 0, sent: Post | None = None, trust: Trust | None = None
) -> AsyncIterator[tuple[ResponseHead, asyncio.StreamReader]]:
    """Yield the head of the answer, and a reader for its body; the time goes on while it is read. Raises: NoAnswer.

    `sent`: by POST; None for a GET.
    """
    body = sent.body if sent is not None else b""
    lines = f"{sent.fields}Content-Length: {len(body)}\r\n" if sent is not None else ""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connect(url.address, ip_version, trust)
            try:
                writer.write(
                    f"{'POST' if sent else 'GET'} {url.target} HTTP/1.1\r\nHost: {url.host}\r\n"
                    f"User-Agent: npserver/{__version__}\r\nAccept: */*\r\n{lines}Connection: close\r\n\r\n".encode(
                        "latin-1"
                    )
                    + body
                )
                yield await _read_head(reader), reader
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        raise NoAnswer(f"no answer within {timeout_s:g} s", is_late=True) from None
    except asyncio.LimitOverrunError:
        raise NoAnswer(f"the head of the answer is longer than {MAX_HEAD_BYTES >> 10} KiB") from None
    except EOFError:
        raise NoAnswer("the connection is closed before the end of the answer's head") from None
    except BadResponse as error:
        raise NoAnswer(f"the answer is not HTTP: {error}") from None
    except OSError as error:
        raise NoAnswer(reason_of(error)) from None


async def _connect(
    address: Address, ip_version: int, trust: Trust | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.is_unix:
        return await asyncio.open_unix_connection(address.path, limit=MAX_HEAD_BYTES)
    context = name = None
    if address.is_tls:
        context = trust.context if trust is not None else await asyncio.to_thread(_make_context)
        name = trust.server_name if trust is not None else None
    return await asyncio.open_connection(
        address.host,
        address.port,
        ssl=context,
        server_hostname=name,
        family=_FAMILIES[ip_version],
        limit=MAX_HEAD_BYTES,
    )


def _make_context() -> ssl.SSLContext:
    import ssl  # only where it is used: a start is shorter without

    return ssl.create_default_context()


async def _read_head(reader: asyncio.StreamReader) -> ResponseHead:
    for _ in range(MAX_INTERIM):
        head = parse_response_head(await reader.readuntil(b"\r\n\r\n"))
        if head.status >= 200:
            return head
    raise BadResponse(f"more than {MAX_INTERIM} interim responses")


async def _pieces(reader: asyncio.StreamReader, head: ResponseHead) -> AsyncIterator[bytes]:
    """Yield the body (RFC 9112 §6.3). Raises: NoAnswer if it is cut off; BadResponse."""
    decoder = ChunkedDecoder(BadResponse) if head.framing is CHUNKED else None
    left = head.body_bytes  # -1: until the connection is closed
    while left and not (decoder is not None and decoder.done):
        piece = await reader.read(min(left, _PIECE_BYTES) if left > 0 else _PIECE_BYTES)
        if not piece:
            if left > 0 or decoder is not None:
                raise NoAnswer("the answer ends in the middle")
            return
        if decoder is not None:
            piece = decoder.feed(piece)
        elif left > 0:
            left -= len(piece)
        yield piece
