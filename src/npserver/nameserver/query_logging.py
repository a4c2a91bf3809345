"""Writes DNS queries to the access log (`logging.dns_queries`) and to the query log (`logging.query_log`)."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.name import to_text
from npserver.dns.message.query import Query, name_end, parse_query
from npserver.dns.zone.tables import ancestors
from npserver.nameserver.blocking.answers import BlockedReply
from npserver.observe.request_record import QueryRecord

if TYPE_CHECKING:
    from npserver.nameserver.query_processor import QueryProcessor
    from npserver.observe.access_log import AccessLog
    from npserver.observe.query_log import QueryLog

#: Bits of the flags of a reply, by the words of dig.
_FLAGS = {"aa": 0x0400, "tc": 0x0200, "rd": 0x0100, "ra": 0x0080, "ad": 0x0020, "cd": 0x0010}


class QueryLogging:
    """The logs of one name server. `access_log`: None if it has no queries."""

    __slots__ = ("_access_log", "_query_log")

    def __init__(self, access_log: AccessLog | None, query_log: QueryLog | None) -> None:
        self._access_log = access_log
        self._query_log = query_log

    def __repr__(self) -> str:
        return f"<QueryLogging {self._access_log!r} {self._query_log!r}>"

    def log(
        self, transport: str, client: str, data: bytes, reply: bytes | None, processor: QueryProcessor | None,
        started: float, source: str,
    ) -> None:  # fmt: skip
        """Log a query and its answer.

        Args:
            processor: that has answered from the zones; None if the answer is from elsewhere, then `source` says it.
            started: when the query came, by `time.perf_counter`.
        """
        end = name_end(data, 12)
        name, kind, key = "?", "?", b""
        if end is not None and end + 2 <= len(data):
            key = data[12:end].lower()
            name, kind = to_text(data[12:end]), codes.type_name(int.from_bytes(data[end : end + 2], "big"))
        query = parse_query(data)
        edns = query.edns if isinstance(query, Query) else None
        rcode = "dropped" if reply is None else codes.rcode_name(reply[3] & 0xF)
        if edns is not None and edns[2] and reply is not None:
            rcode = codes.rcode_name(codes.BADVERS)
        blocked_by = reply.key if isinstance(reply, BlockedReply) else ""
        if self._access_log is not None:
            self._access_log.query(
                transport=transport, client=client, name=name, type=kind, rcode=rcode, blocked_by=blocked_by
            )
        if self._query_log is None:
            return
        flags = 0 if reply is None else int.from_bytes(reply[2:4], "big")
        shown = [word for word, bit in _FLAGS.items() if flags & bit]
        if edns is not None and edns[1]:
            shown.append("do")
        decided_by = blocked_by or source or _place(processor, key)
        duration_s = perf_counter() - started
        self._query_log.query(
            QueryRecord(client, transport, name, kind, rcode, tuple(shown), len(reply or b""), duration_s, decided_by)
        )


def _place(processor: QueryProcessor | None, key: bytes) -> str:
    """Return which zone a name is in, or why it is refused."""
    if processor is None or not key:
        return ""
    zones = processor.responder.tables.zones
    for above in ancestors(key):
        if above in zones:
            return f"zone {to_text(above).removesuffix('.') or '.'}"
    if processor.local_names is not None and processor.may_recurse:
        return "local names"
    if not processor.is_prohibited:
        return "no zone"
    return "dns_forward.allow" if zones else "allow or deny"
