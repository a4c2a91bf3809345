"""Refusals: the one place where a request that is answered with an error, or not to the end, gets its line in the log.

Called by `web.server.exchange_base` for requests that have an exchange, and by the connections of both versions of HTTP
for those that are refused before they have one. Each line names the status, the request, the client, the reason, and
the config key that decided; where no key can decide, it names the section of the standard.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.observe.request_record import RequestRecord
from npserver.web import error_pages

if TYPE_CHECKING:
    from npserver.errors import BadRequest
    from npserver.http.request import Request
    from npserver.web.exchange import Route
    from npserver.web.server.roles import FrontRole

log = logging.getLogger("npserver.http")

MAX_PATH = 200  # characters of a path in the log
MAX_METHOD = 32
#: Statuses that clients cause every day, by what they ask for or how they ask.
_EVERYDAY = frozenset({400, 401, 404, 405, 406, 412, 415, 416, 417, 421, 501, 505})

#: What bytes that are no request, or a head over the limits, are answered with before there is an exchange.
_SCANS = frozenset({400, 414, 431})


def level_of(status: int) -> int:
    """Return the level at which a refusal is logged.

    ERROR for 500, an error of ours; WARNING for other server errors; DEBUG for what clients cause every day; INFO for
    the rest, where a rule or a limit has kept the client out.
    """
    if status in _EVERYDAY:
        return logging.DEBUG
    return logging.INFO if status < 500 else logging.ERROR if status == 500 else logging.WARNING


def decided_by(route: Route, key: str) -> str:
    """Return what a line names: the key that decided, else that of the rule, and the rule's name if it has one."""
    key = key or route.key
    return f"{key}, rule {clip(route.rule_name)}" if route.rule_name else key


def log_refusal(
    status: int,
    asked: Callable[[], Request],
    client_ip: str,
    reason: str,
    decided_by: str,
    level: int,
    *,
    is_cut: bool = False,
) -> None:
    """Log why a request is refused.

    Args:
        asked: returns the request; called only if the line is logged.
        decided_by: the config key or the rule that decided, else the section of the standard.
        is_cut: whether the answer of that status has begun, and is cut short.
    """
    if log.isEnabledFor(level):
        request = asked()
        method, path = _clip(request.method, MAX_METHOD), _clip(request.path, MAX_PATH)
        cut = " cut short" if is_cut else ""
        log.log(level, "%d for %s %s from %s%s: %s (%s)", status, method, path, client_ip, cut, reason, decided_by)


def refuse(
    front: FrontRole, client_ip: str, scheme: str, error: BadRequest, asked: Callable[[], Request]
) -> tuple[bytes, bytes]:
    """Log and count a request that is refused without an exchange. Return the fields and the body of its answer.

    `asked` returns as much of the request as can be told; called only if something is logged.
    """
    status = error.status
    if status in _SCANS and front.on_bad_request is not None:
        front.on_bad_request(client_ip)
    level = min(level_of(status), logging.INFO)  # a 503 too: the client has gone over a limit
    log_refusal(status, asked, client_ip, str(error), error.decided_by, level)
    fields, body = error_pages.render(status, b"", "")
    if front.context.access_log.enabled:
        front.finished(RequestRecord(client_ip, asked(), scheme, status, 0, len(body)))
    else:
        front.count(status, len(body))
    return error.fields + fields, body


def _clip(text: str, limit: int) -> str:
    """Return the text as `errors.clip` shows it, without quotes."""
    shown = repr(text)[1:-1]
    return shown if len(shown) <= limit else f"{shown[:limit]}..."
