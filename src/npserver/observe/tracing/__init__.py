"""Traces of requests for a collector of OpenTelemetry (`tracing`); `web.traces` begins one for each request.

trace           one request: the spans of its steps
trace_context   the field traceparent, by which a trace goes on from server to server; pure
spans           a span, and its form on the wire
exporter        sends spans in batches, in the background
collector       what they are sent to
"""
