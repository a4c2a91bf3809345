"""Text of strangers on its way into a log: no control character may reach a terminal or begin a line of its own.

Printable text, which is nearly all of it, passes at the price of one look.
"""

from __future__ import annotations


def escape_control(text: str) -> str:
    """Write control and other unprintable characters as `\\xNN` or `\\uNNNN`."""
    return text if text.isprintable() else "".join(map(_escape, text))


def escape_quoted(text: str) -> str:
    """The same for text that stands between double quotes: `"` and `\\` are escaped too, as Apache does."""
    if '"' in text or "\\" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
