"""Access by network: the `allow` and `deny` lists of a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.exchange import Middleware, Refusal

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.networks import AddressSet


class NetworkGate(Middleware):
    """Lets clients pass by their address: none of `deny`, and only those of `allow` if it is given."""

    def __init__(self, allow: AddressSet | None, deny: AddressSet | None, key: str = "") -> None:
        self._allow = allow
        self._deny = deny
        self._denied = Refusal(403, "client address is denied", f"{key}.deny")
        self._not_allowed = Refusal(403, "client address is not allowed", f"{key}.allow")

    def gate(self, client_ip: str, request: Request) -> Refusal | None:
        """Return None to let the client pass, or the refusal: 403."""
        # hot: static-small
        if self._deny is not None and client_ip in self._deny:
            return self._denied
        if self._allow is not None and client_ip not in self._allow:
            return self._not_allowed
        return None
