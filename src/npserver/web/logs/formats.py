"""Compiles the texts of access logs: `fields`, and `format` with `$variables`. Called by `program.logs`.

A value that a client controls cannot break a line: in JSON it is a string in ASCII, in a text it has no control
characters, no quotation marks, and outside of quotation marks no spaces. It is cut after `MAX_VALUE` characters.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.observe.escape import escape_quoted, replace_surrogates
from npserver.observe.log_formats import Combined, Json
from npserver.regex import regex
from npserver.web.checks import CONTROL
from npserver.web.logs.pieces import Piece, join_pieces, split_text
from npserver.web.logs.variables import NUMERIC, SAFE, log_variables, names_in, sources_of, texts_of

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.observe.access_output import MakeFormat
    from npserver.observe.config import AccessLogSection
    from npserver.observe.request_record import RequestRecord
    from npserver.runtime.compilation import Compilation
    from npserver.web.logs.pieces import Line
    from npserver.web.variables import Template

MAX_VALUE = 4096  # characters of a value; what follows is cut

#: The fields of the format `json` that are made again where `fields` has one of them: as texts.
STANDARD = {
    "time": "$time_iso", "type": "request", "client_ip": "$client_ip", "scheme": "$scheme", "method": "$method",
    "host": "$authority", "target": "$target", "protocol": "$protocol", "status": "$status",
    "received_bytes": "$received_bytes", "sent_bytes": "$sent_bytes", "duration_ms": "$duration_ms",
    "upstream": "$upstream", "request_id": "$request_id", "user": "$user", "rule": "$rule",
    "referer": "$header.referer", "user_agent": "$header.user-agent",
}  # fmt: skip

CREDENTIALS = frozenset({"header.authorization", "header.proxy-authorization", "header.cookie", "response.set-cookie"})
_LIKELY = regex(
    r"(?:header|cookie|query|response)\..*(?:token|secret|passw|session|sess_?id|api-?_?key|csrf|jwt|(?<![a-z])sid(?![a-z]))"
)
_ADDRESSES = frozenset({"header.x-forwarded-for", "header.x-real-ip", "header.forwarded", "header.cf-connecting-ip",
                        "header.true-client-ip"})  # fmt: skip


class OwnText(Combined):
    """A text with variables. It has HTTP requests only, as `combined` does."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def request(self, record: RequestRecord) -> str:
        """Return the line of a finished request."""
        return self._line(record) + "\n"


class OwnJson(Json):
    """JSON with further fields of requests."""

    def __init__(self, line: Line, *, hides_query: bool, has_standard: bool) -> None:
        super().__init__(False, hides_query)
        self._own = line
        self._has_standard = has_standard

    def request(self, record: RequestRecord) -> str:
        """Return the line of a finished request."""
        if self._has_standard:
            return f"{super().request(record)[:-2]},{self._own(record)}}}\n"
        return f"{{{self._own(record)}}}\n"


def compile_format(compilation: Compilation, path: Path, log: AccessLogSection) -> MakeFormat | None:
    """Compile the texts of a log; None if it has none, or errors, which are in the report. `path`: of the log."""
    report = compilation.report
    _check_keys(report, path, log)
    texts = texts_of(log)
    variables = log_variables(compilation, log.hide or ())
    for field, text in texts.items():
        place = (*path, "fields", field) if field else (*path, "format")
        try:
            split_text(text, variables)
        except ValueError as error:
            report.error(place, f"{clip(field or 'format')}: {error}")
            return None
        _check_values(compilation, place, text, log)
    if "" in texts and "" not in log.fields:
        line = _text_line(texts[""], variables)
        return lambda hides_query: OwnText(line)
    replaced = not log.standard_fields or not log.fields.keys().isdisjoint(STANDARD)
    wanted: dict[str, str | None] = dict(STANDARD) if replaced and log.standard_fields else {}
    wanted |= log.fields
    line = _json_line({name: text for name, text in wanted.items() if text is not None}, variables)
    return lambda hides_query: OwnJson(line, hides_query=hides_query, has_standard=not replaced)


# ── checks ──


def _check_keys(report: Report, path: Path, log: AccessLogSection) -> None:
    """Report keys that do not stand together."""
    has_fields = bool(log.fields) or not log.standard_fields
    if has_fields and log.format != "json":
        report.error(
            (*path, "format"), f"'fields' and 'standard_fields' are of format \"json\", got {clip(log.format)}"
        )
    if not log.standard_fields and not any(text is not None for text in log.fields.values()):
        report.error((*path, "standard_fields"), "lines would be empty: name the fields to be written in 'fields'")
    for name, text in log.fields.items():
        if not name:
            report.error((*path, "fields", name), "a field needs a name")
        if text is None and (name not in STANDARD or not log.standard_fields):
            known = f"those are {', '.join(STANDARD)}"
            report.error((*path, "fields", name), f"null leaves out a field of JSON, and {clip(name)} is none; {known}")
    if not has_fields and log.format is not None and CONTROL.search(log.format.replace("\t", "")):
        report.error((*path, "format"), "a line cannot have control characters, except for tabs")


def _check_values(compilation: Compilation, place: Path, text: str, log: AccessLogSection) -> None:
    """Report values that do not belong into a log."""
    report, hidden = compilation.report, log.hide or ()
    for name in sorted(names_in(text, sources_of(compilation))):
        lower = name.lower()
        if lower in CREDENTIALS and not log.credentials:
            report.error(
                place,
                f"whoever reads the log could log in with ${name}: take $user or $cookie.name instead, or write "
                '"credentials": true in this log',
            )
        elif _LIKELY.match(lower) and not log.credentials:
            message = f'${name} may be a secret, and would be in the log; "credentials": true says that it is wanted'
            report.warn(place, message)
        if "client_ip" in hidden and lower in _ADDRESSES:
            report.error(place, f"'hide' has client_ip, and ${name} has addresses of clients")
        if "query" in hidden and lower.startswith("query."):
            report.error(place, f"'hide' has the query, and ${name} is a part of it")
        if name == "trace_id" and compilation.config.tracing is None:
            report.warn(place, "without 'tracing' $trace_id is always empty")


# ── lines ──


def _json_line(fields: dict[str, str], variables: dict[str, Template]) -> Line:
    """Return what writes the fields of a request, without the braces."""
    pieces: list[str | Piece] = []
    for number, (name, text) in enumerate(fields.items()):
        pieces.append(f"{',' if number else ''}{encode_basestring_ascii(name)}:")
        parts = split_text(text, variables)
        if len(parts) == 1 and isinstance(one := parts[0], Piece) and one.name in NUMERIC:
            pieces.append(one.changed(lambda value: value or "null"))
            continue
        pieces.append('"')
        for part in parts:
            if isinstance(part, str):
                pieces.append(_in_json(part))
            else:
                pieces.append(part if part.name in SAFE else part.changed(_in_json))
        pieces.append('"')
    return join_pieces(pieces)


def _text_line(text: str, variables: dict[str, Template]) -> Line:
    """Return what writes a line, without its end."""
    pieces: list[str | Piece] = []
    is_quoted = False
    for part in split_text(text, variables):
        if isinstance(part, str):
            is_quoted ^= part.count('"') % 2 == 1
            pieces.append(part)
        elif part.name in SAFE:
            pieces.append(part.changed(lambda value: value or "-"))
        else:
            pieces.append(part.changed(_in_quotes if is_quoted else _as_word))
    return join_pieces(pieces)


def _in_json(value: str) -> str:
    """Return a value for the inside of a string in JSON, in ASCII."""
    return encode_basestring_ascii(replace_surrogates(_cut(value)))[1:-1]


def _in_quotes(value: str) -> str:
    return escape_quoted(_cut(value)) or "-"


def _as_word(value: str) -> str:
    """Return a value as one word: a space would shift the fields after it."""
    return escape_quoted(_cut(value)).replace(" ", "\\x20") or "-"


def _cut(value: str) -> str:
    return value if len(value) <= MAX_VALUE else f"{value[:MAX_VALUE]}..."
