"""`access_log`, `log_format` and `error_log` as `logging`. Called by `importing.nginx`."""

from __future__ import annotations

import json
import re
from typing import Any

from npserver.errors import clip
from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, log_text

_LEVELS = {"debug": "debug", "info": "info", "notice": "info", "warn": "warn", "error": "error", "crit": "fatal"}
_COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
_SYSLOG = re.compile(r"syslog:server=(?:unix:(/[^,]+)|([\w.:\[\]-]+))(?:,.*)?")
MAX_FORMAT = 8192  # characters; nginx takes 4096 in one word
#: A text in quotes, or a variable outside of them.
_VALUE = re.compile(r'("(?:[^"\\]|\\.)*")|(\$\w+|\$\{\w+\})')


def add_logs(scope: Scope, draft: Draft) -> None:
    """Add the logs that are for all servers to the draft."""
    formats = {one.args[0]: one for one in scope.find("log_format") if len(one.args) > 1}
    logs: list[dict[str, Any]] = []
    for one in scope.find("access_log"):
        if (found := _log(one, formats, draft)) is None:
            continue
        if found["to"] in [other["to"] for other in logs]:
            draft.comments.append(f"{one.place}: {clip(one.text, 100)}: a destination has one log")
            continue
        logs.append(found)
    logging: dict[str, Any] = {}
    if [one["to"] for one in logs] == ["off"]:
        logging = {"access_log": "off", "format": "combined"}
    elif len(logs) == 1 and logs[0].get("format") == "combined":
        logging = {"access_log": logs[0]["to"], "format": "combined"}
    elif logs := [one for one in logs if one["to"] != "off"]:
        logging = {"access_log": logs}
    if (error := scope.find("error_log")) and len(error[-1].args) > 1 and error[-1].args[1] in _LEVELS:
        logging["level"] = _LEVELS[error[-1].args[1]]
        draft.comments.append(f"{error[-1].place}: {error[-1].text}: npserver's own log goes to stderr")
    if logging:
        draft.top["logging"] = logging


def _log(one: Directive, formats: dict[str, Directive], draft: Draft) -> dict[str, Any] | None:
    """Return one log; None for one that goes where ours cannot."""
    to = one.args[0]
    said = f"{one.place}: {clip(one.text, 100)}"
    if match := _SYSLOG.fullmatch(to):
        socket, server = match.groups()
        to = f"syslog://{server}" if server else socket if socket == "/dev/log" else f"syslog://{socket}"
    elif to in ("/dev/stdout", "/dev/stderr"):
        to = to.rpartition("/")[2]
    elif to != "off" and (not to.startswith("/") or "$" in to):
        draft.comments.append(f"{said}: a log goes to the full path of a file, or to syslog")
        return None
    name = next((word for word in one.args[1:2] if "=" not in word), "combined")
    if any(word.startswith("if=") for word in one.args[1:]):
        draft.comments.append(f"{said}: all requests are in the log; see 'only' and the key 'log' of rules")
    if (written := formats.get(name)) is None:
        return {"to": to, "format": "combined"}
    try:
        return {"to": to, **_format(written, draft)}
    except NoCounterpart as error:
        draft.comments.append(f"{written.place}: {clip(written.text, 100)}: {error}")
        return {"to": to, "format": "combined"}


def _format(one: Directive, draft: Draft) -> dict[str, Any]:
    """Return the keys for a `log_format`. Raises: NoCounterpart."""
    escape, *rest = one.args[1:] if one.args[1].startswith("escape=") else ["", *one.args[1:]]
    theirs = "".join(rest)
    if len(theirs) > MAX_FORMAT:
        raise NoCounterpart(f"more than {MAX_FORMAT} characters")
    if theirs == _COMBINED:
        return {"format": "combined"}
    unlike: list[str] = []
    if escape == "escape=json":
        found: dict[str, Any] = {"standard_fields": False}
        found["fields"] = {name: log_text(value, unlike) for name, value in _fields(theirs).items()}
    else:
        if "$" not in theirs:
            raise NoCounterpart("a line without variables")
        found = {"format": log_text(theirs, unlike)}
    for name in dict.fromkeys(unlike):
        draft.comments.append(f"{one.place}: log_format {clip(one.args[0])}: {name}")
    return found


def _fields(text: str) -> dict[str, str]:
    """Return the fields of a line in JSON, in which numbers are variables without quotes. Raises: NoCounterpart."""
    try:
        found = json.loads(_VALUE.sub(lambda match: match[1] or f'"{match[2]}"', text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(found) or not all(isinstance(value, str) for value in found.values()):
        raise NoCounterpart("not an object of JSON with texts and variables alone")
    return found
