"""A compiled `fastcgi` rule towards its upstream: chooses targets as a proxy does, and composes FastCGI requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import BadRequest
from npserver.upstream.fastcgi_records import write_head
from npserver.web.handlers.fastcgi.scripts import Script
from npserver.web.handlers.proxy.proxy import Proxy

if TYPE_CHECKING:
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.fastcgi.params import Params
    from npserver.web.handlers.fastcgi.scripts import Scripts
    from npserver.web.handlers.proxy.proxy import ProxySettings


class Gateway(Proxy):
    """One FastCGI rule: an upstream, and how its requests are written."""

    def __init__(
        self,
        upstream: Upstream,
        settings: ProxySettings,
        *,
        scripts: Scripts,
        params: Params,
        max_age_s: float,
        error_bytes: int,
        error_counter: int,
    ) -> None:
        """Create it.

        Args:
            upstream: the FastCGI servers.
            settings: of the `proxy` rule that it resembles.
            scripts: finds the script of a request.
            params: makes its variables.
            max_age_s: how long a connection may be kept.
            error_bytes: of each request's error output that are logged.
            error_counter: slot of the scoreboard for the bytes of all error output.
        """
        Proxy.__init__(self, upstream, settings)
        self._scripts = scripts
        self.params = params
        self.max_age_s = max_age_s
        self.error_bytes = error_bytes
        self.error_counter = error_counter

    def compose(self, exchange: Exchange, target: Target, length: int | None = None) -> bytes:
        """Return the beginning of the request: its records before the body. `length`: of a body that was buffered.

        Raises: BadRequest if the script has been removed since it was found.
        """
        script = self._scripts.find(exchange.request.path)
        if not isinstance(script, Script):
            raise BadRequest("the script is no longer there", 404, f"{self.settings.key}.root")
        params = self.params.write(exchange, script, length)
        return write_head(params, keep=bool(self.settings.client.pool_size))
