"""Fields of responses for access logs, `$response.content-type`: kept for requests of rules where a log has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.exchange import Middleware, ResponseFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.observe.request_record import RequestRecord
    from npserver.web.exchange import Exchange, ResponseStart


class KeptFields(Middleware):
    """Keeps the field lines of each response, as the middleware of the rule have made them."""

    def response(self, exchange: Exchange) -> ResponseFilter:
        """Return what looks at the head."""
        return _Look(exchange)


class _Look(ResponseFilter):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def start(self, head: ResponseStart) -> bool:
        """Keep the fields; the body passes by."""
        self._exchange.response_fields = head.fields
        return False


def response_field(name: str) -> Callable[[RequestRecord], str]:
    """Return the variable of a field: its values, joined by commas; "" if the response has none."""
    wanted = name.lower().encode()

    def value(record: RequestRecord) -> str:
        exchange = record.exchange
        if exchange is None:
            return ""
        lines, change = exchange.response_fields, exchange.route.change_fields
        if change is not None:
            lines = change(lines)
        found = [line.partition(b":") for line in lines.split(b"\r\n")]
        return ", ".join([text.strip().decode("utf-8", "replace") for key, _, text in found if key.lower() == wanted])

    return value
