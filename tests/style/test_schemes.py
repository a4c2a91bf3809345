"""`address.SCHEMES` is the only list of schemes: every other set is derived from it."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"

#: A set, a tuple or a list that begins with two schemes.
LITERAL = re.compile(r'[{(\[]"(?:http|https|tcp|udp|ssl|unix|unixgram|upstream)", "(?:http|tcp|udp|ssl|unix|upstream)')

#: Modules where such words are not schemes.
NOT_SCHEMES = {
    "npserver/listen/port_owner.py",  # tables in /proc/net
    "npserver/nameserver/name_server.py",  # transports of a name server
    "npserver/upstream/config.py",  # kinds of health checks
}


def literals(text: str) -> list[str]:
    return LITERAL.findall(text)


def test_no_other_list_of_schemes() -> None:
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if literals(path.read_text())}
    assert found == NOT_SCHEMES


def test_another_list_would_be_found() -> None:
    assert literals('if scheme in {"http", "https"}:')
    assert literals('if scheme in ("tcp", "udp"):')
    assert not literals('Literal["v1", "v2"]')
