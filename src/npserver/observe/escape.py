"""Escape text from clients for the logs, so that it can neither control a terminal nor start a new line.

Printable text, the common case, costs only one check. UTF-8 stays readable; bytes that are not UTF-8 are carried by the
surrogates U+DC80 to U+DCFF (PEP 383) until they are escaped.
"""

from __future__ import annotations

_BYTES = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}  # surrogates to the bytes that they stand for


def decode(wire: bytes) -> str:
    """Return bytes of a client as text, to be escaped."""
    return wire.decode("utf-8", "surrogateescape")


def decode_latin1(text: str) -> str:
    """Return a text whose characters stand for bytes, as those of request targets do, as `decode` would."""
    if text.isascii():
        return text
    try:
        return decode(text.encode("latin-1"))
    except UnicodeEncodeError:  # they do not
        return text


def replace_surrogates(text: str) -> str:
    """Return `text` with the bytes that are not UTF-8 as the characters of Latin-1: no surrogate is valid in JSON."""
    return text if text.isascii() else text.translate(_BYTES)


def escape_control(text: str) -> str:
    """Return `text` with unprintable characters and bytes written as `\\xNN` or `\\uNNNN`."""
    return text if text.isprintable() else "".join(map(_escape, text))


def escape_quoted(text: str) -> str:
    """Return `text` escaped for use between double quotes: `"` and `\\` are escaped too, as Apache does."""
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    code = _BYTES.get(code, code)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
