"""The field traceparent: examples and rules of W3C Trace Context."""

from __future__ import annotations

import pytest

from npserver.observe.tracing.trace_context import TraceContext, parse_traceparent, write_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (VALID, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-adds", True),
    ],
)
def test_valid_values(value: str, is_sampled: bool) -> None:
    assert parse_traceparent(value.encode()) == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"{VALID}, {VALID}",
        f"{VALID} ",
        f"{VALID}\n",
        f"00_{TRACE}_{SPAN}_01",
        VALID[:-3],
    ],
)
def test_values_that_are_not_valid(value: str) -> None:
    assert parse_traceparent(value.encode()) is None


@pytest.mark.parametrize("is_sampled", [False, True])
def test_what_is_written_is_read_again(is_sampled: bool) -> None:
    written = write_traceparent(TRACE, SPAN, is_sampled=is_sampled)
    assert parse_traceparent(written) == TraceContext(TRACE, SPAN, is_sampled)
