"""The answer to a question: the steps that lead to it, in order, and what comes of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, json
from msgspec.structs import replace

from npserver.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSED, TURNED_AWAY, DROPPED = "closed", "refused", "dropped"
_WORDS = {
    CLOSED: "the connection is closed",
    TURNED_AWAY: "the connection is refused",
    DROPPED: "the datagram is dropped",
}
_SECRET = regex(rb"auth|cookie|key|secret|pass|token", re.IGNORECASE)


def show_field(line: bytes) -> str:
    """Return a field line as it may be shown: without the value where its name is that of a secret."""
    name, _, value = line.partition(b":")
    return (name + b": ..." if value.strip() and _SECRET.search(name) else line).decode("utf-8", "replace")


class Step(Struct, frozen=True, omit_defaults=True):
    """One step. `kind`: a word such as "listener", "rule", or the name of a middleware."""

    kind: str
    text: str
    place: str = ""  # `file:line:column` of the config that decides


class Explanation(Struct):
    """What is known of a question. `gets` and `to` are both empty if only the running server can tell."""

    ask: str
    client: str = ""
    steps: list[Step] = field(default_factory=list)
    listener: str = ""  # its URI; "": no listener takes it
    rule: str = ""  # "dispatch[3]"; "": none
    name: str = ""  # the rule's
    to: list[str] = field(default_factory=list)  # the URIs by which the place that it is passed to may be called
    shown_to: str = ""  # that place, in words
    gets: int | str = ""  # the status, the response code, or one of `_WORDS`; "": who is asked decides
    location: str = ""  # of a redirect
    file: str = ""  # that is sent, or script that is run
    records: list[str] = field(default_factory=list)  # of a DNS answer, as in a zone file
    data: list[str] = field(default_factory=list)  # the data of these records alone

    def add(self, kind: str, text: str, place: str = "") -> None:
        """Add a step."""
        self.steps.append(Step(kind, text, place))

    def hiding(self, hide: Callable[[str], str]) -> Explanation:
        """Return it as it may be shown: `hide` takes the values of secrets out of a text."""
        steps = [Step(step.kind, hide(step.text), step.place) for step in self.steps]
        texts = {name: hide(getattr(self, name)) for name in ("shown_to", "location", "file")}
        lists = {name: [hide(one) for one in getattr(self, name)] for name in ("to", "records", "data")}
        return replace(self, steps=steps, **texts, **lists)

    @property
    def result(self) -> str:
        """What comes of it, in a few words."""
        if not self.listener:
            return "no listener takes it"
        if self.gets != "":
            word = _WORDS.get(str(self.gets), f"is answered with {self.gets}")
            where = f", {self.location}" if self.location else f", {self.file}" if self.file else ""
            return f"{word}{where}{': ' + ', '.join(self.data) if self.data else ''}"
        if self.shown_to:
            return f"is passed to {self.shown_to}" + (f", which runs {self.file}" if self.file else "")
        return "depends on the running server"

    def __str__(self) -> str:
        width = max([len(step.kind) for step in self.steps], default=0)
        width = max(width, len("result"))
        lines = [f"{self.ask} from {self.client}" if self.client else self.ask]
        for step in self.steps:
            place = f"  ({step.place})" if step.place else ""
            lines.append(f"  {step.kind:<{width}}  {step.text}{place}")
        lines.append(f"  {'result':<{width}}  {self.result}")
        return "\n".join(lines)

    def as_json(self) -> bytes:
        """Return the explanation as JSON."""
        found: dict[str, Any] = {
            "ask": self.ask, "from": self.client, "listener": self.listener, "rule": self.rule, "name": self.name,
            "gets": self.gets, "to": self.to, "location": self.location, "file": self.file, "records": self.records,
            "result": self.result, "steps": self.steps,
        }  # fmt: skip
        return json.format(
            json.encode({key: value for key, value in found.items() if value not in ("", [])}, enc_hook=str), indent=2
        )
