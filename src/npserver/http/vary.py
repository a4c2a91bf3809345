"""The Vary field of responses that depend on a field of the request (RFC 9110 §12.5.5). Pure."""

from __future__ import annotations


def with_vary(fields: bytes, name: bytes) -> bytes:
    """Return field lines whose Vary names a field: added to the Vary that is there."""
    lines = fields.split(b"\r\n")
    place = -1
    for number, line in enumerate(lines):
        key, _, value = line.partition(b":")
        if key.lower() != b"vary":
            continue
        named = [one.strip().lower() for one in value.split(b",")]
        if b"*" in named or name.lower() in named:
            return fields
        place = number
    if place < 0:
        return b"%bVary: %b\r\n" % (fields, name)
    lines[place] = (
        lines[place].rstrip(b" \t,") + (b", " if lines[place].partition(b":")[2].strip(b" \t,") else b" ") + name
    )
    return b"\r\n".join(lines)
