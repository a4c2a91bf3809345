"""`only` of access logs: conditions on requests, and what is wrong with those that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.observe.conditions import compile_condition
from npserver.observe.request_record import BriefQuery, SessionRecord
from tests.unit.observe.test_access_log import record, request


@pytest.mark.parametrize(
    ("text", "changes", "holds"),
    [
        ("status >= 400", {"status": 400}, True),
        ("status >= 400", {"status": 399}, False),
        ("status!=404", {"status": 404}, False),
        ("duration > 1s", {"duration_s": 1.5}, True),
        ("duration > 1s", {"duration_s": 1.0}, False),
        ("duration <= 500ms", {"duration_s": 0.5}, True),
        ("sent_bytes > 1m", {"sent": (1 << 20) + 1}, True),
        ("received_bytes < 10", {"received": 10}, False),
        ("status = 200 and sent_bytes = 0", {"sent": 0}, True),
        ("status = 200 and sent_bytes = 0", {"sent": 1}, False),
        ("status = 500 or status = 200 and sent_bytes = 5", {"sent": 5}, True),
        ("status = 500 or status = 200 and sent_bytes = 5", {"sent": 6}, False),
        ("status = 500 or status = 200 and sent_bytes = 5", {"status": 500, "sent": 6}, True),
        ("host = *.com", {}, True),
        ("host != example.com", {}, False),
        ('path = "/a"', {}, True),
        ('path = "and"', {}, False),
        ("method = POST", {}, False),
        ('user = ""', {}, True),
        ('user = ""', {"user": "ann"}, False),
        ("client_ip = 203.0.113.*", {}, True),
        ('upstream = "http://10.0.0.1:*"', {"upstream": "http://10.0.0.1:80"}, True),
        ("scheme = https", {}, False),
        ("protocol = HTTP/1.1", {}, True),
    ],
)
def test_it_holds_for_some_requests(text: str, changes: dict[str, Any], holds: bool) -> None:
    only = compile_condition(text)
    assert only.request is not None
    assert only.request(record(request(), **changes)) is holds
    assert only.session is only.query is None


SESSION = SessionRecord("tcp", "db", "[2001:db8::7]:4711", "tcp://10.0.0.5:5432", 10, 2000, 90.0, "timeout")
QUERY = BriefQuery("udp", "192.0.2.7", "x.ads.example.", "A", "NXDOMAIN", "dns_block.lists[0]")


@pytest.mark.parametrize(
    ("text", "session", "query"),
    [
        ("type = session", True, None),
        ("type = session and duration > 1m", True, None),
        ("duration > 2m and type = session", False, None),
        ("type = session and client_ip = 2001:db8::* and sent_bytes < 2k and received_bytes = 10", True, None),
        ("type = session and listener = db and target = *:5432 and kind = tcp and reason = timeout", True, None),
        ("type = query and rcode != NOERROR", None, True),
        ("type = query and name = *.ads.example. and qtype = A and transport = tcp", None, False),
        ('type = query and blocked_by != "" and client_ip = 192.0.2.7', None, True),
        ("type = session and duration > 2m or type = session and reason = t* or type = query", True, True),
        ("type = request and status = 200 or type = query and rcode = REFUSED", None, False),
    ],
)
def test_sessions_and_queries_are_written_where_their_type_is_named(
    text: str, session: bool | None, query: bool | None
) -> None:
    only = compile_condition(text)
    assert (only.session(SESSION) if only.session is not None else None) is session
    assert (only.query(QUERY) if only.query is not None else None) is query
    assert (only.request is not None) is ("request" in text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a comparison such as status >= 400"),
        ("  ", "expected a comparison such as status >= 400"),
        ("stat > 3", "column 1: unknown name 'stat'; did you mean status?"),
        ("status = 200 and x = 1", "column 18: unknown name 'x'; expected one of status, duration"),
        ("type = session and status = 200", "column 20: a session has no status; it has duration, received_bytes"),
        ("rcode = NOERROR", "column 1: a request has no rcode; write type = query and rcode ..."),
        ("type = sesion", "column 8: expected one of request, session, query, got 'sesion'"),
        ("type != request", "column 6: expected = after type, got '!='"),
        ("status = 200 or type =", "column 23: expected = and a type"),
        ("type = query and type = session", "column 25: nothing is a query and a session"),
        ("status >=", "column 10: expected a value for status"),
        ("status", "column 7: expected an operator and a value for status"),
        ("status 400", "column 8: expected one of < <= > >= = != after status, got '400'"),
        ("host > a", "column 6: expected one of = != after host, got '>'"),
        ("status >= many", "column 11: expected a status such as 404, got 'many'"),
        ("status >= 99999999999", "column 11: expected a status such as 404"),
        ("status = ²", "column 10: expected a status such as 404"),
        ("duration > soon", "column 12: expected a time such as 10"),
        ("sent_bytes > 1x", "column 14: expected a size such as 65536"),
        ("status = 200 status = 300", "column 14: expected 'and' or 'or', got 'status'"),
        ("status = 200 and", "column 17: expected a comparison"),
        ("host = > 3", "column 8: expected a value for host, got '>'"),
        ('host = "a', "column 8: cannot read"),
    ],
)
def test_what_is_wrong_has_its_column(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        compile_condition(text)
    assert message in str(caught.value)
