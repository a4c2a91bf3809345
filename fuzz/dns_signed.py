"""Fuzzes signed messages and the records of messages: `make fuzz ARGS="dns_signed --seconds 60"`.

Oracle: any bytes are read, or refused with a ValueError; and what carries a valid signature is what was signed.
"""

from __future__ import annotations

import contextlib

import dns.message
import dns.rrset

from npserver.dns.message.sections import read_records
from npserver.dns.message.tsig import StreamVerifier, TsigError, TsigKey, refusal, sign, verify

KEY = TsigKey(b"\3key\7example\0", b"secret")
KEYS = {KEY.name: KEY}
NOW = 1_750_000_000
MAC = b"m" * 32


def _plain() -> list[bytes]:
    query = dns.message.make_query("www.example.com", "TXT", use_edns=0, id=7)
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "a.example.com."))
    reply.answer.append(dns.rrset.from_text("a.example.com.", 60, "IN", "MX", "10 mail.example.com."))
    return [query.to_wire(), reply.to_wire(), bytes(12)]


PLAIN = frozenset(_plain())


def check(data: bytes) -> None:
    """Read `data` as each side would."""
    with contextlib.suppress(ValueError):
        list(read_records(data))
    try:
        found = verify(data, KEYS, NOW, request_mac=MAC)
    except TsigError as error:
        if error.tsig is not None:
            answer = refusal(b"\0\7\x80\0" + bytes(8), error, KEYS, NOW)
            assert dns.message.from_wire(answer, keyring=False).rcode() == 9  # type: ignore[arg-type]
    except ValueError:
        pass
    else:
        assert found.message(data) in PLAIN
    with contextlib.suppress(ValueError):
        StreamVerifier(KEY, MAC).take(data, NOW)


def seeds() -> list[bytes]:
    """Return messages, signed and not."""
    return [one for plain in sorted(PLAIN) for one in (plain, sign(plain, KEY, NOW, request_mac=MAC)[0])]


if __name__ == "__main__":
    from fuzz.driver import run

    run(check, seeds())
