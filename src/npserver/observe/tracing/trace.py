"""The trace of one request: its own span, those of middleware that waits, and those of its attempts at a target.

`web.traces` makes one for each request where `tracing` is on, and `web.handlers.proxy` tells it of the attempts. No
spans are made of a request that is not sampled; its upstream is told of the trace all the same.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.observe.tracing.spans import CLIENT, INTERNAL, SERVER, Span
from npserver.observe.tracing.trace_context import TraceContext, write_traceparent

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.observe.tracing.exporter import SpanExporter


_MAX_METHOD = 20  # characters of a method, which clients make up, that a span has
_OWN, _BOTH = frozenset({b"traceparent"}), frozenset({b"traceparent", b"tracestate"})
#: Codes that are a server's fault, by the conventions of OpenTelemetry; others are a client's, or no fault.
_GRPC_ERRORS = frozenset({2, 4, 12, 13, 14, 15})


def shown_method(method: str) -> str:
    """Return a method, which clients make up, as spans have it."""
    return clip(method, _MAX_METHOD)[1:-1]


def grpc_attributes(code: int) -> dict[str, str | int]:
    """Return the attributes of a span about a call of gRPC."""
    return {"rpc.system": "grpc", "rpc.grpc.status_code": code}


class Trace:
    """One request. `parent`: the trace that its client has begun; None: it begins here."""

    __slots__ = ("_attempt", "_began_ns", "_clock_ns", "_exporter", "_parent", "_stage", "_waits", "grpc_code",
                 "is_sampled", "span_id", "status", "trace_id")  # fmt: skip

    def __init__(self, exporter: SpanExporter, parent: TraceContext | None, *, is_sampled: bool) -> None:
        self._exporter = exporter
        self._parent = parent
        self.is_sampled = is_sampled
        ids = os.urandom(24).hex()
        self.trace_id: str = parent.trace_id if parent is not None else ids[:32]
        self.span_id = ids[32:]
        self._began_ns, self._clock_ns = time.time_ns(), time.monotonic_ns()
        self._stage: Span | None = None  # of the middleware that has the request
        self._waits = False
        self._attempt: Span | None = None  # at a target
        self.status = 0  # of the response; 0: it is not over
        self.grpc_code: int | None = None  # what it told of a call of gRPC

    # ── middleware ──

    def enter(self, name: str) -> Span | None:
        """A middleware gets the request; "": the handler. Return what `leave_to_wait` is called with."""
        self._end_stage()
        if self.is_sampled and name:
            self._stage = self._span(name, INTERNAL)
        return self._stage

    def leave_to_wait(self, stage: Span | None) -> None:
        """The middleware has returned: if it has not passed the request on, it waits for something."""
        if stage is not None and self._stage is stage:
            self._waits = True

    def _end_stage(self) -> None:
        if self._stage is not None and self._waits:
            self._end_attempt()  # what it has asked
            self._finish(self._stage)
        self._stage, self._waits = None, False

    # ── attempts ──

    def attempt(self, method: str, address: Address, uri: str) -> None:
        """The request, or a question of middleware about it, is sent to a target."""
        if self.is_sampled:
            self._end_attempt()
            method = shown_method(method)
            self._attempt = self._span(method, CLIENT)
            if self._stage is not None:
                self._attempt.parent_id = self._stage.span_id
            self._attempt.attributes = {
                "http.request.method": method,
                "server.address": address.path if address.is_unix else address.host,
                "npserver.target": uri,
            }
            if not address.is_unix:
                self._attempt.attributes["server.port"] = address.port

    def answered(self, status: int) -> None:
        """The head of the target's response has come."""
        if self._attempt is not None:
            self._attempt.attributes["http.response.status_code"] = status
            self._attempt.attributes["npserver.response_head_us"] = (self._now() - self._attempt.start_ns) // 1000
            if status >= 500:
                self._attempt.error = f"status {status}"

    def called(self, code: int) -> None:
        """The target has answered a call of gRPC with a code (`grpc-status`)."""
        self.grpc_code = code
        if self._attempt is not None:
            self._attempt.attributes |= grpc_attributes(code)
            if code:
                self._attempt.error = f"grpc-status {code}"

    def failed(self, reason: str) -> None:
        """The attempt has failed."""
        if self._attempt is not None:
            self._attempt.error = reason
            self._end_attempt()

    def _end_attempt(self) -> None:
        if self._attempt is not None:
            self._finish(self._attempt)
            self._attempt = None

    def traceparent(self) -> bytes:
        """Return the value of the field for the target."""
        span = self._attempt.span_id if self._attempt is not None else self.span_id
        return write_traceparent(self.trace_id, span, is_sampled=self.is_sampled)

    @property
    def replaced(self) -> frozenset[bytes]:
        """The client's fields that targets are not sent; tracestate goes on with a trace that goes on."""
        return _OWN if self._parent is not None else _BOTH

    # ── the end ──

    def end(self, name: str, attributes: dict[str, str | int]) -> None:
        """The request is over."""
        self._end_stage()
        self._end_attempt()
        parent_id = self._parent.parent_id if self._parent is not None else ""
        status = self.status
        attributes["http.response.status_code"] = status
        error = f"status {status}" if status >= 500 else ""
        if self.grpc_code is not None:
            attributes |= grpc_attributes(self.grpc_code)
            if self.grpc_code in _GRPC_ERRORS and not error:
                error = f"grpc-status {self.grpc_code}"
        span = Span(self.trace_id, self.span_id, parent_id, name, SERVER, self._began_ns, 0, attributes, error)
        self._finish(span)

    def _span(self, name: str, kind: int) -> Span:
        return Span(self.trace_id, os.urandom(8).hex(), self.span_id, name, kind, self._now(), 0, {})

    def _finish(self, span: Span) -> None:
        span.end_ns = self._now()
        self._exporter.add(span)

    def _now(self) -> int:
        """Return the time in nanoseconds since 1970; within a request the wall clock does not jump."""
        return self._began_ns + time.monotonic_ns() - self._clock_ns
