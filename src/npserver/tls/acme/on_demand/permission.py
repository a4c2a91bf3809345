"""Asks the application over HTTP whether a name may have a certificate: `GET URL?domain=NAME`, 2xx means yes.

Only the status counts.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from npserver.runtime.http_get import NoAnswer, Url, get_status, parse_url


class Answer(Enum):
    """What the application says."""

    YES = "yes"
    NO = "no"
    FAILED = "failed"  # it says nothing that is an answer


class Application(Struct, frozen=True):
    """Where an application is asked."""

    url: str  # as the config has it, without its query, which may hold a secret
    where: Url

    def __repr__(self) -> str:
        return f"<Application {self.url}>"


def parse_application(url: str) -> Application:
    """Read the URL of an application. Raises: ValueError with a message for the operator."""
    return Application(url.partition("?")[0], parse_url(url))


async def ask(application: Application, name: str, timeout_s: float) -> tuple[Answer, str]:
    """Ask about a name. Return the answer, and what came of it in words for the log."""
    try:
        status = await get_status(application.where.with_query("domain", name), timeout_s=timeout_s)
    except NoAnswer as error:
        return Answer.FAILED, str(error)
    if 200 <= status < 300:
        return Answer.YES, f"status {status}"
    if 400 <= status < 500:
        return Answer.NO, f"status {status}"
    return Answer.FAILED, f"status {status}" + (", and redirects are not followed" if status < 400 else "")
