"""The answers to the challenges of a CA (RFC 8555 §8) that a process gives: over HTTP, in TLS handshakes, by DNS.

The controller publishes them, and waits until every worker has them, before it tells the CA to look. `web.challenges`,
`tls.accept` and `nameserver.name_server` ask here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, convert, field, to_builtins

from npserver.runtime.agreement import Agreement
from npserver.runtime.context import PerProcess
from npserver.runtime.followers import Followers
from npserver.tls.acme.challenges import ALPN_PROTOCOL
from npserver.tls.files import TlsFiles

if TYPE_CHECKING:
    import ssl

    from npserver.runtime.context import Context

TOPIC = "acme:answers"


class Answers(Struct, frozen=True):
    """All answers that are due now."""

    http: dict[str, str] = field(default_factory=dict)  # key authorizations by token
    tls: dict[str, str] = field(default_factory=dict)  # certificate and key, in PEM, by server name
    dns: dict[str, list[str]] = field(default_factory=dict)  # texts of TXT records by name


class ChallengeAnswers:
    """The answers of one process."""

    __slots__ = ("_contexts", "_followers", "agreement", "answers")

    def __init__(self, context: Context) -> None:
        self.answers = Answers()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._followers = Followers()
        self.agreement = Agreement(context, TOPIC, self._take)

    def __repr__(self) -> str:
        answers = self.answers
        return f"<ChallengeAnswers http={[*answers.http]} tls={[*answers.tls]} dns={[*answers.dns]}>"

    async def publish(self, answers: Answers, limit_s: float) -> list[int]:
        """Give these answers from now on, in all workers. Return the workers that have not taken them in time."""
        return await self.agreement.publish(to_builtins(answers), limit_s)

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a method after each change of the answers by DNS, as long as its object lives, and once now."""
        self._followers.add(changed)
        changed()

    def tls_context(self, server_name: str) -> ssl.SSLContext | None:
        """Return the SSL context that answers a challenge for a server name; None if there is none."""
        context = self._contexts.get(server_name)
        if context is None and (pem := self.answers.tls.get(server_name)) is not None:
            context = self._contexts[server_name] = _context(pem)
        return context

    def _take(self, value: Any) -> None:
        before, self.answers = self.answers, convert(value, Answers)
        self._contexts.clear()
        if self.answers.dns != before.dns:
            self._followers.call()


def _context(pem: str) -> ssl.SSLContext:
    import ssl  # only where it is used: a start is shorter without

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([ALPN_PROTOCOL])
    files = TlsFiles()
    files.put("challenge", pem.encode())
    with files.readable("challenge") as path:
        context.load_cert_chain(path)
    return context


#: The answers of a process.
ANSWERS = PerProcess(ChallengeAnswers)
