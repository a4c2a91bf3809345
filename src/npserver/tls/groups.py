"""The groups that TLS handshakes agree on a secret with (RFC 8446 §4.2.7), as `npserver check` names them.

OpenSSL decides which there are: its defaults, or the system's openssl.cnf (Groups). npserver changes nothing, so
that X25519MLKEM768, whose secret a quantum computer cannot compute either, is offered wherever OpenSSL has it. Python's
ssl cannot list the groups before 3.15: they are read from a ClientHello, made by a context with the same defaults.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

POST_QUANTUM = "X25519MLKEM768"
_FIRST_VERSION = (3, 5)  # of OpenSSL, with ML-KEM

_SUPPORTED_GROUPS = 10  # extension
#: Names of the groups in IANA's registry "TLS Supported Groups".
_NAMES = {
    0x0017: "secp256r1", 0x0018: "secp384r1", 0x0019: "secp521r1", 0x001D: "x25519", 0x001E: "x448",
    0x001F: "brainpoolP256r1tls13", 0x0020: "brainpoolP384r1tls13", 0x0021: "brainpoolP512r1tls13",
    0x0029: "curveSM2", 0x0100: "ffdhe2048", 0x0101: "ffdhe3072", 0x0102: "ffdhe4096", 0x0103: "ffdhe6144",
    0x0104: "ffdhe8192", 0x0200: "MLKEM512", 0x0201: "MLKEM768", 0x0202: "MLKEM1024", 0x11EB: "SecP256r1MLKEM768",
    0x11EC: POST_QUANTUM, 0x11ED: "SecP384r1MLKEM1024", 0x11EE: "curveSM2MLKEM768",
}  # fmt: skip


def offered_groups() -> list[str]:
    """Return the names of the groups, in the order of preference."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
    content = _supported_groups(sent.read())
    numbers = [int.from_bytes(content[at : at + 2], "big") for at in range(2, len(content), 2)]
    return [_NAMES.get(number, f"{number:#06x}") for number in numbers]


def describe_groups() -> str:
    """Return the groups as a line for the operator, with the reason if the post-quantum one is missing."""
    groups, version = offered_groups(), ssl.OPENSSL_VERSION.split(" ")
    missing = ""
    if POST_QUANTUM not in groups:
        is_able = ssl.OPENSSL_VERSION_INFO[:2] >= _FIRST_VERSION
        reason = "the system's openssl.cnf leaves it out" if is_able else "it needs OpenSSL 3.5"
        missing = f"; not {POST_QUANTUM}: {reason}"
    return f"key exchange by {', '.join(groups)} ({' '.join(version[:2])}{missing})"


def _supported_groups(hello: bytes) -> bytes:
    """Return the content of the extension in a ClientHello that OpenSSL has made, in one record; b"" without it."""
    at = 43  # behind the headers of record and message, legacy_version and random
    at += 1 + hello[at]  # legacy_session_id
    at += 2 + int.from_bytes(hello[at : at + 2], "big")  # cipher_suites
    at += 1 + hello[at] + 2  # legacy_compression_methods, the length of all extensions
    while at < len(hello):
        kind, size = int.from_bytes(hello[at : at + 2], "big"), int.from_bytes(hello[at + 2 : at + 4], "big")
        if kind == _SUPPORTED_GROUPS:
            return hello[at + 4 : at + 4 + size]
        at += 4 + size
    return b""
