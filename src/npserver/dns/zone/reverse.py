"""Reverse names of addresses (RFC 1035 §3.5, RFC 3596 §2.5), for PTR records made from A and AAAA."""

from __future__ import annotations

from ipaddress import ip_address


def reverse_key(address: bytes) -> bytes:
    """Return the name below `in-addr.arpa` or `ip6.arpa` of an address of 4 or 16 bytes."""
    if len(address) == 4:
        text = [b"%d" % byte for byte in reversed(address)]
        return b"".join([bytes([len(one)]) + one for one in text]) + b"\x07in-addr\x04arpa\0"
    return b"".join([b"\x01" + bytes([digit]) for digit in reversed(address.hex().encode())]) + b"\x03ip6\x04arpa\0"


def is_local(address: bytes) -> bool:
    """Return whether an address is private, so that we may answer for its whole /24 or /64."""
    return ip_address(address).is_private
