"""What the texts of access logs ask of requests: read by the compilers of rules, whose requests have to have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.observe.config import access_logs, has_texts
from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from npserver.runtime.compilation import Compilation


class Needs(Struct, frozen=True):
    """What the texts of all logs ask for."""

    exchange: bool = False  # each request has an exchange
    attempts: bool = False  # the attempts at targets are timed
    responses: bool = False  # the fields of responses are kept
    ids: bool = False  # each request has an id


def _needs(compilation: Compilation) -> Needs:
    logs = [log for log in access_logs(compilation.config.logging) if has_texts(log)]
    if not logs:
        return Needs()
    from npserver.web.logs.variables import OF_ATTEMPTS, is_of_exchange, names_in, sources_of, texts_of

    names: set[str] = set()
    for log in logs:
        for text in texts_of(log).values():
            names |= names_in(text, sources_of(compilation))
    return Needs(
        exchange=any(is_of_exchange(name) for name in names),
        attempts=not names.isdisjoint(OF_ATTEMPTS),
        responses=any(name.startswith("response.") for name in names),
        ids="request_id" in names,
    )


#: What the texts of a config's logs ask for.
NEEDS = PerCompilation(_needs)
