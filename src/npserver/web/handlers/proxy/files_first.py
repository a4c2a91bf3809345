"""The handler of `proxy` rules with `root`: what is a file there is sent, all else goes to the upstream.

Made by `web.handlers.proxy.compile`. Files are sent by the handler of `static` rules, from the same memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange, Handler
    from npserver.web.handlers.static.handler import StaticHandler


class FilesFirst:
    """Sends the files of a directory, and has another handler answer everything else."""

    __slots__ = ("files", "inner", "prepared")

    def __init__(self, files: StaticHandler, inner: Handler) -> None:
        self.files = files
        self.inner = inner
        #: Called for plain requests: a file in memory is sent without an exchange.
        self.prepared = files.prepared

    def __repr__(self) -> str:
        return f"<FilesFirst {self.files!r} {self.inner!r}>"

    @property
    def redirects_to_slash(self) -> bool:
        """Whether requests for the rule's path without a slash at its end are redirected: see `web.slash_redirect`."""
        return bool(getattr(self.inner, "redirects_to_slash", False))

    def choose(self, exchange: Exchange) -> Handler:
        """Return who answers a request: files are only read."""
        request = exchange.request
        return self.files if request.method in ("GET", "HEAD") and self.files.holds(request.path) else self.inner

    def handle(self, exchange: Exchange) -> None:
        """Send the file, or pass the request on."""
        self.choose(exchange).handle(exchange)
