"""Lines of access logs that are joined of pieces."""

from __future__ import annotations

from tests.unit.observe.test_access_log import record, request
from tests.unit.web.logs.test_formats import made


def test_equal_heads_share_their_part_of_lines() -> None:
    """And nothing else: each line has its own status, user and addresses."""
    text = made({"format": "$client_ip $user $path $status $cookie.lang"})
    one = request("/a", cookie="lang=de")
    assert text.request(record(one, client_ip="192.0.2.1", user="ann")) == "192.0.2.1 ann /a 200 de\n"
    assert text.request(record(one, client_ip="192.0.2.2", status=404)) == "192.0.2.2 - /a 404 de\n"
