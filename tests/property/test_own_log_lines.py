"""Own fields and texts of access logs: whatever clients send, a request is one line with all of its fields.

Covers `web.logs.formats`.
"""

from __future__ import annotations

import json
import random
import re

from tests.unit.observe.test_access_log import record, request
from tests.unit.web.logs.test_formats import made

NAMES = [
    "method", "target", "authority", "host", "path", "query", "request_uri", "header.user-agent", "header.referer",
    "cookie.a", "query.b", "user", "upstream", "rule",
]  # fmt: skip
HOSTILE = [*map(chr, range(256)), "\u2028", "\u202e", "\ud800", "\udcff", "\U0001f600", *'""\\\\\n\r${}']
FIELDS = re.compile(r'((?:[^ "\\]|\\.)+) "((?:[^"\\]|\\.)*)"')


def test_a_request_is_one_line_with_all_of_its_fields() -> None:
    chance = random.Random(7)
    fields = {name: f"a ${name} b" for name in NAMES}
    added = made({"fields": fields})
    alone = made({"fields": fields, "standard_fields": False})
    text = made({"format": " ".join([f'${name} "${name}"' for name in NAMES])})

    def hostile() -> str:
        return "".join(chance.choices(HOSTILE, k=chance.randrange(30)))

    for _ in range(300):
        one = request()
        one.known_fields = {
            b"user-agent": chance.randbytes(20),
            b"referer": hostile().encode("utf-8", "surrogatepass"),
            b"cookie": b"a=" + chance.randbytes(9),
        }
        one.method, one.target, one.authority, one.host, one.path, one.query = (hostile() for _ in range(6))
        whole = record(one, user=hostile(), upstream=hostile(), rule=hostile())
        for form in (added, alone):
            line = form.request(whole)
            assert line[:-1].isascii()
            assert line[:-1].isprintable()
            assert set(json.loads(line)) >= set(NAMES)
        line = text.request(whole)
        assert line[:-1].isprintable()
        assert line[-1] == "\n"
        assert FIELDS.sub("", line).strip() == ""
        assert len(FIELDS.findall(line)) == len(NAMES)
