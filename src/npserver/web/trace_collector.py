"""Compiles what `tracing` says of the collector: its URL, the fields that it is sent, TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.report import key_of
from npserver.errors import clip
from npserver.http.field_names import TOKEN
from npserver.observe.tracing.collector import Collector
from npserver.regex import regex
from npserver.runtime.http_get import Trust, Url, parse_url
from npserver.upstream.config import UpstreamTls

if TYPE_CHECKING:
    from npserver.observe.config import Tracing
    from npserver.runtime.compilation import Compilation

_PATH = "/v1/traces"  # of collectors, where `to` has none
_GRPC_PORT = 4317
_VALUE = regex(r"[\t\x20-\x7e\x80-\xff]*")
#: Fields that are not the config's.
_OWN = frozenset({
    "accept", "connection", "content-encoding", "content-length", "content-type", "expect", "host", "te", "trailer",
    "transfer-encoding", "upgrade", "user-agent",
})  # fmt: skip
_HERE = ("tracing",)


def compile_collector(compilation: Compilation, section: Tracing) -> Collector | None:
    """Return the collector of a config; None, with errors in the report, if it cannot be made."""
    report = compilation.report
    for name, value in section.headers.items():
        if not TOKEN.fullmatch(name):
            report.error((*_HERE, "headers", name), f"{clip(name)} is not a valid header name")
        elif name.lower() in _OWN:
            report.error((*_HERE, "headers", name), f"{name} cannot be set: npserver writes it itself")
        elif not _VALUE.fullmatch(value):
            message = f"the value of {name} has control characters, or others than Latin-1"
            report.error((*_HERE, "headers", name), message)
    try:
        url = parse_url(section.to)
    except ValueError as error:
        report.error((*_HERE, "to"), str(error))
        return None
    if url.address.port == _GRPC_PORT and not url.address.is_unix:
        report.warn(
            (*_HERE, "to"), "4317 is the port for OTLP over gRPC, but traces are sent over HTTP: usually to 4318"
        )
    if url.target == "/":
        url = Url(url.address, _PATH)
    fields = "".join(f"{name}: {value}\r\n" for name, value in section.headers.items())
    return Collector(url, section.service, fields, _compile_trust(compilation, section, url), section.gzip)


def _compile_trust(compilation: Compilation, section: Tracing, url: Url) -> Trust | None:
    tls, report, place = section.tls or UpstreamTls(), compilation.report, (*_HERE, "tls")
    if not url.address.is_tls:
        if section.tls is not None:
            report.error(place, f"'tls' has no effect: {key_of((*_HERE, 'to'))} is not an https URL")
        return None
    if tls.http2:
        report.error((*place, "http2"), "'http2' has no effect: collectors are spoken to over HTTP/1.1")
    from npserver.tls.compile import client_context

    context = client_context(compilation, place, tls)
    return None if context is None else Trust(context, tls.server_name)
