"""Who may come in, by network: `allow` and `deny` of a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.networks import AddressSet
    from npserver.web.exchange import Exchange


class NetworkGuard:
    """Lets clients in by address: none of `deny`, and only those of `allow` if there is one."""

    __slots__ = ("_allow", "_deny", "_key")

    def __init__(self, allow: AddressSet | None, deny: AddressSet | None, key: str = "") -> None:
        self._allow = allow
        self._deny = deny
        self._key = key

    def __call__(self, exchange: Exchange) -> bool:
        """Let pass, or answer 403."""
        ip = exchange.client_ip
        if self._deny is not None and ip in self._deny:
            exchange.fail(403, "client address is denied", f"{self._key}.deny")
            return False
        if self._allow is not None and ip not in self._allow:
            exchange.fail(403, "client address is not allowed", f"{self._key}.allow")
            return False
        return True
