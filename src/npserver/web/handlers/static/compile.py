"""Compiles a `static` rule into its handler."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.config.expand import template_of
from npserver.errors import clip
from npserver.http.media_types import MediaTypes
from npserver.regex import regex
from npserver.runtime.compilation import PerCompilation
from npserver.web.checks import rule_key
from npserver.web.config import Compression
from npserver.web.escaping import for_url
from npserver.web.handlers.static.cache import RepresentationCache
from npserver.web.handlers.static.files import FileSettings
from npserver.web.handlers.static.handler import StaticHandler, StaticSettings
from npserver.web.handlers.static.root import FileError, Root
from npserver.web.maps.compile import MAPS
from npserver.web.routing import parse_pattern
from npserver.web.variables import Template, compile_template, variable_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.handlers.static.config import StaticRule

_CACHE = PerCompilation(lambda compilation: RepresentationCache(compilation.config.file_cache.max_size))
_VALUE = regex(r"[\x20-\x7e]+")
_MEDIA_TYPE = regex(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)


def compile_static(compilation: Compilation, path: Path, rule: StaticRule) -> StaticHandler | None:
    """Make the handler of a static rule."""
    report, document, config = compilation.report, compilation.document, compilation.config
    prefix = prefix_of(rule)
    directory = document.resolve(rule.root)
    _check_root(report, path, rule.root, directory)
    if rule.cache_control is not None and not _VALUE.fullmatch(rule.cache_control):
        report.error(
            (*path, "cache_control"), f"'cache_control': {clip(rule.cache_control)} is not a valid header value"
        )
    for place, types in ((("mime",), config.mime), ((*path, "mime"), rule.mime)):
        _check_types(report, place, types)
    compression = _compression(rule.gzip, config.gzip)
    files = FileSettings(
        rule,
        compression,
        config.file_cache,
        root=Root(directory, follow_symlinks=rule.follow_symlinks),
        media=MediaTypes((config.mime, rule.mime), compression.types),
    )
    settings = StaticSettings(
        files=files,
        prefix=prefix,
        index=_index(report, path, rule),
        fallback="/" + rule.fallback.lstrip("/") if rule.fallback else "",
        try_files=_try_files(report, path, rule, prefix, MAPS.of(compilation)),
        is_path_enough=all(variable_names(text) <= {"path"} for text in rule.try_files),
        max_ranges=config.limits.max_ranges,
        keys={error: rule_key(path, _deciding_key(error, rule)) for error in FileError},
    )
    return StaticHandler(compilation.context, settings, _CACHE.of(compilation))


def prefix_of(rule: HttpRule) -> str:
    """Return the part of the request's path that the rule takes off: its own path without the star."""
    try:
        pattern = parse_pattern(rule.path)
    except ValueError:
        return ""  # reported where the route is compiled
    return pattern.path if pattern.is_prefix else ""


def _deciding_key(error: FileError, rule: StaticRule) -> str:
    """Return the key of a rule that decides that a file cannot be served, for the log."""
    match error:
        case FileError.HIDDEN:
            return "dotfiles"
        case FileError.UNLISTED:
            return "browse"
        case FileError.OUTSIDE:
            return "follow_symlinks"
        case FileError.MISSING:
            return "fallback" if rule.fallback else "try_files" if rule.try_files else "root"
        case _:
            return "root"


def _check_root(report: Report, path: Path, name: str, directory: str) -> None:
    """Check the directory. A missing one may be created later: a server starts without it."""
    if not os.path.exists(directory):
        report.warn(
            (*path, "root"), f"'root': {clip(name)} does not exist yet: requests are answered with 404 until then"
        )
    elif not os.path.isdir(directory):
        report.error((*path, "root"), f"'root': {clip(name)} is not a directory")
    elif not os.access(directory, os.R_OK | os.X_OK):
        report.warn((*path, "root"), f"'root': no permission to read {clip(name)}")


def _check_types(report: Report, path: Path, types: dict[str, str]) -> None:
    for extension, media_type in types.items():
        if not _MEDIA_TYPE.fullmatch(media_type):
            report.error((*path, extension), f"{clip(media_type)} is not a valid media type")


def _compression(own: bool | Compression | None, default: bool | Compression) -> Compression:
    """Return the settings of the rule, else the global ones; `true` and `false` switch compression on and off."""
    if isinstance(own, Compression):
        return own
    if own is None:
        return default if isinstance(default, Compression) else Compression(enabled=default)
    if own and isinstance(default, Compression):
        return replace(default, enabled=True)
    return Compression(enabled=own)


def _index(report: Report, path: Path, rule: StaticRule) -> tuple[str, ...]:
    names = [rule.index] if isinstance(rule.index, str) else rule.index
    for name in names:
        if not name or name.startswith("/") or ".." in name.split("/"):
            report.error((*path, "index"), f"'index': {clip(name)} is not a file name")
    return tuple(names)


def _try_files(
    report: Report, path: Path, rule: StaticRule, prefix: str, maps: Mapping[str, Template]
) -> tuple[Template | int, ...]:
    candidates: list[Template | int] = []
    cut = len(prefix)
    for place, text in enumerate(rule.try_files):
        where = (*path, "try_files", place)
        if text.startswith("="):
            if not text[1:].isdecimal() or not 400 <= int(text[1:]) <= 599:
                report.error(where, f"'try_files': {clip(text)} is not a status; write \"=404\"")
            elif place + 1 < len(rule.try_files):
                report.error(where, f"'try_files': {clip(text)} ends the list; what follows is never tried")
            else:
                candidates.append(int(text[1:]))
            continue
        source = template_of(text)
        try:
            template = compile_template(
                source if source.startswith(("/", "$")) else f"/{source}",
                {**maps, "path": lambda exchange: exchange.request.path[cut:] or "/"},
                for_url,
            )
        except ValueError as error:
            report.error(where, f"'try_files': {error}")
            continue
        candidates.append(template)
    return tuple(candidates)
