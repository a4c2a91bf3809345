"""Fuzzes signed messages and files with keys (TSIG, RFC 8945): `make fuzz ARGS="tsig --seconds 60"`.

Oracle: a message is refused by `TsigError` or ValueError, or dnspython takes its signature, too; what is accepted is
what was signed, but for its id and for upper and lower case; and the reply to it can be signed and is accepted.
"""

from __future__ import annotations

import contextlib
import time

import dns.message
import dns.name
import dns.tsig

from fuzz.driver import run
from npserver.dns.message import codes
from npserver.dns.message.header import error_reply
from npserver.dns.message.name import parse_owner
from npserver.dns.message.query import make_question
from npserver.dns.message.tsig import StreamSigner, StreamVerifier, TsigError, TsigKey, refusal, sign, verify
from npserver.dns.message.tsig_file import parse_file, parse_secret

NOW = int(time.time())
KEYS = {
    one.name: one
    for one in (
        TsigKey(parse_owner("xfr"), b"0123456789abcdef" * 2, "hmac-sha256"),
        TsigKey(parse_owner("long.example"), b"fedcba9876543210" * 4, "hmac-sha512"),
    )
}
RING = {
    dns.name.from_wire(one.name, 0)[0]: dns.tsig.Key(dns.name.from_wire(one.name, 0)[0], one.secret, one.algorithm)
    for one in KEYS.values()
}
FILES = [
    b'key "xfr" {\n  algorithm hmac-sha256;\n  secret "MDEyMzQ1Njc4OWFiY2RlZg==";\n};\n',
    b"MDEyMzQ1Njc4OWFiY2RlZg==",
]
PLAIN = [make_question(7, parse_owner("example.com"), rtype) for rtype in (codes.SOA, codes.AXFR)]


def seeds() -> list[bytes]:
    """Return messages signed by either key, at several times, one after another in a stream, and files."""
    found = [*FILES, *PLAIN]
    for key in KEYS.values():
        for one in PLAIN:
            found += [sign(one, key, NOW + offset)[0] for offset in (0, -400)]
            found.append(one[:4] + b"\0\1" + one[6:10] + b"\0\0" + one[12:])
    return found


def target(data: bytes) -> None:
    """One input."""
    with contextlib.suppress(ValueError):
        parse_secret(parse_file(data.decode("utf-8", "replace")).secret)
    for key in KEYS.values():
        verifier = StreamVerifier(key, bytes(32))
        with contextlib.suppress(TsigError, ValueError):
            for _ in range(3):
                verifier.take(data, NOW)
            verifier.end()
    try:
        found = verify(data, KEYS, NOW)
    except TsigError as failure:
        if failure.code:
            refusal(error_reply(data, codes.NOTAUTH), failure, KEYS, NOW)
        return
    except ValueError:
        return
    plain = found.message(data)
    assert plain[2:].lower() in {one[2:].lower() for one in PLAIN}, plain
    dns.message.from_wire(data, keyring=RING)
    reply = StreamSigner(KEYS[found.name], found.mac).sign(error_reply(data, codes.NOERROR), NOW)
    verify(reply, KEYS, NOW, request_mac=found.mac)


if __name__ == "__main__":
    run(target, seeds())
