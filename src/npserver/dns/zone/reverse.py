"""Reverse names of addresses (RFC 1035 §3.5, RFC 3596 §2.5): of PTR records made from A and AAAA, and back."""

from __future__ import annotations

from ipaddress import ip_address

_IPV4_TREE = [b"in-addr", b"arpa"]
_IPV6_TREE = [b"ip6", b"arpa"]
_IPV4_LABELS, _IPV6_LABELS = 6, 34  # of the reverse name of one address


def reverse_key(address: bytes) -> bytes:
    """Return the name below `in-addr.arpa` or `ip6.arpa` of an address of 4 or 16 bytes."""
    if len(address) == 4:
        text = [b"%d" % byte for byte in reversed(address)]
        return b"".join([bytes([len(one)]) + one for one in text]) + b"\x07in-addr\x04arpa\0"
    return b"".join([b"\x01" + bytes([digit]) for digit in reversed(address.hex().encode())]) + b"\x03ip6\x04arpa\0"


def reversed_address(labels: list[bytes]) -> tuple[bytes, int] | None:
    """Return the first address of the network that a reverse name is of, and the labels of one address's name.

    Labels that are no part of an address end it, such as those of RFC 2317 (`0/25`). None if it is no reverse name.
    """
    tree = labels[-2:]
    if tree == _IPV4_TREE:
        octets = bytearray()
        for label in labels[-3:-7:-1]:
            if not label.isdigit() or int(label) > 255:
                break
            octets.append(int(label))
        return bytes(octets).ljust(4, b"\0"), _IPV4_LABELS
    if tree == _IPV6_TREE:
        digits = b""
        for label in labels[-3:-35:-1]:
            if label not in b"0123456789abcdef" or len(label) != 1:
                break
            digits += label
        return bytes.fromhex(digits.ljust(32, b"0").decode()), _IPV6_LABELS
    return None


def is_local(address: bytes) -> bool:
    """Return whether an address is private, so that we may answer for its whole /24 or /64."""
    return ip_address(address).is_private
