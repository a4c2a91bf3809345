"""Changes to header fields, as the config's `headers` and `response_headers` say them.

Compiled by `build`; called for each response (and by the proxy for each request) with the block of field lines, each
ending in CRLF. Blocks repeat, so for changes without variables the result is remembered by the block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.regex import regex
from npserver.web.variables import Template, compile_template, is_constant

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

#: Rewrites a block of field lines.
Rewriter = Callable[["Exchange", bytes], bytes]

_TOKEN = regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = regex(r"[\x00-\x08\x0a-\x1f\x7f]")
#: What frames a message or belongs to one connection is the server's business (RFC 9110 §7.6.1).
_RESERVED = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
#: What every answer begins with, and the key that changes it.
_COMMON = {"date": "", "server": " (server_header)"}
_REMEMBERED = 512  # blocks
_REMEMBERED_BYTES = 2048  # longer blocks are not


def compile_header_map(changes: Mapping[str, str | list[str] | None]) -> Rewriter | None:
    """Compile changes: `Name` sets, `+Name` adds, a value of None takes away. Gives None if there are none.

    A value with variables that comes out empty leaves its field out.

    Raises: ValueError naming the field that cannot be changed so.
    """
    removed: set[bytes] = set()
    added: list[tuple[bytes, Template]] = []
    is_fixed = True
    for key, value in changes.items():
        is_addition = key.startswith("+")
        name = key.removeprefix("+")
        _check_name(name)
        texts = [] if value is None else [value] if isinstance(value, str) else value
        if not is_addition:
            removed.add(name.lower().encode("ascii"))
        for text in texts:
            if _CONTROL.search(text):
                raise ValueError(f"control character in the value of header {name}")
            added.append((name.encode("ascii"), _named(name, text)))
            is_fixed = is_fixed and is_constant(text)
    if not removed and not added:
        return None

    def rewrite(exchange: Exchange, block: bytes) -> bytes:
        kept = remove_fields(block, removed)
        values = [(name, template(exchange).strip().encode("utf-8", "replace")) for name, template in added]
        return kept + b"".join([b"%b: %b\r\n" % pair for pair in values if pair[1] or is_fixed])

    return _remembering(rewrite) if is_fixed else rewrite


def remove_fields(block: bytes, names: set[bytes]) -> bytes:
    """Give a block of field lines without the fields of these lower-case names."""
    if not names or not block:
        return block
    lines = block.split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].lower() not in names]
    return block if len(kept) == len(lines) else b"\r\n".join(kept)


def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{clip(name)} is no header name")
    if name.lower() in _RESERVED:
        raise ValueError(f"header {name} is set by the server itself")
    if (key := _COMMON.get(name.lower())) is not None:
        raise ValueError(f"header {name} is set by the server itself{key}")


def _named(name: str, text: str) -> Template:
    try:
        return compile_template(text)
    except ValueError as error:
        raise ValueError(f"header {name}: {error}") from None


def _remembering(rewrite: Rewriter) -> Rewriter:
    """Keep results by block, and forget them all when there are too many."""
    results: dict[bytes, bytes] = {}

    def look_up(exchange: Exchange, block: bytes) -> bytes:
        # hot: static-small
        result = results.get(block)
        if result is None:
            result = rewrite(exchange, block)
            if len(block) <= _REMEMBERED_BYTES:
                if len(results) >= _REMEMBERED:
                    results.clear()
                results[block] = result
        return result

    return look_up
