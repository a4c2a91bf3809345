"""The PROXY protocol, versions 1 and 2: a header with the client's address at the start of a connection or datagram.

Pure. The specification is HAProxy's `proxy-protocol.txt`. Listeners read headers (`listen.proxy_header`,
`listen.datagrams`), forwards write them. Section numbers below are the specification's."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

Endpoint = tuple[str, int]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # of version 2, §2.2
MAX_V1_BYTES = 107  # §2.1, the longest line
MAX_V2_BYTES = 4096  # addresses take 36 bytes; the rest are TLVs, the largest known are names of client certificates

_LOCAL, _PROXY = 0x20, 0x21  # version 2 and the command
_FAMILIES = {1: 12, 2: 36, 3: 216}  # AF_INET, AF_INET6, AF_UNIX: size of both addresses and ports
_STREAM, _DATAGRAM = 1, 2


class ProxyHeaderError(ValueError):
    """The bytes are not a PROXY header."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A parsed header. Without `source` the proxy itself is the client (a health check), or the address is unknown."""

    size: int  # in bytes; the data of the connection follows
    source: Endpoint | None = None
    destination: Endpoint | None = None
    is_datagram: bool = False


def parse_header(data: bytes) -> ProxyHeader | None:
    """Parse a header at the start of a stream. Return None if it is not complete.

    Raises: ProxyHeaderError as soon as the bytes cannot become a header.
    """
    if data.startswith(SIGNATURE):
        return _parse_v2(data)
    if data.startswith(b"PROXY "):
        return _parse_v1(data)
    if data and (SIGNATURE.startswith(data) or b"PROXY ".startswith(data)):
        return None
    if data:
        raise ProxyHeaderError("expected a PROXY header")
    return None


def parse_datagram(data: bytes) -> tuple[Endpoint | None, bytes] | None:
    """Return the source and the payload of a datagram with a version 2 header (§2.2); None if it has none."""
    if not data.startswith(SIGNATURE):
        return None
    try:
        header = _parse_v2(data)
    except ProxyHeaderError:
        return None
    if header is None or not (header.source is None or header.is_datagram):
        return None
    return header.source, data[header.size :]


def encode_v1(source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Return a header of version 1. Without endpoints its family is UNKNOWN."""
    pair = _same_family(source, destination)
    if pair is None or source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    family = "TCP4" if pair[0].version == 4 else "TCP6"
    return f"PROXY {family} {pair[0]} {pair[1]} {source[1]} {destination[1]}\r\n".encode()


def encode_v2(source: Endpoint | None, destination: Endpoint | None, *, datagram: bool = False) -> bytes:
    """Return a header of version 2. Without endpoints its family is unspecified."""
    pair = _same_family(source, destination)
    if pair is None or source is None or destination is None:
        return SIGNATURE + bytes((_PROXY, 0, 0, 0))
    family = (1 if pair[0].version == 4 else 2) << 4 | (_DATAGRAM if datagram else _STREAM)
    ports = source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    addresses = pair[0].packed + pair[1].packed + ports
    return SIGNATURE + bytes((_PROXY, family)) + len(addresses).to_bytes(2, "big") + addresses


def _same_family(
    source: Endpoint | None, destination: Endpoint | None
) -> tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address] | None:
    """Return both addresses in one family: IPv4 if both are IPv4 or IPv4-mapped, else IPv6."""
    if source is None or destination is None:
        return None
    try:
        one, other = _plain(source[0]), _plain(destination[0])
    except ValueError:
        return None
    if isinstance(one, IPv4Address) and isinstance(other, IPv4Address):
        return one, other
    return _as_ipv6(one), _as_ipv6(other)


def _plain(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    """Parse version 1 (§2.1): `PROXY TCP4 source destination port port CRLF`, with single spaces."""
    line, end, _ = data[:MAX_V1_BYTES].partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]) or (not end and len(data) >= MAX_V1_BYTES):
        raise ProxyHeaderError("PROXY header without CRLF")
    if not end:
        return None
    size = len(line) + 2
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return ProxyHeader(size)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyHeaderError("malformed PROXY header")
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    source, destination = ((_address(words[at], kind), _port(words[at + 2])) for at in (2, 3))
    return ProxyHeader(size, source, destination)


def _address(word: bytes, kind: type[IPv4Address | IPv6Address]) -> str:
    try:
        return str(_plain(str(kind(word.decode("ascii")))))
    except ValueError as error:
        raise ProxyHeaderError("malformed address in a PROXY header") from error


def _port(word: bytes) -> int:
    if not 1 <= len(word) <= 5 or not word.isdigit() or (word[:1] == b"0" and word != b"0") or int(word) > 65535:
        raise ProxyHeaderError("malformed port in a PROXY header")
    return int(word)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    """Parse version 2 (§2.2): signature, version and command, family and protocol, length, addresses, TLVs."""
    if len(data) > 12 and data[12] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"PROXY header with version and command {data[12]:#x}")
    if len(data) < 16:
        return None
    length = int.from_bytes(data[14:16], "big")
    size = 16 + length
    if size > MAX_V2_BYTES:
        raise ProxyHeaderError(f"PROXY header of {size} bytes, at most {MAX_V2_BYTES} are accepted")
    if len(data) < size:
        return None
    family, transport = data[13] >> 4, data[13] & 15
    if data[12] == _LOCAL or family == 0 or transport == 0:
        return ProxyHeader(size)  # "the receiver must accept the connection and use the real endpoints"
    if family not in _FAMILIES or transport not in (_STREAM, _DATAGRAM):
        raise ProxyHeaderError(f"PROXY header with family and protocol {data[13]:#x}")
    if length < _FAMILIES[family]:
        raise ProxyHeaderError("PROXY header too short for its addresses")
    _check_tlvs(data[16 + _FAMILIES[family] : size])
    if family == 3:
        return ProxyHeader(size)
    kind, width = (IPv4Address, 4) if family == 1 else (IPv6Address, 16)
    source, destination = (str(_plain(str(kind(data[at : at + width])))) for at in (16, 16 + width))
    at = 16 + 2 * width
    ports = int.from_bytes(data[at : at + 4], "big")
    return ProxyHeader(size, (source, ports >> 16), (destination, ports & 0xFFFF), transport == _DATAGRAM)


def _check_tlvs(data: bytes) -> None:
    """Check that the rest of a header is TLVs (§2.2.1): type, 2-byte length, value. None is used."""
    at = 0
    while at < len(data):
        at += 3 + int.from_bytes(data[at + 1 : at + 3], "big")
    if at != len(data):
        raise ProxyHeaderError("PROXY header with malformed TLVs")
