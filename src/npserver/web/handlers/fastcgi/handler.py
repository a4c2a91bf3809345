"""The handler of `fastcgi` rules: runs the script of a request, or sends the file beside the scripts.

Made by `web.handlers.fastcgi.compile`. Files are sent by the handler of `static` rules, from the same memory.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from npserver.http.request import BY_LENGTH, NO_BODY
from npserver.web.handlers.fastcgi.call import (
    FastcgiCall,
    FastcgiTimedCall,
    FastcgiTimedWaitingCall,
    FastcgiUpload,
    FastcgiWaitingCall,
)
from npserver.web.handlers.fastcgi.scripts import Found, Script, Scripts, Target
from npserver.web.handlers.proxy.buffered_upload import BufferedUpload
from npserver.web.handlers.static.root import FileError
from npserver.web.slash_redirect import add_slash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.web.exchange import Exchange, Handler
    from npserver.web.handlers.fastcgi.gateway import Gateway
    from npserver.web.handlers.proxy.spool import SpoolSettings
    from npserver.web.handlers.static.handler import StaticHandler


class FastcgiHandler:
    """Serves the scripts and files of one rule.

    Args:
        gateway: runs scripts.
        scripts: finds them.
        files: sends the files beside them.
        spool: where bodies are buffered that are small or whose length is not known before, or all if the rule says so.
        keys: config keys to name in the log when there is no script and no file.
    """

    __slots__ = ("_keys", "_make_call", "_spool", "files", "gateway", "prepared", "scripts")

    def __init__(
        self,
        gateway: Gateway,
        scripts: Scripts,
        files: StaticHandler,
        spool: SpoolSettings,
        keys: Mapping[FileError, str],
    ) -> None:
        self.gateway = gateway
        self.scripts = scripts
        self.files = files
        self._spool = spool
        self._keys = keys
        #: Called for plain requests: a file in memory is sent without an exchange.
        self.prepared = files.prepared
        self._make_call: type[FastcgiCall] = FastcgiCall if gateway.upstream.queue is None else FastcgiWaitingCall
        if gateway.is_timed:
            self._make_call = FastcgiTimedCall if gateway.upstream.queue is None else FastcgiTimedWaitingCall

    def __repr__(self) -> str:
        return f"<FastcgiHandler {self.scripts!r} {self.gateway.upstream!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Run the script or send the file that the path leads to."""
        found = self.scripts.find(exchange.request.path)
        if type(found) is Script:
            self._run(exchange)
        else:
            self.answer(exchange, found, self.files)

    def answer(self, exchange: Exchange, found: Target, files: Handler) -> None:
        """Answer a request that leads to no script. `files`: sends files."""
        if found is Found.FILE:
            files.handle(exchange)
        elif found is Found.DIRECTORY:
            add_slash(exchange)
        elif isinstance(found, FileError):
            self._refuse(exchange, found)

    def _refuse(self, exchange: Exchange, error: FileError) -> None:
        level = logging.DEBUG if error is FileError.FORBIDDEN else None  # it is logged with its name already
        exchange.fail(error.status, error.reason, self._keys[error], level=level)

    def _run(self, exchange: Exchange) -> None:
        gateway = self.gateway
        call = self._make_call(gateway, exchange)
        request = exchange.request
        exchange.source = call
        if request.framing is not NO_BODY:
            # PHP runs a script without its body if the client breaks that off: one that is soon there is waited for
            is_small = request.framing is BY_LENGTH and request.length <= gateway.settings.rule.buffer_size
            if is_small or gateway.settings.request_spool is not None or request.framing is not BY_LENGTH:
                call.upload = upload = BufferedUpload(exchange, call, self._spool)
                upload.receive()  # it starts the call
                return
            call.upload = FastcgiUpload(exchange, call, gateway.settings.rule.buffer_size)
        call.start()
