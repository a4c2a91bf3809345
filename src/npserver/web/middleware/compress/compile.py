"""Compiles `gzip` of proxy and fastcgi rules into middleware."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.regex import regex
from npserver.web.config import GlobalCompression, ProxiedCompression

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.handlers.fastcgi.config import FastcgiRule
    from npserver.web.handlers.proxy.config import ProxyRule
    from npserver.web.middleware.compress.filter import CompressedResponses

_TYPE = regex(r"[\w!#$&^.+-]+/(?:[\w!#$&^.+-]+|\*)", re.ASCII)


def compile_compress(compilation: Compilation, path: Path, rule: ProxyRule | FastcgiRule) -> CompressedResponses | None:
    """Make the compression of a rule's proxied answers; None if they are not compressed. Errors stand in the report."""
    settings = _settings(rule.gzip, compilation.config.gzip)
    if not settings.enabled:
        return None
    place = (*path, "gzip") if isinstance(rule.gzip, ProxiedCompression) else ("gzip",)
    for number, media_type in enumerate(settings.types):
        if not _TYPE.fullmatch(media_type):
            compilation.report.error(
                (*place, "types", number),
                f'{clip(media_type)} is not a media type; write "application/pdf" or "font/*"',
            )
    if not settings.codings:
        compilation.report.warn((*place, "codings"), "'codings' is empty: nothing is compressed")
        return None
    from npserver.http.media_types import MediaTypes
    from npserver.web.middleware.compress.coders import coder_maker
    from npserver.web.middleware.compress.filter import CompressedResponses, Counters
    from npserver.web.middleware.compress.heads import Heads

    for coding in settings.codings:
        coder_maker(coding)  # imported before the fork, and not while a request waits
    slot = compilation.context.row.slot
    return CompressedResponses(
        Heads(MediaTypes(compressed=settings.types)),
        tuple(settings.codings),
        int(settings.min_size),
        Counters(
            slot("http.compressed.responses"), slot("http.compressed.read_bytes"), slot("http.compressed.sent_bytes")
        ),
    )


def _settings(own: bool | ProxiedCompression | None, default: bool | GlobalCompression) -> ProxiedCompression:
    """Return the settings of the rule; without any, the global ones if they are for proxied answers too."""
    if isinstance(own, ProxiedCompression):
        return own
    if own is None:
        is_on = isinstance(default, GlobalCompression) and default.enabled and default.proxied
        return default if is_on and isinstance(default, GlobalCompression) else ProxiedCompression(enabled=False)
    if not own or not isinstance(default, GlobalCompression):
        return ProxiedCompression(enabled=own)
    return ProxiedCompression(codings=default.codings, min_size=default.min_size, types=default.types)
