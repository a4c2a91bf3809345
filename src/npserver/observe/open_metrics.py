"""Metrics in the format OpenMetrics 1.0, which has exemplars: for those who ask for it (Accept).

https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections.abc import Iterable

from npserver.http.negotiation import parse_weights
from npserver.observe.metrics import Family, Sample, quote, write_families, write_sample

_MEDIA_TYPE = "application/openmetrics-text"
CONTENT_TYPE = f"{_MEDIA_TYPE}; version=1.0.0; charset=utf-8"


def accepts_open_metrics(accept: bytes) -> bool:
    """Return whether an Accept field prefers the format to the other text format (RFC 9110 §12.5.1)."""
    weights = parse_weights(accept)
    weight = weights.get(_MEDIA_TYPE, 0.0)
    return 0.0 < weight >= weights.get("text/plain", 0.0)


def open_metrics(taken: Iterable[Sample]) -> str:
    """Return samples in the format; those of one family must follow each other."""
    return write_families(taken, _head, _line) + "# EOF\n"


def _head(family: Family) -> str:
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    return f"# TYPE {name} {family.kind}\n# HELP {name} {quote(family.help)}\n"


def _line(sample: Sample) -> str:
    one = sample.exemplar
    if one is None:
        return write_sample(sample)
    return write_sample(sample, f' # {{trace_id="{one.trace_id}"}} {one.value_s} {one.at:.3f}')
