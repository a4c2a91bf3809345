"""Escape text from clients for the logs, so that it can neither control a terminal nor start a new line.

Printable text, the common case, costs only one check.
"""

from __future__ import annotations


def escape_control(text: str) -> str:
    """Return `text` with unprintable characters written as `\\xNN` or `\\uNNNN`."""
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
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
