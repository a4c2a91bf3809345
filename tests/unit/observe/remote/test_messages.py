"""Messages of syslog and of the journal: their forms, and clients that try to forge them."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.observe.log_formats import FORMATS
from npserver.observe.query_log import Json as JsonQuery
from npserver.observe.query_log import Pretty as PrettyQuery
from npserver.observe.remote.messages import FORMS, RemoteFormat, RemoteQueryFormat
from npserver.observe.request_record import QueryRecord
from tests.stage.syslog import RFC3164, RFC5424, read_journal
from tests.unit.observe.test_access_log import record, request

HOSTILE = '\x00\r\n<190>1 - - - - - - forged\nPRIORITY=0\n203.0.113.1 - - \x1b]0;x\x07\x9b\u2028"\\ \xff\xc3('


def made(form: str, inner: str = "pretty", *, hides_query: bool = False) -> RemoteFormat:
    return RemoteFormat(FORMATS[inner](False, hides_query), form, hides_query=hides_query)


@pytest.mark.parametrize(("status", "priority"), [(200, "190"), (404, "190"), (500, "188")])
def test_rfc5424(status: int, priority: str) -> None:
    match = RFC5424.fullmatch(made("rfc5424").request(record(request("/a"), status=status)))
    assert match is not None
    assert match.group(1, 4, 6) == (priority, "npserver", "request")
    assert match[7].startswith(f"203.0.113.9 GET example.com:8080/a {status} ")  # the message has a time of its own


def test_the_syslog_socket_takes_the_old_form() -> None:
    match = RFC3164.fullmatch(made("rfc3164").request(record(request("/a"))))
    assert match is not None
    assert match.group(1, 3) == ("190", "npserver")
    assert match[5].startswith("203.0.113.9 GET example.com:8080/a 200 ")


def test_the_journal_has_fields() -> None:
    entry = read_journal(made("journal", "json").request(record(request("/a?b"), status=500, user="ann")).encode())
    assert entry["MESSAGE"].startswith('{"time":')
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "npserver"
    assert entry["NPSERVER_STATUS"] == "500"
    assert entry["NPSERVER_TARGET"] == "/a?b"
    assert entry["NPSERVER_USER"] == "ann"
    assert "NPSERVER_UPSTREAM" not in entry


def test_the_journal_hides_queries() -> None:
    text = made("journal", hides_query=True).request(record(request("/a?token=1", referer="http://r/?token=2")))
    assert "token" not in text
    assert read_journal(text.encode())["NPSERVER_TARGET"] == "/a"


@pytest.mark.parametrize("form", FORMS)
def test_sessions_and_queries(form: str) -> None:
    for inner, is_there in (("pretty", True), ("json", True), ("combined", False)):
        one = made(form, inner)
        session = one.session("tcp", "db", "10.0.0.9:1", "tcp://db:3306", 1, 2, 1.5, "a\nb")
        query = one.query("udp", "10.0.0.9", "a\nb.", "A", "NOERROR")
        for text in (session, query):
            assert bool(text) is is_there
            assert text.rstrip("\n").count("\n") == (text.count("=") and form == "journal" and 3)


@pytest.mark.parametrize("inner", ["pretty", "json", "combined"])
@pytest.mark.parametrize("form", FORMS)
def test_clients_cannot_forge_messages(form: str, inner: str) -> None:
    fields: dict[str, Any] = {"user_agent": HOSTILE.replace("\u2028", ""), "referer": "\x80\n"}
    one = request(f"/{HOSTILE}", **fields)
    one.method, one.authority = f"GET{HOSTILE}", f"h{HOSTILE}"
    text = made(form, inner).request(record(one, user=HOSTILE))
    wire = text.encode("utf-8", "backslashreplace")
    if form == "journal":
        entry = read_journal(wire)
        assert entry["PRIORITY"] == "6"
        assert all(value.isprintable() for value in entry.values())
    else:
        assert text.isprintable()
        assert (RFC5424 if form == "rfc5424" else RFC3164).fullmatch(wire.decode())


@pytest.mark.parametrize("inner", [PrettyQuery, JsonQuery])
@pytest.mark.parametrize("form", FORMS)
def test_the_query_log(form: str, inner: type[PrettyQuery | JsonQuery]) -> None:
    """The names of questions are from clients too."""
    record = QueryRecord("::1", "tls", f"{HOSTILE}.", "A", "NOERROR", ("aa", "do"), 58, 0.001, "zone home")
    text = RemoteQueryFormat(inner(False), form).line(record)
    if form == "journal":
        entry = read_journal(text.encode("utf-8", "backslashreplace"))
        assert entry.pop("MESSAGE").startswith("::1 tls " if inner is PrettyQuery else '{"time":')
        assert entry.pop("NPSERVER_NAME").isprintable()
        assert entry == {
            "PRIORITY": "6", "SYSLOG_IDENTIFIER": "npserver", "NPSERVER_TYPE": "query", "NPSERVER_CLIENT_IP": "::1",
            "NPSERVER_TRANSPORT": "tls", "NPSERVER_QTYPE": "A", "NPSERVER_RCODE": "NOERROR",
            "NPSERVER_SENT_BYTES": "58", "NPSERVER_DURATION_MS": "1.000", "NPSERVER_DECIDED_BY": "zone home",
        }  # fmt: skip
    else:
        assert text.isprintable()
        match = (RFC5424 if form == "rfc5424" else RFC3164).fullmatch(text)
        assert match is not None
        assert form == "rfc3164" or match[6] == "query"
