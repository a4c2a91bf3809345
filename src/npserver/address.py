"""Addresses as the config writes them: `http://:8080`, `tcp://db:3306`, `unix:///tmp/app.sock`, `upstream://pool`.

Pure; used by `config`, `build` and `net`.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Schemes that listen, with what they speak.
STREAM_SCHEMES = frozenset({"http", "https", "tcp", "ssl", "unix"})
DATAGRAM_SCHEMES = frozenset({"udp", "unixgram"})
TLS_SCHEMES = frozenset({"https", "ssl"})
UNIX_SCHEMES = frozenset({"unix", "unixgram"})
HTTP_SCHEMES = frozenset({"http", "https", "unix", "ssl"})  # what a rule without `listener` serves


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URI."""

    scheme: str
    host: str = ""  # lower case, without brackets; "" is any address; the name of an `upstream://`
    port: int = 0
    path: str = ""  # a socket's path for unix schemes; the URI's path ("" or "/...") for http and https

    @property
    def is_stream(self) -> bool:
        """Whether bytes flow, rather than datagrams."""
        return self.scheme in STREAM_SCHEMES

    @property
    def is_tls(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in TLS_SCHEMES

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket."""
        return self.scheme in UNIX_SCHEMES

    def __str__(self) -> str:
        if self.is_unix:
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{host}{port}{self.path}"
