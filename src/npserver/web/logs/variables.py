"""The variables of access logs: those of all texts (`web.variables`), and what is known once a request has ended.

`web.logs.formats` compiles the texts of a log with them. A text is called with the record of a request. Where a
variable asks for more than the record holds, such as the version of TLS, the requests of all logged rules take an
exchange (`web.logs.needs`), and the record has it; a request that is refused before it has one has empty values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from npserver.http.dates import format_date
from npserver.observe.escape import decode_latin1
from npserver.observe.log_formats import Clock, UtcClock
from npserver.observe.masking import mask_address, without_query
from npserver.web.logs.responses import response_field
from npserver.web.maps.compile import MAPS
from npserver.web.variables import VARIABLES, Template, variable_names

if TYPE_CHECKING:
    from npserver.observe.config import AccessLogSection
    from npserver.observe.request_record import Attempt, RequestRecord
    from npserver.runtime.compilation import Compilation

#: Returns the value of a variable of a log.
Value = Callable[["RequestRecord"], str]

#: Variables of all texts that a record has too: they need no exchange.
_OF_RECORD = frozenset({
    "scheme", "client_ip", "method", "host", "authority", "path", "query", "request_uri", "request_id", "upstream",
    "user", "protocol",
})  # fmt: skip
#: Variables whose values are the same for all requests with the same head; and those by names of fields.
_OF_HEAD = frozenset({"method", "host", "authority", "path", "query", "request_uri", "protocol", "target"})


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


def _attempts(record: RequestRecord) -> list[Attempt]:
    return (record.exchange.attempts or []) if record.exchange is not None else []


def _upstream_times(read: Callable[[Attempt], float]) -> Value:
    """Return the sum of a time of all attempts; "" where no target was asked."""

    def sum_of(record: RequestRecord) -> str:
        times = [read(one) for one in _attempts(record)]
        return _milliseconds(sum(times)) if times else ""

    return sum_of


#: Values of a request that has ended, as numbers.
NUMBERS: Mapping[str, Value] = {
    "status": lambda record: str(record.status),
    "received_bytes": lambda record: str(record.received),
    "sent_bytes": lambda record: str(record.sent),
    "duration": lambda record: f"{record.duration_s:.3f}",
    "duration_ms": lambda record: _milliseconds(record.duration_s),
    "time_unix": lambda record: f"{time.time():.3f}",
    "retries": lambda record: str(max(len(_attempts(record)) - 1, 0)),
}
#: The same, which are empty where there is none.
TIMES: Mapping[str, Value] = {
    "upstream_ms": _upstream_times(lambda one: one.ended - one.started),
    "upstream_head_ms": _upstream_times(lambda one: one.answered - one.started),
    "upstream_connect_ms": _upstream_times(lambda one: one.connected - one.started),
}
#: Those that are about the attempts at targets.
OF_ATTEMPTS = frozenset({"retries", "tried", *TIMES})


def _texts() -> dict[str, Value]:
    """Return the values of a request that has ended, as texts."""
    utc, local = UtcClock(), Clock("%d/%b/%Y:%H:%M:%S %z")
    return {
        "time": lambda record: format_date(time.time()),
        "time_iso": lambda record: utc.now(),
        "time_local": lambda record: local.text(time.time()),
        "target": lambda record: decode_latin1(record.request.target),
        "rule": lambda record: record.rule,
        "tried": lambda record: ", ".join([one.target for one in _attempts(record)]),
        "cache_status": lambda record: record.exchange.cache_status.decode() if record.exchange is not None else "",
    }


#: Names of the variables that only logs have.
OWN_NAMES = frozenset({*NUMBERS, *TIMES, "time", "time_iso", "time_local", "target", "rule", "tried", "cache_status"})
NUMERIC = frozenset({*NUMBERS, *TIMES, "client_port", "local_port"})  # numbers in JSON, or null
#: Values that are written by the server alone: neither escaped nor cut.
SAFE = frozenset({*NUMBERS, *TIMES, "time", "time_iso", "time_local", "trace_id", "request_id", "scheme"})


def texts_of(log: AccessLogSection) -> dict[str, str]:
    """Return the texts with variables of a log by their fields; that of `format` by ""."""
    texts = {name: text for name, text in log.fields.items() if text is not None}
    if log.format is not None and "$" in log.format:
        texts[""] = log.format
    return texts


def names_in(text: str, maps: Mapping[str, str]) -> set[str]:
    """Return the names of the variables in a text, and of those that its maps look up. `maps`: their `from`."""
    names = variable_names(text)
    for name in list(names):
        if name.startswith("map.") and (source := maps.get(name[len("map.") :])) is not None:
            names |= variable_names(source)
    return names


def sources_of(compilation: Compilation) -> dict[str, str]:
    """Return the texts that the maps of a config look up, by name."""
    return {name: section.from_ for name, section in compilation.config.maps.items()}


def is_of_head(name: str) -> bool:
    """Return whether the values of a variable depend on the head of the request alone."""
    return name in _OF_HEAD or name.startswith(("header.", "cookie.", "query."))


def is_of_exchange(name: str) -> bool:
    """Return whether a variable has its value from the exchange."""
    if name.startswith("response."):
        return True
    if name in OWN_NAMES:
        return name in OF_ATTEMPTS or name == "cache_status"
    return name in VARIABLES and name not in _OF_RECORD


def log_variables(compilation: Compilation, hidden: Sequence[str]) -> dict[str, Template]:
    """Return the variables of a log, in place of those of all texts, and besides them. `hidden`: its `hide`."""
    values: dict[str, Value] = {**NUMBERS, **TIMES, **_texts()}
    values |= {name: _of_exchange(one) for name, one in VARIABLES.items() if is_of_exchange(name)}
    for name, one in MAPS.of(compilation).items():
        source = names_in(f"${name}", sources_of(compilation))
        values[name] = _of_exchange(one) if any(is_of_exchange(part) for part in source) else cast("Value", one)
    if "client_ip" in hidden:
        values["remote_ip"] = _changed(values["remote_ip"], mask_address)
        values["client_port"] = lambda record: "0"
    if "query" in hidden:
        values["query"] = lambda record: ""
        values["request_uri"] = lambda record: record.request.path
        values["target"] = _changed(values["target"], without_query)
        referer: Any = lambda record: record.request.fields.get(b"referer", b"").decode("utf-8", "replace")  # noqa: E731
        values["response.location"] = _changed(response_field("location"), without_query)
        values["header.referer"] = _changed(referer, without_query)
    return cast("dict[str, Template]", values)


def _of_exchange(template: Template) -> Value:
    return lambda record: template(record.exchange) if record.exchange is not None else ""


def _changed(value: Value, change: Callable[[str], str]) -> Value:
    return lambda record: change(value(record))
