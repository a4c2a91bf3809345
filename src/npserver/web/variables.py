"""Templates: text in the config with `$variables` that are replaced by values of the request.

The compilers of handlers and `web.middleware.headers` call `compile_template`; the compiled template is called for each
request. `$name` and `${name}` are variables, `$header.name` is a field of the request's header, `$cookie.name` a
cookie, `$query.name` a parameter of the query, `$jwt.name` a claim of its token, and `$$` a dollar sign. Control
characters are removed from values, so that they cannot end a header line; `web.escaping` escapes them for URLs and
pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from npserver.config.expand import template_of
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.http.dates import format_date
from npserver.nginx_variables import names_for
from npserver.regex import regex
from npserver.web import client_certificate
from npserver.web.matching.conditions import Asked
from npserver.web.signed_in import claim_text, claims_of

if TYPE_CHECKING:
    from npserver.web.escaping import Escape
    from npserver.web.exchange import Exchange

#: A compiled template, or the value of one variable.
Template = Callable[["Exchange"], str]

#: A reference to a variable: group 1 is `$$`, else 2 or 3 is the name.
REFERENCE = regex(
    r"\$(?:(\$)|((?:header|cookie|query|map|jwt|response)\.[\w-]+|[A-Za-z_]\w*)|\{([\w.-]*)\})?", re.ASCII
)
_HEADER = "header."
_COOKIE = "cookie."
_PARAMETER = "query."
_JWT = "jwt."
_NONE = ("",)
_CLEANED = dict.fromkeys([*range(9), *range(10, 32), 127])  # a tab may stand in a field


def _query(exchange: Exchange) -> str:
    request = exchange.request
    return f"?{request.query}" if request.has_query else ""


def _tls_version(exchange: Exchange) -> str:
    tls: Any = exchange.tls
    return (tls.version() or "") if tls is not None else ""


def _tls_cipher(exchange: Exchange) -> str:
    tls: Any = exchange.tls
    cipher = tls.cipher() if tls is not None else None
    return cipher[0] if cipher else ""


def _sni(exchange: Exchange) -> str:
    return getattr(exchange.tls, "sni", None) or ""


VARIABLES: Mapping[str, Template] = {
    "scheme": lambda exchange: exchange.scheme,
    "client_ip": lambda exchange: exchange.client_ip,
    "client_port": lambda exchange: str(exchange.client_port),
    "remote_ip": lambda exchange: exchange.peer_ip,
    "local_ip": lambda exchange: exchange.local[0],
    "local_port": lambda exchange: str(exchange.local[1]),
    "user": lambda exchange: exchange.user,
    "method": lambda exchange: exchange.request.method,
    "protocol": lambda exchange: exchange.request.protocol,
    "host": lambda exchange: exchange.request.host,
    "authority": lambda exchange: exchange.request.authority,
    "path": lambda exchange: exchange.request.path,
    "query": _query,
    "request_uri": lambda exchange: exchange.request.path + _query(exchange),
    "request_id": lambda exchange: exchange.request_id,
    "trace_id": lambda exchange: exchange.trace.trace_id if exchange.trace is not None else "",
    "upstream": lambda exchange: exchange.upstream,
    "time": lambda exchange: format_date(exchange.context.wall_clock()),
    "tls_client_subject": client_certificate.subject,
    "tls_client_fingerprint": client_certificate.fingerprint,
    "tls_client_san": client_certificate.alternative_names,
    "tls_client_serial": client_certificate.serial,
    "tls_client_cert": client_certificate.escaped_pem,
    "tls_version": _tls_version,
    "tls_cipher": _tls_cipher,
    "sni": _sni,
}


def is_constant(text: str) -> bool:
    """Return whether a text has no variables, so that it is the same for every request."""
    return not variable_names(text)


def variable_names(text: str) -> set[str]:
    """Return the names of the variables in a text, known or not."""
    return {match[2] or match[3] or "" for match in REFERENCE.finditer(template_of(text)) if not match[1]}


def compile_template(text: str, others: Mapping[str, Template] | None = None, escape: Escape | None = None) -> Template:
    """Compile a text with variables.

    Args:
        others: additional variables; they may replace known ones.
        escape: escapes the values of variables for the place of the text; None: a header field, or plain text.

    Raises: ValueError for a variable that does not exist.
    """
    known = {**VARIABLES, **others} if others else VARIABLES
    written, text = text, template_of(text)
    pieces: list[str | Template] = []
    end = 0
    for match in REFERENCE.finditer(text):
        pieces.append(text[end : match.start()])
        pieces.append("$" if match[1] else _escaped(match[2] or match[3] or "", known, written, escape))
        end = match.end()
    pieces.append(text[end:])
    return _joined(pieces)


def _escaped(name: str, known: Mapping[str, Template], text: str, escape: Escape | None) -> Template:
    """Return a variable whose values are cleaned, and escaped for their place."""
    variable = find_variable(name, known, text)
    change = escape(name) if escape is not None else None
    if change is None:
        return lambda exchange: variable(exchange).translate(_CLEANED)
    return lambda exchange: change(variable(exchange).translate(_CLEANED))


def find_variable(name: str, known: Mapping[str, Template], text: str) -> Template:
    """Return the variable of a name, whose values are neither cleaned nor escaped. `text`: has it, for messages.

    Raises: ValueError if it does not exist.
    """
    variable = known.get(name)
    if variable is None:
        if name.startswith(_HEADER) and (field := name[len(_HEADER) :]) and "." not in field:
            return _header_field(field.lower().encode())
        if name.startswith(_COOKIE) and name != _COOKIE:
            return _cookie(name[len(_COOKIE) :])
        if name.startswith(_PARAMETER) and name != _PARAMETER:
            return _parameter(name[len(_PARAMETER) :])
        if name.startswith(_JWT) and (claim := name[len(_JWT) :]):
            return _claim(claim)
        if not name:
            raise ValueError(f"a dollar sign without a name in {clip(text)}; write $$ for the sign itself")
        if name.startswith("response."):
            raise ValueError(f"no variable ${name} here: only access logs know the response")
        of_nginx = names_for(name)
        if of_nginx and all(one in known or "." in one for one in of_nginx):
            guesses = [" $".join(of_nginx)]
        else:
            guesses = get_close_matches(name, known, 1)
        names = sorted((*known, f"{_HEADER}name-of-a-field", f"{_COOKIE}name", f"{_PARAMETER}name"))
        hint = f", did you mean ${guesses[0]}?" if guesses else f"; there are ${', $'.join(names)}"
        raise ValueError(f"no variable ${name}{hint}")
    return variable


def _header_field(name: bytes) -> Template:
    """Return a template of a field's value, "" for a field that the request does not have. `name`: in lower case."""
    return lambda exchange: exchange.request.fields.get(name, b"").decode("utf-8", "replace")


def _cookie(name: str) -> Template:
    """Return a template of a cookie's value, the first if there are several; "" if there is none."""
    return lambda exchange: Asked(exchange.request, exchange.scheme).cookies.get(name, _NONE)[0]


def _parameter(name: str) -> Template:
    """Return a template of a decoded parameter of the query, the first if there are several; "" if there is none."""
    return lambda exchange: Asked(exchange.request, exchange.scheme).parameters.get(name, _NONE)[0]


def _claim(name: str) -> Template:
    """Return a template of a claim of the request's token, "" for one that it does not have (`jwt` of a rule)."""
    return lambda exchange: claim_text(claims_of(exchange.request), name)


def _joined(pieces: list[str | Template]) -> Template:
    """Return a template that joins pieces. Neighbouring constants are joined now."""
    merged: list[str | Template] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece:
            merged.append(piece)
    if all(isinstance(piece, str) for piece in merged):
        constant = "".join([piece for piece in merged if isinstance(piece, str)])
        return lambda _: constant

    def fill_in(exchange: Exchange) -> str:
        return "".join([piece if isinstance(piece, str) else piece(exchange) for piece in merged])

    return fill_in
